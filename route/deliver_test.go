package route

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"cim/proto"
	"cim/store"
)

// TestPrivate: a session that has taken the message is 9000, and gets it with
// its sender.
func TestPrivate(t *testing.T) {
	w := newWorld(t, 3)
	ann, ben := w.online("ann", false), w.online("ben", true)
	w.want(proto.CodeSuccess, proto.PathPrivate, privateRequest(ann.ID, ben.ID, "hello"))
	w.want(proto.CodeSuccess, proto.PathPrivate, fmt.Sprintf(
		`{"userId":"%d","receiveUserId":"%d","batchMsg":["one","two"],"reqNo":"r","timeStamp":1,"unknown":{}}`, ann.ID, ben.ID))
	w.want(proto.CodeSuccess, proto.PathPrivate, privateRequest(ben.ID, ben.ID, "note to self"))
	want := []delivered{
		{proto.CommandMessage, "ann", "hello", 0},
		{proto.CommandMessage, "ann", "one", 1},
		{proto.CommandMessage, "ann", "two", 1},
		{proto.CommandMessage, "ben", "note to self", 2},
	}
	if got := w.serverOf(ben.ID).got(ben.ID); !slices.Equal(got, want) {
		t.Errorf("ben got %+v, want %+v", got, want)
	}
	if n := w.counter(`cim_route_private_total{code="9000"}`); n != "3" {
		t.Errorf("%s private messages counted, want 3", n)
	}
}

// TestPrivateRefused: each argument that is wrong is named, at its edge and
// one past it.
func TestPrivateRefused(t *testing.T) {
	w := newWorld(t, 1)
	ann := w.online("ann", false)
	none := ann.ID + 1
	batch := func(n, size int) string {
		text := `"` + strings.Repeat("x", size) + `"`
		return strings.TrimSuffix(strings.Repeat(text+",", n), ",")
	}
	to := fmt.Sprintf(`{"userId":%d,"receiveUserId":%d,`, ann.ID, ann.ID)
	for _, c := range []struct {
		body string
		code proto.Code
		says string
	}{
		{fmt.Sprintf(`{"receiveUserId":%d,"msg":"x"}`, ann.ID), proto.CodeInvalid, "userId"},
		{fmt.Sprintf(`{"userId":%d,"msg":"x"}`, ann.ID), proto.CodeInvalid, "receiveUserId"},
		{fmt.Sprintf(`{"userId":%d,"receiveUserId":-5,"msg":"x"}`, ann.ID), proto.CodeInvalid, "receiveUserId"},
		{to + `"msg":null}`, proto.CodeInvalid, "msg"},
		{to + `"msg":5}`, proto.CodeSuccess, ""}, // "5", as the contract's reader takes it
		{to + `"msg":[]}`, proto.CodeInvalid, "msg"},
		{to + `"msg":""}`, proto.CodeSuccess, ""},
		{privateRequest(none, ann.ID, "x"), proto.CodeAccountMismatch, "userId"},
		{privateRequest(ann.ID, none, "x"), proto.CodeAccountMismatch, "receiveUserId"},
		{privateRequest(ann.ID, ann.ID, strings.Repeat("x", proto.TextMax)), proto.CodeSuccess, ""},
		{privateRequest(ann.ID, ann.ID, strings.Repeat("x", proto.TextMax+1)), proto.CodeInvalid, "msg"},
		{to + `"batchMsg":[` + batch(proto.BatchMax, 10) + `]}`, proto.CodeSuccess, ""},
		{to + `"batchMsg":[` + batch(proto.BatchMax+1, 10) + `]}`, proto.CodeInvalid, "batchMsg"},
		{to + `"batchMsg":[` + batch(2, proto.MessageBytesMax/2) + `]}`, proto.CodeSuccess, ""},
		{to + `"batchMsg":[` + batch(2, proto.MessageBytesMax/2) + `,"y"]}`, proto.CodeInvalid, "batchMsg"},
	} {
		a := w.want(c.code, proto.PathPrivate, c.body)
		if !strings.Contains(a.Message, c.says) {
			t.Errorf("%.80s: message %q does not name %s", c.body, a.Message, c.says)
		}
	}
	w.want(proto.CodeSuccess, proto.PathPrivate, privateRequest(ann.ID, ann.ID, "the end"))
	if got := w.servers[1].texts(ann.ID); got[len(got)-1] != "the end" {
		t.Errorf("her last text is %.20q", got[len(got)-1])
	}
}

