package route

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"cim/proto"
)

// outcome waits for the next outcome that server 1 gets.
func (w *world) outcome() proto.Record {
	w.t.Helper()
	var got proto.Record
	f := w.servers[1]
	w.eventually("an outcome", func() bool {
		select {
		case got = <-f.outcomes:
			return true
		default:
			return false
		}
	})
	return got
}

// TestSend: a SEND gets the same outcome as the same message over HTTP.
func TestSend(t *testing.T) {
	w := newWorld(t, 1)
	ann, ben := w.online("ann", true), w.online("ben", true)
	off := w.account("off")
	for i, c := range []struct {
		sender   proto.User
		receiver proto.UserID
		text     string
		outcome  proto.Outcome
		code     proto.Code
	}{
		{ann, ben.ID, "private", proto.OutcomeDelivered, proto.CodeSuccess},
		{ann, off.ID, "later", proto.OutcomeStored, proto.CodeOffline},
		{ann, 0, "group", proto.OutcomeDelivered, proto.CodeSuccess},
		{ann, off.ID + 1, "no receiver", proto.OutcomeFailed, proto.CodeAccountMismatch},
		{proto.User{ID: off.ID + 1, Name: "no receiver"}, ben.ID, "forged", proto.OutcomeFailed, proto.CodeAccountMismatch},
		{proto.User{ID: off.ID + 1, Name: "no receiver"}, 0, "forged", proto.OutcomeFailed, proto.CodeAccountMismatch},
		{ann, ben.ID, strings.Repeat("x", proto.TextMax), proto.OutcomeDelivered, proto.CodeSuccess},
		{ann, ben.ID, strings.Repeat("x", proto.TextMax+1), proto.OutcomeFailed, proto.CodeInvalid},
	} {
		w.servers[1].send(uint64(i+1), c.sender, c.receiver, c.text)
		got := w.outcome()
		if got.ID != uint64(i+1) || proto.Outcome(got.Value) != c.outcome || got.Code != c.code {
			t.Errorf("%.20q: outcome %v, code %v of id %d", c.text, proto.Outcome(got.Value), got.Code, got.ID)
		}
	}
	texts := w.servers[1].texts(ben.ID)
	if want := []string{"private", "group", strings.Repeat("x", proto.TextMax)}; !slices.Equal(texts, want) {
		t.Errorf("ben got %.60q", texts)
	}
	if got := w.boxed(off.ID); !slices.Equal(got, []string{"later"}) {
		t.Errorf("stored %q", got)
	}
}

// TestSendOrder: a sender's messages arrive in order, private and group ones mixed, although none
// waits for the outcome of the one before.
func TestSendOrder(t *testing.T) {
	w := newWorld(t, 1)
	ben := w.online("ben", true)
	const senders, each = 5, 20
	var users []proto.User
	for i := range senders {
		users = append(users, w.online(fmt.Sprintf("s%d", i), true))
	}
	for i := range each {
		for s, user := range users {
			receiver := ben.ID
			if i%3 == 0 {
				receiver = 0
			}
			w.servers[1].send(uint64(i*senders+s), user, receiver, fmt.Sprintf("%d", i))
		}
	}
	for range senders * each {
		if got := w.outcome(); proto.Outcome(got.Value) != proto.OutcomeDelivered {
			t.Fatalf("outcome %v, code %v", proto.Outcome(got.Value), got.Code)
		}
	}
	next := map[string]int{}
	for _, d := range w.servers[1].got(ben.ID) {
		if d.text != fmt.Sprint(next[d.sender]) {
			t.Fatalf("of %s came %s, want %d", d.sender, d.text, next[d.sender])
		}
		next[d.sender]++
	}
	if len(next) != senders {
		t.Errorf("ben heard from %d senders", len(next))
	}
}

// TestSendQueueFull: a worker has room for sendQueueMax messages, and one more is busy at once;
// other workers are not affected.
func TestSendQueueFull(t *testing.T) {
	hooked := &hookedStore{}
	w := newWorldWith(t, 1, testConfig(), hooked)
	ann, ben := w.online("ann", true), w.online("ben", true)
	for i := 0; queueOf(ben.ID) == queueOf(ann.ID); i++ {
		ben = w.online(fmt.Sprintf("ben%d", i), true)
	}
	block, blocked := make(chan struct{}), make(chan struct{}, 1)
	appends := 0
	hooked.before = func(call string) error {
		if call == "Append" && appends == 0 {
			appends++
			blocked <- struct{}{}
			<-block
		}
		return nil
	}
	off := w.account("off")
	w.servers[1].send(1, ann, off.ID, "blocks the worker")
	<-blocked
	for i := range sendQueueMax {
		w.servers[1].send(uint64(i+2), ann, ben.ID, "waits")
	}
	w.servers[1].send(999, ann, ben.ID, "one too many")
	if got := w.outcome(); got.ID != 999 || proto.Outcome(got.Value) != proto.OutcomeBusy || got.Code != proto.CodeLimit {
		t.Errorf("first outcome %+v, want busy for 999", got)
	}
	w.servers[1].send(1000, ben, ann.ID, "another sender")
	if got := w.outcome(); got.ID != 1000 || proto.Outcome(got.Value) != proto.OutcomeDelivered {
		t.Errorf("outcome %+v, want delivered for 1000", got)
	}
	close(block)
	for i := range sendQueueMax + 1 {
		if got := w.outcome(); got.ID != uint64(i+1) {
			t.Fatalf("outcome of %d, want %d", got.ID, i+1)
		}
	}
	if got := w.counter(`cim_route_refused_total{what="send"}`); got != "1" {
		t.Errorf("%s refused, want 1", got)
	}
}

// TestSendBytesFull: the texts that wait for all workers together have a bound of bytes, and one
// more is busy at once, until some are done.
func TestSendBytesFull(t *testing.T) {
	w := newWorld(t, 1)
	ann, ben := w.online("ann", true), w.online("ben", true)
	w.route.sends.bytes.Store(sendBytesMax - 4)
	w.servers[1].send(1, ann, ben.ID, "long1")
	if got := w.outcome(); got.ID != 1 || proto.Outcome(got.Value) != proto.OutcomeBusy {
		t.Errorf("outcome %+v, want busy", got)
	}
	for id := uint64(2); id < 10; id++ { // finished texts leave room again
		w.servers[1].send(id, ann, ben.ID, "fits")
		if got := w.outcome(); got.ID != id || proto.Outcome(got.Value) != proto.OutcomeDelivered {
			t.Errorf("outcome %+v, want %d delivered", got, id)
		}
	}
	if n := w.route.sends.bytes.Load(); n != sendBytesMax-4 {
		t.Errorf("%d bytes count, want those from before", n)
	}
}

// TestSendDrain: queued messages are answered before the links close.
func TestSendDrain(t *testing.T) {
	w := newWorld(t, 1)
	ann, ben := w.online("ann", true), w.online("ben", true)
	for i := range 50 {
		w.servers[1].send(uint64(i+1), ann, ben.ID, "x")
	}
	w.outcome() // the reader has started
	w.stop()
	w.servers[1].running.Wait()
	answered := 1 + len(w.servers[1].outcomes)
	if delivered := len(w.servers[1].texts(ben.ID)); delivered == 0 || answered < delivered {
		t.Errorf("%d delivered, %d answered", delivered, answered)
	}
}
