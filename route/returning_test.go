package route

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"cim/proto"
)

// returningFor answers the first times pushes to a user as a session does that returns texts.
func (f *fakeServer) returningFor(user proto.UserID, times int) *atomic.Int64 {
	asked := &atomic.Int64{}
	f.follow(func(r *proto.Record) (*proto.Record, bool) {
		if r.Kind != proto.RecordPush || r.User != user || asked.Add(1) > int64(times) {
			return nil, false
		}
		return &proto.Record{Verdict: proto.VerdictReturning}, true
	})
	return asked
}

// TestMessageWaitsForReturn: a message for a session that returns what it kept is
// brought again until it has; too long is busy, and nothing is stored out of
// order.
func TestMessageWaitsForReturn(t *testing.T) {
	w := newWorld(t, 1)
	f := w.servers[1]
	ann, ben := w.online("ann", true), w.acking("ben")
	asked := f.returningFor(ben.ID, 4)
	w.want(proto.CodeSuccess, proto.PathPrivate, privateRequest(ann.ID, ben.ID, "one"))
	if asked.Load() != 5 || !slices.Equal(f.texts(ben.ID), []string{"one"}) {
		t.Errorf("asked %d times, ben got %q", asked.Load(), f.texts(ben.ID))
	}
	f.returningFor(ben.ID, 1<<30)
	began := time.Now()
	w.want(proto.CodeLimit, proto.PathPrivate, privateRequest(ann.ID, ben.ID, "two"))
	if took := time.Since(began); took < returningMax-returningPauseMax {
		t.Errorf("given up after %v", took)
	}
	f.sendWant(1, ann, ben.ID, 77, proto.WantTaken)
	w.wantOutcome(1, proto.OutcomeBusy, proto.CodeLimit)
	if got := w.boxed(ben.ID); len(got) != 0 {
		t.Errorf("stored %q", got)
	}
	if got := w.counter(`cim_route_private_total{code="6000"}`); got != "2" {
		t.Errorf("%s busy private messages counted, want 2", got)
	}
}

// TestWaitForReturnLeavesTheWorker: while a SEND waits for a session that returns what
// it kept, the others of its worker go on, and those of its pair stay behind it.
func TestWaitForReturnLeavesTheWorker(t *testing.T) {
	w := newWorld(t, 1)
	f := w.servers[1]
	ann, ben, cid := w.online("ann", true), w.acking("ben"), w.online("cid", true)
	returns := &atomic.Bool{}
	returns.Store(true)
	waited := &atomic.Int64{}
	f.follow(func(r *proto.Record) (*proto.Record, bool) {
		if r.Kind == proto.RecordPush && r.User == ben.ID && returns.Load() {
			waited.Add(1)
			return &proto.Record{Verdict: proto.VerdictReturning}, true
		}
		return nil, false
	})
	const each = 20
	for i := range uint64(each) {
		f.sendWant(i+1, ann, ben.ID, proto.TextID(i+1), proto.WantTaken)
	}
	f.sendWant(100, ann, cid.ID, 100, proto.WantTaken) // on the same worker
	w.wantOutcome(100, proto.OutcomeDelivered, proto.CodeSuccess)
	if waited.Load() == 0 {
		t.Fatal("nothing waits: the test shows less than it says")
	}
	returns.Store(false)
	var want []string
	for i := range uint64(each) {
		w.wantOutcome(i+1, proto.OutcomeDelivered, proto.CodeSuccess)
		want = append(want, "text "+strconv.FormatUint(i+1, 10))
	}
	if got := f.texts(ben.ID); !slices.Equal(got, want) {
		t.Errorf("ben got %q", got)
	}
}

// TestMessageStoredBehindReturn: when what it kept is in the box, a message for a session
// that has ended is stored behind it.
func TestMessageStoredBehindReturn(t *testing.T) {
	w := newWorld(t, 1)
	f := w.servers[1]
	ann, ben := w.online("ann", true), w.acking("ben")
	asked := 0
	f.follow(func(r *proto.Record) (*proto.Record, bool) {
		switch {
		case r.User != ben.ID || r.Kind != proto.RecordPush:
			return nil, false
		case asked < 2:
			asked++
			return &proto.Record{Verdict: proto.VerdictReturning}, true
		}
		w.put(ann, ben.ID, "kept")
		delete(f.sessions, ben.ID)
		return &proto.Record{Verdict: proto.VerdictAbsent}, true
	})
	w.want(proto.CodeOffline, proto.PathPrivate, privateRequest(ann.ID, ben.ID, "new"))
	if got, want := w.boxed(ben.ID), []string{"kept", "new"}; !slices.Equal(got, want) {
		t.Errorf("the box has %q, want %q", got, want)
	}
}

// TestPendingHoldComesFirst: before a text is stored for a session with a pending hold, the texts
// that the session kept are put into the box.
func TestPendingHoldComesFirst(t *testing.T) {
	w := newWorld(t, 1)
	f := w.servers[1]
	ann, ben := w.online("ann", true), w.acking("ben")
	f.follow(func(r *proto.Record) (*proto.Record, bool) {
		if r.Kind == proto.RecordHold && r.User == ben.ID && len(w.boxed(ben.ID)) == 0 {
			w.put(ann, ben.ID, "kept")
			return &proto.Record{Verdict: proto.VerdictReturning}, true
		}
		return nil, false
	})
	w.route.pendingHolds.add(ben.ID, sessionKey{1, w.record(ben.ID).Generation}, func(proto.Epoch) bool { return true })
	w.want(proto.CodeOffline, proto.PathPrivate, privateRequest(ann.ID, ben.ID, "new"))
	w.eventually("brought", func() bool { return len(f.texts(ben.ID)) == 2 })
	if got, want := f.texts(ben.ID), []string{"kept", "new"}; !slices.Equal(got, want) {
		t.Errorf("ben got %q, want %q", got, want)
	}
}