// TestSentID: only a client that asks for it gets the id that the receivers see,
// of a message that was delivered or stored.
func TestSentID(t *testing.T) {
	w := newWorld(t, 1)
	ann, ben := w.online("ann", false), w.account("ben")
	const batch = `,"batchMsg":["1","2"]`
	private := func(receiver proto.UserID, rest string) string {
		return fmt.Sprintf(`{"userId":%d,"receiveUserId":%d%s}`, ben.ID, receiver, batch+rest)
	}
	group := fmt.Sprintf(`{"userId":%d%s`, ben.ID, batch)
	for _, c := range []struct {
		path, body string
		code       proto.Code
		told       bool
	}{
		{proto.PathPrivate, private(ann.ID, `,"client":1`), proto.CodeSuccess, true},
		{proto.PathPrivate, private(ben.ID, `,"client":1`), proto.CodeOffline, true},
		{proto.PathPrivate, private(ann.ID, ``), proto.CodeSuccess, false},
		{proto.PathPrivate, private(ann.ID, `,"client":null`), proto.CodeSuccess, false},
		{proto.PathPrivate, private(1, `,"client":1`), proto.CodeAccountMismatch, false},
		{proto.PathGroup, group + `,"client":1}`, proto.CodeSuccess, true},
		{proto.PathGroup, group + `}`, proto.CodeSuccess, false},
	} {
		body := string(w.want(c.code, c.path, c.body).DataBody)
		if told := strings.HasPrefix(body, `{"textId":"`); told != c.told || !told && body != "null" {
			t.Errorf("%s %s: dataBody %s", c.path, c.body, body)
		}
	}
}

// TestPrivateOffline: without a session the message is stored, its sender with
// it, until the sender's share of the box is full; then nothing of it is kept, and
// another sender's still is.
func TestPrivateOffline(t *testing.T) {
	w := newWorld(t, 1)
	ann, ben := w.account("ann"), w.account("ben")
	w.want(proto.CodeOffline, proto.PathPrivate, privateRequest(ann.ID, ben.ID, "1"))
	hundred := fmt.Sprintf(`{"userId":%d,"receiveUserId":%d,"batchMsg":["%s"]}`,
		ann.ID, ben.ID, strings.Join(slices.Repeat([]string{"x"}, 111), `","`))
	for range (store.ShareMaxMessages - 1) / 111 {
		w.want(proto.CodeOffline, proto.PathPrivate, hundred)
	}
	refusal := w.want(proto.CodeOfflineStore, proto.PathPrivate, privateRequest(ann.ID, ben.ID, "one too many"))
	if !strings.Contains(refusal.Message, "this sender's share") {
		t.Errorf("refused with %q, want that it is the sender's share", refusal.Message)
	}
	page, err := w.store.Page(t.Context(), ben.ID, 0)
	if err != nil || page[0].Sender != ann || page[0].Text != "1" {
		t.Errorf("box begins with %+v, %v", page[0], err)
	}
	if n := w.counter("cim_route_stored_texts_total"); n != "1000" {
		t.Errorf("%s texts counted, want 1000", n)
	}
	w.want(proto.CodeOffline, proto.PathPrivate, privateRequest(w.account("eve").ID, ben.ID, "another sender's"))
	if n := w.counter(`cim_route_box_full_total{bound="share"}`); n != "1" {
		t.Errorf("%s refusals counted, want 1", n)
	}
}

// TestPrivateStoreFails: what could not be stored is 9200.
func TestPrivateStoreFails(t *testing.T) {
	hooked := &hookedStore{before: func(call string) error {
		if call == "Append" {
			return errors.New("no")
		}
		return nil
	}}
	w := newWorldWith(t, 1, testConfig(), hooked)
	ann, ben := w.account("ann"), w.account("ben")
	w.want(proto.CodeOfflineStore, proto.PathPrivate, privateRequest(ann.ID, ben.ID, "x"))
}

// TestPrivateVerdicts: a server's verdict about a push decides the sender's answer and whether the
// message is stored.
func TestPrivateVerdicts(t *testing.T) {
	for _, c := range []struct {
		verdict proto.Verdict // 0: silence
		code    proto.Code
		pushes  int
		boxed   int
	}{
		{proto.VerdictTaken, proto.CodeSuccess, 1, 0},
		{proto.VerdictAbsent, proto.CodeOffline, 1, 1},
		{proto.VerdictStale, proto.CodeOffline, 1, 1},
		{proto.VerdictBehind, proto.CodeOffline, 1 + len(behindPauses), 1},
		{proto.VerdictBusy, proto.CodeLimit, 1, 0},
		{0, proto.CodeOffline, 1, 1},
	} {
		w := newWorld(t, 1)
		ann, ben := w.account("ann"), w.online("ben", false)
		w.servers[1].follow(func(r *proto.Record) (*proto.Record, bool) {
			if r.Kind == proto.RecordHold { // leave the box unchanged
				return &proto.Record{Verdict: proto.VerdictAbsent}, true
			}
			return verdictTo(proto.RecordPush, c.verdict)(r)
		})
		w.want(c.code, proto.PathPrivate, privateRequest(ann.ID, ben.ID, "x"))
		if n := w.servers[1].askedFor(proto.RecordPush); n != c.pushes {
			t.Errorf("%v: %d pushes, want %d", c.verdict, n, c.pushes)
		}
		if n := len(w.boxed(ben.ID)); n != c.boxed {
			t.Errorf("%v: %d stored, want %d", c.verdict, n, c.boxed)
		}
		w.stop()
	}
}

