package route

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"cim/proto"
	"cim/store"
)

// fakeUngranted has the logins that no route of ours has granted.
type fakeUngranted struct {
	losesIDs atomic.Bool
	pause    atomic.Int64 // before catch-ups, in ns

	mu       sync.Mutex
	underWay map[proto.UserID]bool
	claims   []store.Record // the older ones
	refuses  error          // what Claim fails by
	released []store.Place
	seen     []proto.UserID
}

func newFakeUngranted() *fakeUngranted { return &fakeUngranted{underWay: map[proto.UserID]bool{}} }

func (f *fakeUngranted) UnderWay(_ context.Context, user proto.UserID) (bool, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.underWay[user], nil
}

func (f *fakeUngranted) Claim(_ context.Context, _ proto.UserID, _ store.Place, older store.Record) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.claims = append(f.claims, older)
	return f.refuses
}

func (f *fakeUngranted) Release(_ context.Context, _ proto.UserID, place store.Place) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.released = append(f.released, place)
	return nil
}

func (f *fakeUngranted) Seen(user proto.UserID, _ proto.Epoch) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.seen = append(f.seen, user)
}

func (f *fakeUngranted) CatchupPause() time.Duration { return time.Duration(f.pause.Load()) }

func (f *fakeUngranted) KeepsIDs() bool { return !f.losesIDs.Load() }

const guestEpoch proto.Epoch = 50

// guest registers a guest, which answers as verdict says; 0: not at all.
func (w *world) guest(verdict func(r *proto.Record) proto.Verdict) *fakeServer {
	w.t.Helper()
	f := newFakeServer(w.t, "10.0.5.0:11211:8081", guestEpoch)
	w.t.Cleanup(w.stop) // before the server's end is waited for
	f.member.Guest = "guest"
	f.follow(func(r *proto.Record) (*proto.Record, bool) {
		if v := verdict(r); v != 0 {
			return &proto.Record{Verdict: v, Value: uint64(proto.ReceiversOf(1))}, true
		}
		return nil, true
	})
	w.servers[guestEpoch] = f
	w.register(guestEpoch)
	w.eventually("the guest is linked", func() bool { return w.member(f.member.Name()).State == "guest" })
	return f
}

// atGuest puts user's session at the guest.
func (w *world) atGuest(user proto.User) {
	w.store.mu.Lock()
	defer w.store.mu.Unlock()
	w.store.guests[user.ID] = w.route.cluster.server(guestEpoch).place
}

func verdictAlways(v proto.Verdict) func(*proto.Record) proto.Verdict {
	return func(*proto.Record) proto.Verdict { return v }
}

// TestGuestPush pushes messages to a guest: a refused one is stored; one that may have arrived is
// neither stored nor called delivered.
func TestGuestPush(t *testing.T) {
	for verdict, want := range map[proto.Verdict]proto.Code{
		proto.VerdictTaken: proto.CodeSuccess, proto.VerdictAbsent: proto.CodeOffline, proto.VerdictUnknown: proto.CodeFailure,
	} {
		t.Run(verdict.String(), func(t *testing.T) {
			w := newWorld(t, 0)
			f := w.guest(verdictAlways(verdict))
			ann, bob := w.account("ann"), w.account("bob")
			w.atGuest(bob)
			w.want(want, proto.PathPrivate, privateRequest(ann.ID, bob.ID, "text"))
			if stored := len(w.boxed(bob.ID)) == 1; stored != (want == proto.CodeOffline) {
				t.Errorf("stored: %t", stored)
			}
			if pushes, holds := f.askedFor(proto.RecordPush), f.askedFor(proto.RecordHold); pushes != 1 || holds != 0 {
				t.Errorf("%d pushes and %d holds, want 1 and none", pushes, holds)
			}
		})
	}
}

// TestGuestSilent: a message to a guest that does not answer in time may arrive or not. If its time
// is over before it is sent, it is stored instead.
func TestGuestSilent(t *testing.T) {
	w := newWorld(t, 0)
	f := w.guest(verdictAlways(0))
	ann, bob := w.account("ann"), w.account("bob")
	w.atGuest(bob)
	m := message{sender: ann, id: 7, texts: []string{"late"}, guestDeadline: time.Now().Add(askTimeout)}
	if a := w.route.deliver(t.Context(), bob.ID, m); a.code != proto.CodeFailure || !a.unknown {
		t.Errorf("late: %+v", a)
	}
	if left := w.boxed(bob.ID); len(left) != 0 {
		t.Errorf("stored: %q", left)
	}
	m.texts, m.guestDeadline = []string{"over"}, time.Now()
	if a := w.route.deliver(t.Context(), bob.ID, m); a.code != proto.CodeOffline {
		t.Errorf("over: %+v", a)
	}
	if n := f.askedFor(proto.RecordPush); n != 1 {
		t.Errorf("%d were sent, want 1", n)
	}
}

