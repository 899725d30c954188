package compat

import (
	"fmt"
	"testing"
	"time"

	"cim/proto"
	"cim/store"
)

// ungranted is a user whose session at a server of ours came by a route of the
// original, which wrote another place into the record.
func (w *world) ungranted(name string, at proto.Epoch, named store.Place) proto.User {
	w.t.Helper()
	user := w.account(name)
	w.store.at(user, named)
	w.servers[at].put(user.ID, fakeSession{connected: true, holds: 1})
	return user
}

func (w *world) wantPlace(user proto.User, want store.Place) {
	w.t.Helper()
	want.Epoch = 0
	w.eventually(fmt.Sprintf("the record of %s names %+v", user.Name, want), func() bool {
		place, found := w.store.place(user)
		return found && place == want
	})
}

// TestMisplaced has sessions whose records name another server: one that is dead,
// one of ours that does not have the session, one of the original that does not
// answer. Each is put right, whether its server tells of it when it begins or
// with all others, and what was stored comes.
func TestMisplaced(t *testing.T) {
	w := newWorld(t, 2)
	o := w.old()
	silent := w.old()
	silent.cim.Close()
	home := w.home(1)
	ann := w.account("ann")
	dead := w.ungranted("dead", 1, store.Place{Host: "10.9.9.9", CIMPort: 1, HTTPPort: 2})
	other := w.ungranted("other", 1, w.home(2))
	java := w.ungranted("java", 1, silent.place)
	w.want(proto.CodeOffline, proto.PathPrivate, privateRequest(ann.ID, dead.ID, "stored"))
	w.servers[1].tell(&proto.Record{Kind: proto.RecordUp, User: dead.ID, Value: 1})
	w.servers[1].tellSessions(1, proto.Session{User: other.ID}, proto.Session{User: java.ID})
	for _, user := range []proto.User{dead, other, java} {
		w.wantPlace(user, home)
	}
	w.eventually("what was stored", func() bool { return len(w.servers[1].texts(dead.ID)) == 1 })
	w.want(proto.CodeSuccess, proto.PathPrivate, privateRequest(ann.ID, java.ID, "live"))
	if got := w.counter("cim_route_records_put_right_total"); got != "3" {
		t.Errorf("%s records were put right, want 3", got)
	}

	// These stay: the session lives at the server that is named, or has ended, or
	// nobody knows for long enough.
	there := w.ungranted("there", 1, w.home(2))
	w.servers[2].put(there.ID, fakeSession{connected: true, holds: 1})
	ended := w.ungranted("ended", 1, store.Place{Host: "10.9.9.9", CIMPort: 1, HTTPPort: 2})
	w.servers[1].lose(ended.ID)
	doubt := w.ungranted("doubt", 1, o.place)
	w.servers[1].tellSessions(2, proto.Session{User: there.ID}, proto.Session{User: ended.ID}, proto.Session{User: doubt.ID})
	w.eventually("two need no further look", func() bool { return len(w.adapter.misplaced.all()) == 1 })
	w.wantPlace(there, w.home(2))
	w.wantPlace(ended, store.Place{Host: "10.9.9.9", CIMPort: 1, HTTPPort: 2})
	w.wantPlace(doubt, o.place)
	m := w.adapter.misplaced
	m.mu.Lock()
	m.users[doubt.ID] = misplacedSession{m.users[doubt.ID].at, time.Now().Add(-misplacedDoubt)}
	m.mu.Unlock()
	w.wantPlace(doubt, home)
}

// TestMisplacedBound fills what is to be looked at, and one more.
func TestMisplacedBound(t *testing.T) {
	m, at := newMisplaced(), proto.Epoch(1)
	for user := range proto.UserID(misplacedMax) {
		if !m.note(user+1, at) {
			t.Fatalf("user %d is refused", user+1)
		}
	}
	if m.note(misplacedMax+1, at) || !m.note(1, at) || !m.note(2, 2) {
		t.Error("past the bound a new one is taken, or a known one refused")
	}
	m.drop(3, misplacedSession{at, time.Time{}})
	if len(m.all()) != misplacedMax {
		t.Error("one was dropped that was noted again")
	}
	for user, session := range m.all() {
		m.drop(user, session)
	}
	if m.all() != nil {
		t.Error("some are left")
	}
}

// TestMisplacedLook looks once at a session whose record must stay as it is, and
// wants to know whether another look is needed.
func TestMisplacedLook(t *testing.T) {
	elsewhere := store.Place{Host: "10.9.9.9", CIMPort: 1, HTTPPort: 2}
	later := store.Place{Host: "10.9.9.8", CIMPort: 1, HTTPPort: 2}
	for name, c := range map[string]struct {
		before func(w *world, user proto.User)                                 // nil: nothing
		asked  func(w *world, user proto.User) (answer *proto.Record, is bool) // by the server of the session; nil: it says that it lives
		want   store.Place
		done   bool
	}{
		"a record of ours": {
			before: func(w *world, user proto.User) {
				if _, err := w.store.Claim(t.Context(), user.ID, w.home(2), 0); err != nil {
					t.Fatal(err)
				}
			},
			done: true,
		},
		"a server that is gone": {
			before: func(w *world, _ proto.User) { w.remove(1) },
			want:   elsewhere,
			done:   true,
		},
		"a login meanwhile": {
			asked: func(w *world, user proto.User) (*proto.Record, bool) {
				w.store.at(user, later)
				return nil, false
			},
			want: later,
		},
		"a busy server": {
			asked: func(*world, proto.User) (*proto.Record, bool) {
				return &proto.Record{Verdict: proto.VerdictBusy}, true
			},
			want: elsewhere,
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, 2)
			user := w.ungranted("ann", 1, elsewhere)
			if c.before != nil {
				c.before(w, user)
			}
			if c.asked != nil {
				w.servers[1].follow(func(r *proto.Record) (*proto.Record, bool) {
					if r.Kind != proto.RecordResume {
						return nil, false
					}
					return c.asked(w, user)
				})
			}
			done, err := w.adapter.putRecordRight(t.Context(), user.ID, misplacedSession{1, time.Now()})
			if done != c.done || err != nil {
				t.Errorf("no further look: %t (%v), want %t", done, err, c.done)
			}
			if place, _ := w.store.place(user); place != c.want {
				t.Errorf("the record names %+v, want %+v", place, c.want)
			}
		})
	}
}

// TestMisplacedCatchup: what was stored for a session before its record is put right
// comes then, though its server has told of the session long ago.
func TestMisplacedCatchup(t *testing.T) {
	w := newWorld(t, 1)
	user := w.ungranted("ann", 1, store.Place{Host: "10.9.9.9", CIMPort: 1, HTTPPort: 2})
	w.put(w.account("bob"), user.ID, "stored")
	done, err := w.adapter.putRecordRight(t.Context(), user.ID, misplacedSession{1, time.Now()})
	if !done || err != nil {
		t.Fatalf("no further look: %t (%v), want true", done, err)
	}
	w.eventually("what was stored", func() bool { return len(w.servers[1].texts(user.ID)) == 1 })
}