// TestPrivateMoved: a record that proves to be old is read once more past the
// cache, and its new place tried once.
func TestPrivateMoved(t *testing.T) {
	w := newWorld(t, 2)
	ann, ben := w.account("ann"), w.online("ben", false)
	old := w.serverOf(ben.ID)
	target := w.servers[3-old.member.Epoch]
	moves := 0
	old.follow(func(r *proto.Record) (*proto.Record, bool) {
		if r.Kind != proto.RecordPush || moves > 0 {
			return nil, false
		}
		moves++
		w.move(ben, target)
		return &proto.Record{Verdict: proto.VerdictAbsent}, true
	})
	w.want(proto.CodeSuccess, proto.PathPrivate, privateRequest(ann.ID, ben.ID, "hello"))
	if got := target.texts(ben.ID); !slices.Equal(got, []string{"hello"}) {
		t.Errorf("the new server delivered %q", got)
	}
}

// move gives user a session at target, as a login there does.
func (w *world) move(user proto.User, target *fakeServer) {
	m := target.member
	place := store.Place{Host: m.Host, CIMPort: m.CIMPort, HTTPPort: m.HTTPPort, Epoch: m.Epoch}
	generation, err := w.store.Memory.Claim(w.t.Context(), user.ID, place, w.record(user.ID).Generation)
	if err != nil {
		w.t.Error(err)
	}
	target.put(user.ID, fakeSession{generation: generation, connected: true})
}

// TestPrivateDeadEpoch: a server that is gone is not asked.
func TestPrivateDeadEpoch(t *testing.T) {
	w := newWorld(t, 1)
	ann, ben := w.account("ann"), w.online("ben", false)
	w.deregister(1)
	w.want(proto.CodeOffline, proto.PathPrivate, privateRequest(ann.ID, ben.ID, "x"))
	if n := w.servers[1].askedFor(proto.RecordPush); n != 0 {
		t.Errorf("%d pushes", n)
	}
}

// TestAbsenceNotCached: a cache that does not know the receiver is not
// believed.
func TestAbsenceNotCached(t *testing.T) {
	hooked := &hookedStore{}
	w := newWorldWith(t, 1, testConfig(), hooked)
	ann, ben := w.account("ann"), w.online("ben", false)
	hooked.blind.Store(true)
	w.want(proto.CodeSuccess, proto.PathPrivate, privateRequest(ann.ID, ben.ID, "x"))
}

// TestPrivateSilence: a push that is not answered is waited for as long as a
// server has, not longer.
func TestPrivateSilence(t *testing.T) {
	w := newWorld(t, 1)
	ann, ben := w.account("ann"), w.online("ben", false)
	w.servers[1].follow(func(r *proto.Record) (*proto.Record, bool) {
		return nil, r.Kind == proto.RecordPush && r.Flags == 0
	})
	began := time.Now()
	w.want(proto.CodeOffline, proto.PathPrivate, privateRequest(ann.ID, ben.ID, "x"))
	if took := time.Since(began); took < askTimeout || took > patience {
		t.Errorf("answered after %v, want %v", took, askTimeout)
	}
}

// TestStoredMeansHeld: the sender gets 7000 only after a live session was held, so that nothing
// newer overtakes the stored message.
func TestStoredMeansHeld(t *testing.T) {
	w := newWorld(t, 1)
	ann, ben := w.account("ann"), w.online("ben", false)
	w.servers[1].follow(func(r *proto.Record) (*proto.Record, bool) {
		return &proto.Record{Verdict: proto.VerdictAbsent}, r.Kind == proto.RecordPush && r.Flags == 0
	})
	w.want(proto.CodeOffline, proto.PathPrivate, privateRequest(ann.ID, ben.ID, "x"))
	if n := w.servers[1].askedFor(proto.RecordHold); n == 0 {
		t.Error("answered before the session was held")
	}
	w.eventually("caught up", func() bool { return len(w.servers[1].texts(ben.ID)) == 1 && w.idle(ben.ID) })
	if got := w.servers[1].got(ben.ID)[0]; got.command != proto.CommandOffline {
		t.Errorf("caught up by %+v", got)
	}
}