// TestGuestCatchup fetches stored texts of a user at a guest, which is never held; a page that the
// guest refuses stays stored.
func TestGuestCatchup(t *testing.T) {
	w := newWorld(t, 0)
	var refuses atomic.Bool
	f := w.guest(func(*proto.Record) proto.Verdict {
		if refuses.Load() {
			return proto.VerdictRefused
		}
		return proto.VerdictTaken
	})
	ann, bob := w.account("ann"), w.account("bob")
	w.atGuest(bob)
	w.put(ann, bob.ID, "1", "2")
	fetch := fmt.Sprintf(`{"receiveUserId":%d}`, bob.ID)
	refuses.Store(true)
	w.want(proto.CodeOfflineFetch, proto.PathFetchOffline, fetch)
	if left := w.boxed(bob.ID); len(left) != 2 {
		t.Errorf("left: %q", left)
	}
	refuses.Store(false)
	w.want(proto.CodeSuccess, proto.PathFetchOffline, fetch)
	if left := w.boxed(bob.ID); len(left) != 0 {
		t.Errorf("left: %q", left)
	}
	if n := f.askedFor(proto.RecordHold) + f.askedFor(proto.RecordResume); n != 0 {
		t.Errorf("%d holds and resumes", n)
	}
}

// TestGuestLogin logs in at a guest: it is asked before the record is claimed, and
// no ticket is given. An older login there may stand, or may stand or not.
func TestGuestLogin(t *testing.T) {
	w := newWorld(t, 0)
	verdict := atomic.Uint32{}
	verdict.Store(uint32(proto.VerdictRefused))
	w.guest(func(*proto.Record) proto.Verdict { return proto.Verdict(verdict.Load()) })
	ann := w.account("ann")
	w.want(proto.CodeNoServer, proto.PathLogin, loginRequest(ann, ourClient))
	if n := len(w.ungranted.claims); n != 0 {
		t.Errorf("%d claims for a guest that refuses", n)
	}
	verdict.Store(uint32(proto.VerdictTaken))
	if body := w.login(ann, ourClient); body.Ticket != "" || body.IP != "10.0.5.0" {
		t.Errorf("answered %+v", body)
	}
	if len(w.ungranted.claims) != 1 || w.ungranted.claims[0] != (store.Record{}) {
		t.Errorf("claims over %+v", w.ungranted.claims)
	}
	w.atGuest(ann)
	verdict.Store(uint32(proto.VerdictLives))
	w.want(proto.CodeRepeatLogin, proto.PathLogin, loginRequest(ann, ourClient))
	verdict.Store(uint32(proto.VerdictUnknown))
	w.want(proto.CodeFailure, proto.PathLogin, loginRequest(ann, ourClient))
}

// TestUnderWay: another system's route counts a user without a record as logged in. The login waits
// for the record once, and then removes what is left of that login.
func TestUnderWay(t *testing.T) {
	w := newWorld(t, 1)
	ann := w.account("ann")
	w.ungranted.underWay[ann.ID] = true
	began := time.Now()
	w.login(ann, "")
	if took := time.Since(began); took < underWayPause {
		t.Errorf("let in after %v", took)
	}
	if !slices.Equal(w.ungranted.released, []store.Place{{}}) {
		t.Errorf("released %+v", w.ungranted.released)
	}
}

