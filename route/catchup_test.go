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

// TestCatchupAtLogin: stored texts come with the login, oldest first, each with its own sender, in
// OFFLINE frames; then live messages pass.
func TestCatchupAtLogin(t *testing.T) {
	for _, ours := range []bool{false, true} {
		w := newWorld(t, 1)
		ann, ben, cem := w.account("ann"), w.account("ben"), w.account("cem")
		w.want(proto.CodeOffline, proto.PathPrivate, privateRequest(ann.ID, cem.ID, "1"))
		w.want(proto.CodeOffline, proto.PathPrivate, privateRequest(ann.ID, cem.ID, "2"))
		w.want(proto.CodeOffline, proto.PathPrivate, privateRequest(ben.ID, cem.ID, "3"))
		w.want(proto.CodeOffline, proto.PathPrivate, privateRequest(ann.ID, cem.ID, "4"))
		w.connect(cem, ours)
		w.want(proto.CodeSuccess, proto.PathPrivate, privateRequest(ann.ID, cem.ID, "live"))
		want := []delivered{
			{proto.CommandOffline, "ann", "1", 0},
			{proto.CommandOffline, "ann", "2", 0},
			{proto.CommandOffline, "ben", "3", 1},
			{proto.CommandOffline, "ann", "4", 2},
			{proto.CommandMessage, "ann", "live", 3},
		}
		if got := w.servers[1].got(cem.ID); !slices.Equal(got, want) {
			t.Errorf("ours=%v: got %+v, want %+v", ours, got, want)
		}
		if left := w.boxed(cem.ID); left != nil {
			t.Errorf("left %q", left)
		}
		if !w.record(cem.ID).Connected {
			t.Error("the record is not marked connected")
		}
		w.stop()
	}
}

// TestFrameLength walks the bounds of an OFFLINE frame: its texts, its bytes,
// its one sender.
func TestFrameLength(t *testing.T) {
	page := func(n, size int) []store.OfflineMessage {
		return slices.Repeat([]store.OfflineMessage{{
			Sender: proto.User{ID: 1, Name: "ann"}, Text: strings.Repeat("x", size),
		}}, n)
	}
	other := func(page []store.OfflineMessage, at int) []store.OfflineMessage {
		page[at].Sender.ID = 2
		return page
	}
	const half = proto.MessageBytesMax / 2
	for _, c := range []struct {
		name string
		page []store.OfflineMessage
		want int
	}{
		{"one", page(1, 5), 1},
		{"one of the longest", page(2, proto.TextMax), 1},
		{"fills the count", page(proto.OfflineBatchMax, 5), proto.OfflineBatchMax},
		{"one text over", page(proto.OfflineBatchMax+1, 5), proto.OfflineBatchMax},
		{"fills the bytes", page(2, half), 2},
		{"one byte over", append(page(2, half), page(1, 1)...), 2},
		{"another sender at once", other(page(3, 5), 0), 1},
		{"another sender later", other(page(3, 5), 2), 2},
	} {
		if got := frameLength(c.page); got != c.want {
			t.Errorf("%s: %d, want %d", c.name, got, c.want)
		}
	}
}

// TestCatchupFullBox: a full box of each shape comes whole and in order.
func TestCatchupFullBox(t *testing.T) {
	for _, c := range []struct {
		name    string
		texts   int
		size    int
		senders int
	}{
		{"most texts", store.ShareMaxMessages, 10, 1},
		{"most bytes", 4 << 20 / proto.TextMax, proto.TextMax, 1},
		{"senders in turn", 300, 10, 3},
	} {
		w := newWorld(t, 1)
		ben := w.account("ben")
		var want []string
		for i := range c.texts {
			sender := proto.User{ID: proto.UserID(i%c.senders + 1), Name: fmt.Sprintf("s%d", i%c.senders)}
			text := fmt.Sprintf("%d%s", i, strings.Repeat("x", c.size))[:c.size]
			w.put(sender, ben.ID, text)
			want = append(want, text)
		}
		w.connect(ben, true)
		if got := w.servers[1].texts(ben.ID); !slices.Equal(got, want) {
			t.Errorf("%s: got %d texts, want %d in order", c.name, len(got), len(want))
		}
		w.stop()
	}
}