// TestRevokeWaitsForTheReturn: a server that answers late, since what a session
// kept comes first, is waited for longer than others; a goodbye leaves the record
// of a session whose end takes longer still.
func TestRevokeWaitsForTheReturn(t *testing.T) {
	w := newWorld(t, 1)
	f := w.servers[1]
	ben := w.online("ben", true)
	ticket := fmt.Sprintf(`,"client":1,"ticket":%q`, f.ticketOf(ben.ID))
	f.follow(func(r *proto.Record) (*proto.Record, bool) {
		if r.Kind != proto.RecordRevoke {
			return nil, false
		}
		id, conn := r.ID, f.conns[0]
		verdict := f.revoke(r, f.sessions[r.User])
		time.AfterFunc(askTimeout+100*time.Millisecond, func() { f.reply(conn, id, verdict, 0) })
		return nil, true
	})
	w.login(ben, ticket)
	for _, r := range f.records(proto.RecordGrant) {
		if r.Value != 0 {
			t.Errorf("a grant says that epoch %d may have an older session, though that was waited for", r.Value)
		}
	}
	if got := w.counter(`cim_route_asks_total{record="revoke",reply="taken"}`); got != "1" {
		t.Errorf("%s revokes were waited for, want 1", got)
	}
	f.follow(verdictTo(proto.RecordRevoke, 0))
	w.want(proto.CodeSuccess, proto.PathOffLine, fmt.Sprintf(`{"userId":%d}`, ben.ID))
	if w.record(ben.ID).Generation == 0 {
		t.Error("the record is gone before its session has ended")
	}
	f.follow(verdictTo(proto.RecordRevoke, proto.VerdictReturning))
	w.want(proto.CodeSuccess, proto.PathOffLine, fmt.Sprintf(`{"userId":%d}`, ben.ID))
	if w.record(ben.ID).Generation == 0 {
		t.Error("the record is gone before its session has ended")
	}
	f.follow(nil)
	w.want(proto.CodeSuccess, proto.PathOffLine, fmt.Sprintf(`{"userId":%d}`, ben.ID))
	if w.record(ben.ID).Generation != 0 {
		t.Error("the record outlives its session")
	}
}

func (f *fakeServer) ticketOf(user proto.UserID) string {
	s, _ := f.session(user)
	return s.ticket.String()
}

// TestAckIsGranted: to a client of ours that asks, while every process that may
// read a box knows of it.
func TestAckIsGranted(t *testing.T) {
	w := newWorld(t, 1)
	ann := w.account("ann")
	granted := func(more string) int {
		a := w.want(proto.CodeSuccess, proto.PathLogin, loginRequest(ann, more))
		var body proto.LoginBody
		if err := json.Unmarshal(a.DataBody, &body); err != nil {
			t.Fatal(err)
		}
		return body.Ack
	}
	for more, want := range map[string]int{
		`,"client":1,"ack":1`: 1, `,"client":1`: 0, `,"client":1,"ack":2`: 0, `,"ack":1`: 0,
	} {
		if got := granted(more); got != want {
			t.Errorf("%s: ack %d, want %d", more, got, want)
		}
	}
	w.registerOlder()
	if got := granted(`,"client":1,"ack":1`); got != 0 {
		t.Errorf("ack %d while an older process is there", got)
	}
	if err := w.registry.Deregister(t.Context(), proto.Member{Host: "10.0.0.99", CIMPort: 1, HTTPPort: 2, Epoch: 99, Version: proto.LinkVersion - 1}); err != nil {
		t.Fatal(err)
	}
	w.eventually("gone", w.route.canAcknowledge)
	if got := granted(`,"client":1,"ack":1`); got != 1 {
		t.Errorf("ack %d when it has gone", got)
	}
	w.ungranted.losesIDs.Store(true)
	if got := granted(`,"client":1,"ack":1`); got != 0 {
		t.Errorf("ack %d while a process is there that keeps no ids", got)
	}
}

// TestLoginBesideAReturn: a login that does not wait any longer for what the older
// session kept says so in its grant: the new session's catch-up waits for it.
func TestLoginBesideAReturn(t *testing.T) {
	config := testConfig()
	config.ServerChoice = ChoiceRoundRobin
	w := newWorldWith(t, 2, config, &hookedStore{})
	ben := w.account("ben")
	w.connect(ben, true)
	older := w.serverOf(ben.ID)
	older.follow(verdictTo(proto.RecordRevoke, proto.VerdictReturning))
	w.login(ben, fmt.Sprintf(`,"client":1,"ticket":%q`, older.ticketOf(ben.ID)))
	newer := w.serverOf(ben.ID)
	if newer == older {
		t.Fatal("the login went to the same server: the test shows less than it says")
	}
	if grants := newer.records(proto.RecordGrant); len(grants) != 1 || grants[0].Value != uint64(older.member.Epoch) {
		t.Errorf("grants %+v, want one that names epoch %d", grants, older.member.Epoch)
	}
}