// TestUngrantedSession: a session without a grant gets live messages at once and stored ones after
// its pause. It is reported to Ungranted, which removes its record.
func TestUngrantedSession(t *testing.T) {
	w := newWorld(t, 1)
	w.ungranted.pause.Store(int64(time.Hour))
	ann, bob := w.account("ann"), w.account("bob")
	home := w.servers[1]
	w.put(ann, bob.ID, "stored")
	home.put(bob.ID, fakeSession{})
	home.connect(bob.ID, false)
	w.eventually("a catch-up waits", func() bool { return w.route.delayed.waiting.Load() == 1 })
	if got := home.texts(bob.ID); len(got) != 0 {
		t.Errorf("he got %q before the pause is over", got)
	}
	if s, _ := home.session(bob.ID); s.held {
		t.Error("the session is held meanwhile")
	}
	if lives, sure := w.route.HasUngranted(bob.ID, 1); !lives || !sure {
		t.Errorf("lives %t, sure %t", lives, sure)
	}
	w.route.CatchUpUngranted(bob.ID, 1)
	w.eventually("what was stored", func() bool { return slices.Equal(home.texts(bob.ID), []string{"stored"}) })
	w.eventually("no catch-up runs", func() bool { return w.idle(bob.ID) })
	home.disconnect(bob.ID)
	w.eventually("its record is released", func() bool {
		w.ungranted.mu.Lock()
		defer w.ungranted.mu.Unlock()
		return slices.Equal(w.ungranted.released, []store.Place{w.route.cluster.server(1).place})
	})
	if !slices.Equal(w.ungranted.seen, []proto.UserID{bob.ID}) {
		t.Errorf("reported %v", w.ungranted.seen)
	}
	if lives, sure := w.route.HasUngranted(bob.ID, 1); lives || !sure {
		t.Errorf("when it has ended: lives %t, sure %t", lives, sure)
	}
	if lives, sure := w.route.HasUngranted(bob.ID, 99); lives || !sure {
		t.Errorf("at a server that is gone: lives %t, sure %t", lives, sure)
	}
	w.route.delayed.waiting.Add(delayedMax)
	if done, err := w.route.delayCatchup(catchup{session: session{bob.ID, 0, w.route.cluster.server(1)}, delay: time.Hour}); done || !errors.Is(err, errNoSession) {
		t.Errorf("of a session that has ended: done %t, %v", done, err)
	}
	at := session{bob.ID, 0, w.route.cluster.server(1)}
	if joined := (catchup{session: at, delay: time.Hour}).merge(catchup{session: at}); joined.delay != 0 {
		t.Error("a catch-up that is asked for waits for the pause of another")
	}
}

// TestGuestEnds counts the parts of a group message at guests, without a part at a server of ours
// and with one that was taken.
func TestGuestEnds(t *testing.T) {
	for name, c := range map[string]struct {
		guests guestResult
		alone  proto.Code
		count  int // of the receivers; -1: unknown
	}{
		"no receiver":              {guestResult{}, proto.CodeSuccess, 0},
		"one receiver":             {guestResult{taken: 1, receivers: 3}, proto.CodeSuccess, 3},
		"without a count":          {guestResult{taken: 1, uncounted: true}, proto.CodeSuccess, -1},
		"one lost":                 {guestResult{lost: 1}, proto.CodeFailure, -1},
		"one lost, one taken":      {guestResult{lost: 1, taken: 1, receivers: 2}, proto.CodeSuccess, 2},
		"unknown":                  {guestResult{unknown: 1}, proto.CodeFailure, -1},
		"unknown, one taken":       {guestResult{unknown: 1, taken: 1, receivers: 2}, proto.CodeSuccess, -1},
		"still open":               {guestResult{open: 1}, proto.CodeFailure, -1},
		"still open, one is taken": {guestResult{open: 1, taken: 1, receivers: 2}, proto.CodeSuccess, -1},
	} {
		var alone groupResult
		alone.addGuests(c.guests)
		a := alone.answer()
		n, known := a.receivers.Count()
		if !known {
			n = -1
		}
		if a.code != c.alone || n != c.count {
			t.Errorf("%s: code %v with %d receivers, want %v with %d", name, a.code, n, c.alone, c.count)
		}
		beside := groupResult{taken: 1, receivers: 5}
		beside.addGuests(c.guests)
		if a := beside.answer(); a.code != proto.CodeSuccess {
			t.Errorf("%s beside a server that has the message: code %v", name, a.code)
		}
	}
}

// TestGuestGroup: a group message beside a guest that hangs. If a server of ours takes it, it does
// not wait for the guest, and keeps no room.
func TestGuestGroup(t *testing.T) {
	w := newWorld(t, 1)
	ann, ben := w.account("ann"), w.online("ben", false)
	f := w.guest(verdictAlways(0))
	w.want(proto.CodeSuccess, proto.PathGroup, groupRequest(ann.ID, "text"))
	if got := w.servers[1].texts(ben.ID); !slices.Equal(got, []string{"text"}) {
		t.Errorf("ben got %q", got)
	}
	if n := f.askedFor(proto.RecordBroadcast); n != 1 {
		t.Errorf("the guest got %d", n)
	}
	on := w.route.cluster.server(guestEpoch).stream.Load()
	if asks, broadcasts := on.count(); asks != 0 || broadcasts != 0 {
		t.Errorf("%d asks wait, %d have room", asks, broadcasts)
	}
	f.follow(func(r *proto.Record) (*proto.Record, bool) {
		return &proto.Record{Verdict: proto.VerdictTaken, Value: uint64(proto.ReceiversOf(0))}, true
	})
	w.deregister(1)
	w.want(proto.CodeSuccess, proto.PathGroup, groupRequest(ann.ID, "alone"))
}
