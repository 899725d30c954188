package compat

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"cim/proto"
)

// hang lets a server of the original answer nothing until the test calls free,
// once or more.
func (o *oldServer) hang(t *testing.T) (free func()) {
	gate := make(chan struct{})
	free = sync.OnceFunc(func() { close(gate) })
	t.Cleanup(free)
	o.answers(func(w http.ResponseWriter, _ proto.SendMsgRequest) {
		<-gate
		fmt.Fprint(w, `{"code":"9000","message":"m","reqNo":null,"dataBody":{"msg":"OK"}}`)
	})
	return free
}

// TestOriginalSlow has a server of the original that takes its time, as a Java
// process does for the first message after its start: the message arrives once,
// is answered with success and is not stored. Meanwhile nothing else waits: other
// private messages, group messages, what other senders send over connections.
func TestOriginalSlow(t *testing.T) {
	w := newWorld(t, 1)
	ann, bob, eve, cem := w.account("ann"), w.account("bob"), w.account("eve"), w.online("cem")
	o, quick := w.old(), w.old()
	w.store.at(bob, o.place)
	w.store.at(eve, quick.place)
	free := o.hang(t)
	slow := w.ask(proto.PathPrivate, privateRequest(ann.ID, bob.ID, "slow"))
	w.eventually("it is on its way", func() bool { return len(o.took(bob)) == 1 })
	w.want(proto.CodeSuccess, proto.PathPrivate, privateRequest(ann.ID, eve.ID, "quick"))
	w.want(proto.CodeSuccess, proto.PathPrivate, privateRequest(ann.ID, cem.ID, "quick"))
	for i := range 3 { // each waits for the slow server, and the others have it
		text := fmt.Sprint("group", i)
		w.want(proto.CodeSuccess, proto.PathGroup, groupRequest(ann.ID, text))
		w.eventually("eve has it", func() bool { return slices.Contains(quick.took(eve), "MESSAGE "+text) })
	}
	// The messages of one pair wait for each other, and hold up no worker.
	w.servers[1].send(1, cem, bob.ID, "first")
	w.servers[1].send(2, cem, bob.ID, "second")
	for i := range 2 * 64 {
		w.servers[1].send(uint64(10+i), cem, eve.ID, fmt.Sprint("over", i))
		if got := w.outcome(); got.ID != uint64(10+i) || proto.Outcome(got.Value) != proto.OutcomeDelivered {
			t.Fatalf("outcome %v of %d", proto.Outcome(got.Value), got.ID)
		}
	}
	select {
	case code := <-slow:
		t.Errorf("the slow message is answered %v before its server has", code)
	default:
	}
	free()
	w.wantCode("slow", slow, proto.CodeSuccess)
	for range 2 {
		if got := w.outcome(); proto.Outcome(got.Value) != proto.OutcomeDelivered || got.ID > 2 {
			t.Errorf("outcome %v of %d", proto.Outcome(got.Value), got.ID)
		}
	}
	w.eventually("bob has all", func() bool { return len(o.took(bob)) == 6 })
	got := o.took(bob)
	if slices.Index(got, "MESSAGE first") > slices.Index(got, "MESSAGE second") {
		t.Errorf("out of order: %q", got)
	}
	groups := slices.DeleteFunc(got, func(text string) bool { return !strings.HasPrefix(text, "MESSAGE group") })
	if !slices.Equal(groups, []string{"MESSAGE group0", "MESSAGE group1", "MESSAGE group2"}) {
		t.Errorf("group messages %q", groups)
	}
	if left := w.boxed(bob.ID); len(left) != 0 {
		t.Errorf("stored as well: %q", left)
	}
}

