package route

import (
	"slices"
	"testing"

	"cim/proto"
)

// TestReturned: a session whose record the store had lost gets the texts that were stored for it
// meanwhile, before anything else.
func TestReturned(t *testing.T) {
	w := newWorld(t, 1)
	f := w.servers[1]
	ann, ben := w.account("ann"), w.account("ben")
	w.want(proto.CodeOffline, proto.PathPrivate, privateRequest(ann.ID, ben.ID, "stored")) // without a record ben counts as offline
	f.put(ben.ID, fakeSession{generation: 1000, connected: true, ours: true})
	f.sendSessions(1, proto.Session{User: ben.ID, Generation: 1000})
	w.eventually("checked", func() bool { return f.askedFor(proto.RecordChecked) == 1 })
	w.eventually("the box is empty", func() bool { return len(w.boxed(ben.ID)) == 0 })
	w.eventually("and live texts come again", func() bool {
		return w.route.pendingHolds.sessions.Load() == 0 && w.idle(ben.ID)
	})
	w.want(proto.CodeSuccess, proto.PathPrivate, privateRequest(ann.ID, ben.ID, "live"))
	if got := f.texts(ben.ID); !slices.Equal(got, []string{"stored", "live"}) {
		t.Errorf("%v, want what was stored and then the live one", got)
	}
	if got := w.counter("cim_route_records_returned_total"); got != "1" {
		t.Errorf("%s records are back, want 1", got)
	}
}
