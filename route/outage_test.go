package route

import (
	"testing"
	"testing/synctest"
	"time"

	"cim/proto"
)

// TestResyncAfterOutage: after an outage of the store each server is asked once
// for its sessions, within 3 s and not at once, however many calls have failed;
// a link that is down is passed by. The round after an outage that comes soon
// behind another one waits for resyncPause.
func TestResyncAfterOutage(t *testing.T) {
	awayBubble(t, func(w *awayWorld) {
		asked := func() int {
			synctest.Wait()
			return w.server.askedFor(proto.RecordResync)
		}
		for outage := 0; outage < 6; outage += 2 {
			w.store.gone.Store(true)
			for range 10 {
				w.want(answerBound, proto.PathPrivate, privateRequest(w.ann.ID, w.cem.ID, "x"))
				time.Sleep(outagePause)
			}
			if n := asked(); n != outage {
				t.Fatalf("asked %d times during outage %d", n, outage)
			}
			w.store.gone.Store(false)
			time.Sleep(recoveryQuiet - outagePause - time.Millisecond) // since the last failure
			if n := asked(); n != outage {
				t.Errorf("asked before calls of the outage are over")
			}
			time.Sleep(resyncPause / 2)
			if n := asked(); n != outage+1 {
				t.Errorf("asked %d times after %d outages", n, outage+1)
			}
			w.route.outage.noteFailure()
			time.Sleep(resyncPause/2 - time.Second)
			if n := asked(); n != outage+1 {
				t.Errorf("asked again within %v", resyncPause)
			}
			time.Sleep(3 * resyncPause)
			if n := asked(); n != outage+2 {
				t.Errorf("asked %d times, want the round of the outage behind outage %d", n, outage+1)
			}
		}
	})
}

// TestResyncLost: a link without room for the request is counted and logged.
func TestResyncLost(t *testing.T) {
	for _, s := range linkedServers(t, "a:1:1") {
		w := newWorld(t, 0)
		w.route.resyncLink(s, s.stream.Load())
		if got := w.counter(`cim_route_refused_total{what="tell"}`); got != "1" {
			t.Errorf("%s refused, want 1", got)
		}
	}
}