// TestHeldMeansBehind: while a catch-up runs live messages are stored behind
// what waits, and come after it.
func TestHeldMeansBehind(t *testing.T) {
	w := newWorld(t, 1)
	ann, ben := w.account("ann"), w.account("ben")
	w.put(ann, ben.ID, "stored")
	pages := make(chan struct{})
	first := true
	w.store.before = func(call string) error {
		if call == "Page" && first {
			first = false
			<-pages
		}
		return nil
	}
	w.login(ben, "")
	w.servers[1].connect(ben.ID, false)
	for i := range 3 {
		w.want(proto.CodeOffline, proto.PathPrivate, privateRequest(ann.ID, ben.ID, fmt.Sprintf("behind %d", i)))
	}
	close(pages)
	w.eventually("caught up", func() bool { return w.idle(ben.ID) })
	w.want(proto.CodeSuccess, proto.PathPrivate, privateRequest(ann.ID, ben.ID, "live"))
	want := []string{"stored", "behind 0", "behind 1", "behind 2", "live"}
	if got := w.servers[1].texts(ben.ID); !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

// TestStoredAtTheEnd: a message that is stored in the last moments of a catch-up is still
// delivered, by this catch-up or the next one.
func TestStoredAtTheEnd(t *testing.T) {
	for _, moment := range []string{"Page", "ReleaseIfEmpty", "resume"} {
		hooked := &hookedStore{}
		w := newWorldWith(t, 1, testConfig(), hooked)
		ann, ben := w.account("ann"), w.account("ben")
		stored := false
		store := func() {
			if !stored {
				stored = true
				// As another route does it: append, then hold, then answer.
				w.put(ann, ben.ID, "late")
			}
		}
		hooked.before = func(call string) error {
			if call == moment {
				store()
			}
			return nil
		}
		w.servers[1].follow(func(r *proto.Record) (*proto.Record, bool) {
			if r.Kind == proto.RecordResume && moment == "resume" && !stored {
				store()
				w.servers[1].sessions[ben.ID].holds++
			}
			return nil, false
		})
		w.connect(ben, false)
		if got := w.servers[1].texts(ben.ID); !slices.Equal(got, []string{"late"}) {
			t.Errorf("stored at %s: got %q", moment, got)
		}
		if s, _ := w.servers[1].session(ben.ID); s.held {
			t.Errorf("stored at %s: the session is still held", moment)
		}
		w.stop()
	}
}

// TestCatchupLeaseTaken: while another route sends to a user this one does not.
func TestCatchupLeaseTaken(t *testing.T) {
	w := newWorld(t, 1)
	ann, ben := w.account("ann"), w.account("ben")
	w.put(ann, ben.ID, "x")
	lease, err := w.store.Acquire(t.Context(), ben.ID, time.Minute)
	if err != nil || lease == 0 {
		t.Fatal(lease, err)
	}
	w.login(ben, "")
	w.servers[1].connect(ben.ID, false)
	w.eventually("seen", func() bool { return w.counter(`cim_route_catchups_total{outcome="elsewhere"}`) == "1" })
	if got := w.servers[1].texts(ben.ID); got != nil {
		t.Errorf("got %q beside another's lease", got)
	}
	if err := w.store.Abandon(t.Context(), ben.ID, lease); err != nil {
		t.Fatal(err)
	}
	w.servers[1].repeatUp()
	w.eventually("caught up", func() bool { return len(w.servers[1].texts(ben.ID)) == 1 && w.idle(ben.ID) })
}

// TestCatchupFollows: if a session ends during its catch-up, the user's next session is caught up,
// and no text is lost.
func TestCatchupFollows(t *testing.T) {
	w := newWorld(t, 2)
	ann, ben := w.account("ann"), w.account("ben")
	w.put(ann, ben.ID, "1", "2")
	order := w.route.choice.order(w.route.cluster.servers(), ben.ID)
	old, target := w.servers[order[0].member.Epoch], w.servers[order[1].member.Epoch]
	moved := false
	old.follow(func(r *proto.Record) (*proto.Record, bool) {
		if r.Kind != proto.RecordPush || moved {
			return nil, false
		}
		moved = true
		w.move(ben, target)
		return &proto.Record{Verdict: proto.VerdictAbsent}, true
	})
	w.login(ben, "")
	old.connect(ben.ID, false)
	w.eventually("caught up", func() bool { return len(target.texts(ben.ID)) == 2 && w.idle(ben.ID) })
	if got := old.texts(ben.ID); got != nil {
		t.Errorf("the old session got %q", got)
	}
}

// TestCatchupOutdated: a session whose record is another login's is ended, and
// gets nothing.
func TestCatchupOutdated(t *testing.T) {
	w := newWorld(t, 1)
	ann, ben := w.account("ann"), w.account("ben")
	w.put(ann, ben.ID, "x")
	f := w.servers[1]
	w.login(ben, "")
	older := w.record(ben.ID).Generation
	w.want(proto.CodeSuccess, proto.PathOffLine, fmt.Sprintf(`{"userId":%d,"msg":"offLine"}`, ben.ID))
	f.mu.Lock()
	ended := &fakeSession{generation: older, connected: true, held: true, holds: 1}
	f.sessions[ben.ID] = ended
	f.mu.Unlock()
	f.repeatUp()
	w.eventually("seen", func() bool { return w.counter(`cim_route_catchups_total{outcome="outdated"}`) == "1" })
	if _, lives := f.session(ben.ID); lives || ended.got != nil {
		t.Errorf("lives %v, got %v", lives, ended.got)
	}
	if got := w.counter("cim_route_sessions_superseded_total"); got != "1" {
		t.Errorf("%s superseded, want 1", got)
	}
}

// TestRecordLost: a session that lives while the store has lost its record gets
// it back, and its messages.
func TestRecordLost(t *testing.T) {
	w := newWorld(t, 1)
	ann, ben := w.account("ann"), w.account("ben")
	w.put(ann, ben.ID, "x")
	f := w.servers[1]
	f.put(ben.ID, fakeSession{generation: 77, connected: true, held: true, holds: 1})
	f.repeatUp()
	w.eventually("caught up", func() bool { return len(f.texts(ben.ID)) == 1 })
	if got := w.record(ben.ID); got.Generation != 77 || !got.Connected || got.Place.Epoch != 1 {
		t.Errorf("record %+v", got)
	}
}

// TestCatchupWithoutGrant: a session of an open login has no record, and gets the stored texts.
func TestCatchupWithoutGrant(t *testing.T) {
	w := newWorld(t, 1)
	ann, ben := w.account("ann"), w.account("ben")
	w.put(ann, ben.ID, "x")
	f := w.servers[1]
	f.put(ben.ID, fakeSession{connected: true, held: true, holds: 1})
	f.repeatUp()
	w.eventually("caught up", func() bool { return len(f.texts(ben.ID)) == 1 && w.idle(ben.ID) })
}

// TestCatchupStoreFails: whichever call fails, the lease is released, the session stays held, and
// the server's next UP repairs it without a double.
func TestCatchupStoreFails(t *testing.T) {
	for _, fails := range []string{"Page", "Remove", "ReleaseIfEmpty"} {
		hooked := &hookedStore{}
		w := newWorldWith(t, 1, testConfig(), hooked)
		ann, ben := w.account("ann"), w.account("ben")
		w.put(ann, ben.ID, "x")
		failed := false
		hooked.before = func(call string) error {
			if call == fails && !failed {
				failed = true
				return errors.New("no")
			}
			return nil
		}
		w.login(ben, "")
		w.servers[1].connect(ben.ID, false)
		w.eventually("failed", func() bool { return w.counter(`cim_route_catchups_total{outcome="failed"}`) == "1" })
		w.servers[1].repeatUp()
		w.want(proto.CodeSuccess, proto.PathFetchOffline, fmt.Sprintf(`{"receiveUserId":%d}`, ben.ID))
		if got := w.servers[1].texts(ben.ID); !slices.Equal(got, []string{"x"}) {
			t.Errorf("%s failed: got %q", fails, got)
		}
		w.stop()
	}
}

// TestCatchupEndless: a box that fills as fast as it empties ends the catch-up
// after its rounds, and the lease with it.
func TestCatchupEndless(t *testing.T) {
	hooked := &hookedStore{}
	w := newWorldWith(t, 1, testConfig(), hooked)
	ann, ben := w.account("ann"), w.account("ben")
	rounds := 0
	hooked.before = func(call string) error {
		if call == "Page" {
			rounds++
			w.put(ann, ben.ID, "more")
		}
		return nil
	}
	w.login(ben, "")
	w.servers[1].connect(ben.ID, false)
	w.eventually("given up", func() bool { return w.counter(`cim_route_catchups_total{outcome="endless"}`) == "1" })
	w.eventually("idle", func() bool { return w.idle(ben.ID) })
	if got := len(w.servers[1].texts(ben.ID)); rounds != roundsMax || got != roundsMax {
		t.Errorf("%d rounds, %d texts, want %d", rounds, got, roundsMax)
	}
	lease, err := w.store.Acquire(t.Context(), ben.ID, time.Minute)
	if err != nil || lease == 0 {
		t.Errorf("the lease was kept: %v, %v", lease, err)
	}
}

// TestFetchOffline: an old client fetches stored texts, and has them when it gets the answer.
func TestFetchOffline(t *testing.T) {
	hooked := &hookedStore{}
	w := newWorldWith(t, 1, testConfig(), hooked)
	ann, ben := w.account("ann"), w.account("ben")
	fetch := fmt.Sprintf(`{"receiveUserId":%d}`, ben.ID)
	w.want(proto.CodeInvalid, proto.PathFetchOffline, `{}`)
	w.want(proto.CodeOffline, proto.PathFetchOffline, fetch)
	w.login(ben, "")
	w.want(proto.CodeOffline, proto.PathFetchOffline, fetch) // granted, not connected
	w.servers[1].connect(ben.ID, false)
	w.eventually("caught up", func() bool { return w.idle(ben.ID) })
	w.want(proto.CodeSuccess, proto.PathFetchOffline, fetch)
	w.put(ann, ben.ID, "x")
	w.want(proto.CodeSuccess, proto.PathFetchOffline, fetch)
	if got := w.servers[1].texts(ben.ID); !slices.Equal(got, []string{"x"}) {
		t.Errorf("got %q", got)
	}
	w.put(ann, ben.ID, "y")
	broken := true
	hooked.before = func(call string) error {
		if call == "Page" && broken {
			return errors.New("no")
		}
		return nil
	}
	w.want(proto.CodeOfflineFetch, proto.PathFetchOffline, fetch)
}
