package route

import (
	"slices"
	"testing"
	"time"

	"cim/proto"
	"cim/store"
)

// TestPendingLookupWhileStoreIsAway: if the store goes away right after a message was stored, the
// message reaches the receiver's live session when the store is back, before a newer one.
func TestPendingLookupWhileStoreIsAway(t *testing.T) {
	awayBubble(t, func(w *awayWorld) {
		held := w.server.askedFor(proto.RecordHold)
		w.store.afterAppend = func() { w.store.gone.Store(true) }
		w.server.follow(verdictTo(proto.RecordPush, proto.VerdictBehind))
		if a := w.want(answerBound, proto.PathPrivate, privateRequest(w.ann.ID, w.ben.ID, "stored")); a.code != proto.CodeOffline {
			t.Fatalf("%v", a)
		}
		w.server.follow(nil)
		time.Sleep(5 * lookupPause) // several tries in vain
		if n := w.server.askedFor(proto.RecordHold); n != held+1 {
			t.Errorf("%d holds while the store is away, want the one before the answer", n-held)
		}
		w.store.afterAppend = nil
		w.store.gone.Store(false)
		time.Sleep(lookupPause + storeTimeout + time.Millisecond)
		if a := w.want(0, proto.PathPrivate, privateRequest(w.ann.ID, w.ben.ID, "live")); a.code != proto.CodeSuccess {
			t.Errorf("%v", a)
		}
		if got, want := w.server.texts(w.ben.ID), []string{"before", "stored", "live"}; !slices.Equal(got, want) {
			t.Errorf("got %q, want %q", got, want)
		}
	})
}

// TestPendingLookupsDrain: users who wait for the store do not delay the drain, and are counted.
func TestPendingLookupsDrain(t *testing.T) {
	hooked := &hookedStore{before: func(call string) error {
		if call == "Lookup fresh" {
			return store.ErrAway
		}
		return nil
	}}
	w := newWorldWith(t, 0, testConfig(), hooked)
	for id := range 3 {
		w.route.pendingLookups.add(proto.UserID(id + 1))
	}
	w.stop()
	if got := w.counter(`cim_route_refused_total{what="wake"}`); got != "3" {
		t.Errorf("%s counted, want 3", got)
	}
}

// TestPendingLookupsBound walks the users that wait up to their bound and one past it.
func TestPendingLookupsBound(t *testing.T) {
	w := newWorld(t, 0)
	idle := &pendingLookups{route: w.route, queue: make(chan proto.UserID, pendingLookupsMax)}
	for id := range pendingLookupsMax {
		idle.add(proto.UserID(id + 1))
	}
	if got := w.counter(`cim_route_refused_total{what="wake"}`); got != "0" {
		t.Errorf("at the edge: %s refused", got)
	}
	idle.add(pendingLookupsMax + 1)
	if got := w.counter(`cim_route_refused_total{what="wake"}`); got != "1" {
		t.Errorf("one past: %s refused", got)
	}
}