// TestHoldAgain: a hold without an answer is tried again before the sender is answered, and the
// message reaches the session.
func TestHoldAgain(t *testing.T) {
	w := newWorld(t, 1)
	ann, ben := w.account("ann"), w.online("ben", false)
	refused := 0
	w.servers[1].follow(func(r *proto.Record) (*proto.Record, bool) {
		switch {
		case r.Kind == proto.RecordPush && r.Flags == 0:
			return &proto.Record{Verdict: proto.VerdictAbsent}, true
		case r.Kind == proto.RecordHold && refused < holdTries-1:
			refused++
			return &proto.Record{Verdict: proto.VerdictBusy}, true
		}
		return nil, false
	})
	w.want(proto.CodeOffline, proto.PathPrivate, privateRequest(ann.ID, ben.ID, "x"))
	if s, _ := w.servers[1].session(ben.ID); s.holds < 2 {
		t.Errorf("held %d times when the sender was answered, want once more than by the login", s.holds)
	}
	w.eventually("caught up", func() bool { return len(w.servers[1].texts(ben.ID)) == 1 })
}

// TestStoredWhileLoggingIn: a session that starts, and whose catch-up ends, between the lookup and
// the store still gets the message: the record is read once more after the store, past the cache.
func TestStoredWhileLoggingIn(t *testing.T) {
	hooked := &hookedStore{}
	w := newWorldWith(t, 2, testConfig(), hooked)
	ann, ben := w.account("ann"), w.online("ben", false)
	old := w.serverOf(ben.ID)
	target := w.servers[3-old.member.Epoch]
	old.disconnectSilently(ben.ID)
	hooked.before = func(call string) error {
		if call == "Append" {
			w.move(ben, target)
		}
		return nil
	}
	w.want(proto.CodeOffline, proto.PathPrivate, privateRequest(ann.ID, ben.ID, "x"))
	w.eventually("caught up", func() bool { return len(target.texts(ben.ID)) == 1 && w.idle(ben.ID) })
}

// TestPrivateBehindFirst: a session whose catch-up ends meanwhile takes the
// message that was behind it.
func TestPrivateBehindFirst(t *testing.T) {
	w := newWorld(t, 1)
	ann, ben := w.account("ann"), w.online("ben", false)
	behind := 2
	w.servers[1].follow(func(r *proto.Record) (*proto.Record, bool) {
		if r.Kind != proto.RecordPush || behind == 0 {
			return nil, false
		}
		behind--
		return &proto.Record{Verdict: proto.VerdictBehind}, true
	})
	w.want(proto.CodeSuccess, proto.PathPrivate, privateRequest(ann.ID, ben.ID, "x"))
	if n := len(w.boxed(ben.ID)); n != 0 {
		t.Errorf("%d stored, want 0", n)
	}
}

// TestPrivateBehindInVain: when a message has waited for the end of a catch-up in vain,
// the next ones to this receiver are stored at once for a while, which grows as long
// as all wait in vain.
func TestPrivateBehindInVain(t *testing.T) {
	awayBubble(t, func(w *awayWorld) {
		w.server.follow(func(r *proto.Record) (*proto.Record, bool) {
			if r.Kind == proto.RecordHold { // leave the box unchanged
				return &proto.Record{Verdict: proto.VerdictAbsent}, true
			}
			return verdictTo(proto.RecordPush, proto.VerdictBehind)(r)
		})
		waits := func(after time.Duration, want bool) {
			w.t.Helper()
			time.Sleep(after)
			before, pushes := w.server.askedFor(proto.RecordPush), 1
			if want {
				pushes += len(behindPauses)
			}
			if a := w.want(answerBound, proto.PathPrivate, privateRequest(w.ann.ID, w.ben.ID, "x")); a.code != proto.CodeOffline {
				w.t.Errorf("answered %v", a)
			}
			if n := w.server.askedFor(proto.RecordPush) - before; n != pushes {
				w.t.Errorf("%d pushes, want %d", n, pushes)
			}
		}
		for length := backoffMin; length < backoffMax; length *= 2 {
			waits(0, true)
			waits(length-time.Millisecond, false)
			time.Sleep(time.Millisecond)
		}
		for range 2 {
			waits(0, true)
			waits(backoffMax-time.Millisecond, false)
			time.Sleep(time.Millisecond)
		}
		time.Sleep(backoffMax)
		waits(time.Millisecond, true)
		waits(backoffMin-time.Millisecond, false)
		waits(time.Millisecond, true)
	})
}
