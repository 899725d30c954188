package route

import (
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"cim/proto"
	"cim/store"
)

// TestStoredHolds walks the ways in which a text is stored for a session that may live and that the
// store does not name when it is asked again. When the sender is answered, the session is held at
// its server, so that nothing overtakes the text; or, if the server cannot be reached, it has a
// pending hold at this route.
func TestStoredHolds(t *testing.T) {
	push := func(verdict proto.Verdict) func(*awayWorld) {
		return func(w *awayWorld) { w.server.follow(verdictTo(proto.RecordPush, verdict)) }
	}
	for _, c := range []struct {
		name   string
		before func(w *awayWorld)
		out    bool // of reach, so that it cannot be held
		want   proto.Want
		after  func(w *awayWorld)
	}{
		{name: "behind", before: push(proto.VerdictBehind)},
		{name: "silent", before: push(0)},
		{
			name: "suspect", before: func(w *awayWorld) { w.server.stop() },
			after: func(w *awayWorld) { w.server.goOn() },
		},
		{name: "silent for the hold too", before: func(w *awayWorld) {
			w.server.follow(func(r *proto.Record) (*proto.Record, bool) {
				if r.Kind == proto.RecordHold {
					w.server.sessions[r.User].held = true // and says nothing
				}
				return nil, r.Kind != proto.RecordPush || r.Flags&proto.FlagOffline == 0
			})
		}},
		{name: "link down", before: func(w *awayWorld) {
			w.server.unreachable.Store(true)
			w.server.cutAll()
			synctest.Wait()
		}, out: true},
		{name: "no room for the hold", before: func(w *awayWorld) {
			w.server.follow(func(r *proto.Record) (*proto.Record, bool) {
				switch r.Kind {
				case proto.RecordPush:
					return &proto.Record{Verdict: proto.VerdictBehind}, true
				case proto.RecordHold:
					return &proto.Record{Verdict: proto.VerdictBusy}, true
				}
				return nil, false
			})
		}, out: true},
		{name: "stored first", before: func(w *awayWorld) {
			w.store.afterAppend = func() { // its catch-up finds the box empty, just before
				w.server.change(w.ben.ID, func(s *fakeSession) { s.held = false })
				w.store.gone.Store(true)
			}
		}, want: proto.WantStored},
	} {
		t.Run(c.name, func(t *testing.T) {
			awayBubble(t, func(w *awayWorld) {
				w.store.afterAppend = func() { w.store.gone.Store(true) }
				arrived := newArrivals()
				w.server.change(w.ben.ID, func(s *fakeSession) { s.arrived = arrived })
				c.before(w)
				request := fmt.Sprintf(`{"userId":%d,"receiveUserId":%d,"msg":"stored","want":%d}`, w.ann.ID, w.ben.ID, c.want)
				if a := w.want(answerBound, proto.PathPrivate, request); a.code != proto.CodeOffline {
					t.Errorf("%v", a)
				}
				if c.after != nil {
					c.after(w)
				}
				synctest.Wait() // the server does what it was sent
				record, _ := w.route.cachedRecord(w.ben.ID)
				s, _ := w.server.session(w.ben.ID)
				if !c.out && !s.held {
					t.Error("the session is not held: what comes next comes before the text that was stored")
				}
				if c.out && !w.route.pendingHolds.contains(w.ben.ID, sessionOf(record)) {
					t.Error("the session is not missed")
				}
				w.store.afterAppend = nil
				w.server.follow(nil)
				w.server.unreachable.Store(false)
				w.store.gone.Store(false)
				time.Sleep(20 * time.Second) // a redial, the outage's end and the next tries
				if a := w.want(answerBound, proto.PathPrivate, privateRequest(w.ann.ID, w.ben.ID, "live")); a.code != proto.CodeSuccess {
					t.Errorf("%v", a)
				}
				var got []string
				for _, d := range arrived.of(w.ben.ID) { // a text that was pushed late comes twice, under one id
					got = append(got, d.text)
				}
				if want := []string{"stored", "live"}; !slices.Equal(got, want) {
					t.Errorf("got %q, want %q", got, want)
				}
			})
		})
	}
}

// TestStoredBroken: a store that answers the read with its own fault delays no more than one that
// is away.
func TestStoredBroken(t *testing.T) {
	awayBubble(t, func(w *awayWorld) {
		w.server.follow(verdictTo(proto.RecordPush, proto.VerdictBehind))
		w.store.broken.Store(true)
		if a := w.want(answerBound, proto.PathPrivate, privateRequest(w.ann.ID, w.ben.ID, "stored")); a.code != proto.CodeOffline {
			t.Errorf("%v", a)
		}
		if s, _ := w.server.session(w.ben.ID); s.holds == 0 {
			t.Error("the session was not held")
		}
		w.store.broken.Store(false)
		w.server.follow(nil)
		synctest.Wait()
	})
}

// TestReturnedHolds: texts that come back while the user's newer session is known
// and the store does not name it are behind a hold of that session before their
// server is answered; the session that they come from is not held.
func TestReturnedHolds(t *testing.T) {
	awayBubble(t, func(w *awayWorld) {
		record, _ := w.route.cachedRecord(w.ben.ID)
		w.store.broken.Store(true)
		for i, generation := range []proto.Generation{record.Generation, record.Generation - 1} {
			item := returnedTexts{
				server: w.route.cluster.server(1), on: w.route.cluster.server(1).stream.Load(),
				session: session{w.ben.ID, generation, w.route.cluster.server(1)},
				texts:   []store.Returned{{Sender: w.ann, ID: proto.TextID(i + 1), Sent: 1, Text: "kept"}},
			}
			w.route.storeReturned(item)
			if n := w.server.askedFor(proto.RecordHold); n != i {
				t.Errorf("%d holds behind a return of generation %d, want %d", n, generation, i)
			}
		}
		w.store.broken.Store(false)
		synctest.Wait()
	})
}