// TestOriginalUnknown loses the answer of a server of the original: the sender
// hears that it is unknown, and the message is not stored, so it comes once at
// most. What was not sent is stored.
func TestOriginalUnknown(t *testing.T) {
	w := newWorld(t, 0)
	o := w.old()
	ann, bob := w.account("ann"), w.account("bob")
	w.store.at(bob, o.place)
	o.answers(func(w http.ResponseWriter, _ proto.SendMsgRequest) {
		if conn, _, err := http.NewResponseController(w).Hijack(); err == nil {
			conn.Close()
		}
	})
	w.want(proto.CodeFailure, proto.PathPrivate, privateRequest(ann.ID, bob.ID, "broken off"))
	w.want(proto.CodeFailure, proto.PathGroup, groupRequest(ann.ID, "to all"))
	if n := w.counter(`cim_route_original_pushes_total{outcome="unknown"}`); n != "2" {
		t.Errorf("%s pushes are unknown, want 2", n)
	}
	if left := w.boxed(bob.ID); len(left) != 0 {
		t.Errorf("stored: %q", left)
	}
	if got := o.took(bob); !slices.Equal(got, []string{"MESSAGE broken off", "MESSAGE to all"}) {
		t.Errorf("sent %q", got)
	}
	o.http.Listener.Close()
	o.http.CloseClientConnections()
	w.want(proto.CodeOffline, proto.PathPrivate, privateRequest(ann.ID, bob.ID, "refused"))
	if left := w.boxed(bob.ID); !slices.Equal(left, []string{"refused"}) {
		t.Errorf("stored: %q", left)
	}
}

// TestOriginalDrain ends a route while a server of the original does not answer: the
// sender hears that it is unknown, before the push's own time is over.
func TestOriginalDrain(t *testing.T) {
	w := newWorld(t, 0)
	o := w.old()
	ann, bob := w.account("ann"), w.account("bob")
	w.store.at(bob, o.place)
	o.hang(t)
	slow := w.ask(proto.PathPrivate, privateRequest(ann.ID, bob.ID, "slow"))
	w.eventually("it is on its way", func() bool { return len(o.took(bob)) == 1 })
	began := time.Now()
	w.stop()
	if took := time.Since(began); took >= pushTimeout {
		t.Errorf("the drain took %v", took)
	}
	w.wantCode("slow", slow, proto.CodeFailure)
	if left := w.boxed(bob.ID); len(left) != 0 {
		t.Errorf("stored: %q", left)
	}
}

// TestOriginalPlaces fills the connections to a server of the original: one more
// message waits for placeTimeout, was not sent, and is stored.
func TestOriginalPlaces(t *testing.T) {
	w := newWorld(t, 0)
	o := w.old()
	ann, bob := w.account("ann"), w.account("bob")
	w.store.at(bob, o.place)
	free := o.hang(t)
	var slow []<-chan proto.Code
	for i := range pusherConns {
		slow = append(slow, w.ask(proto.PathPrivate, privateRequest(ann.ID, bob.ID, fmt.Sprint(i))))
	}
	w.eventually("all are on their way", func() bool { return len(o.took(bob)) == pusherConns })
	w.want(proto.CodeOffline, proto.PathPrivate, privateRequest(ann.ID, bob.ID, "one more"))
	free()
	for _, code := range slow {
		w.wantCode("on its way", code, proto.CodeSuccess)
	}
	if got := o.took(bob); len(got) != pusherConns || slices.Contains(got, "MESSAGE one more") {
		t.Errorf("%d were sent", len(got))
	}
}

// TestOriginalKeepAlive pushes to a server that ends each connection after a
// hundred answers, as Tomcat does: nothing is lost, unknown or sent twice.
func TestOriginalKeepAlive(t *testing.T) {
	w := newWorld(t, 0)
	o := w.old()
	ann, bob := w.account("ann"), w.account("bob")
	w.store.at(bob, o.place)
	served := 0
	o.answers(func(w http.ResponseWriter, _ proto.SendMsgRequest) {
		if served++; served%100 == 0 {
			w.Header().Set("Connection", "close")
		}
		fmt.Fprint(w, `{"code":"9000","message":"m","reqNo":null,"dataBody":{"msg":"OK"}}`)
	})
	for i := range 250 {
		w.want(proto.CodeSuccess, proto.PathPrivate, privateRequest(ann.ID, bob.ID, fmt.Sprint(i)))
	}
	if got := o.took(bob); len(got) != 250 {
		t.Errorf("%d pushes, want 250", len(got))
	}
}
