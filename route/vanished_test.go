package route

import (
	"testing"
	"testing/synctest"
	"time"

	"cim/proto"
	"cim/registry"
)

func (w *hangWorld) deregister() {
	if err := w.route.registry.(*registry.Memory).Deregister(w.t.Context(), w.server.member); err != nil {
		w.t.Fatal(err)
	}
	synctest.Wait()
}

func (w *hangWorld) register(m proto.Member) {
	if err := w.route.registry.(*registry.Memory).Register(w.t.Context(), m); err != nil {
		w.t.Fatal(err)
	}
	synctest.Wait()
}

func (w *hangWorld) sendUnsolicited(kind proto.RecordKind) {
	w.server.mu.Lock()
	w.server.sendUnsolicited(&proto.Record{Kind: kind})
	w.server.mu.Unlock()
	synctest.Wait()
}

func (w *hangWorld) live() bool { return w.route.cluster.server(w.server.member.Epoch) != nil }

// TestVanished: a member that vanishes while its link stands is live for 5 s
// and takes no logins; back within these it is as before.
func TestVanished(t *testing.T) {
	hangBubble(t, func(w *hangWorld) {
		login := loginRequest(w.ann, "")
		for range 2 {
			w.deregister()
			w.want(proto.CodeSuccess, 0, 0, proto.PathPrivate, w.private("x"))
			w.want(proto.CodeSuccess, 0, 0, proto.PathGroup, groupRequest(w.ann.ID, "x"))
			w.want(proto.CodeNoServer, 0, 0, proto.PathLogin, login)
			time.Sleep(vanishedTime - time.Millisecond)
			w.want(proto.CodeSuccess, 0, 0, proto.PathPrivate, w.private("x"))
			w.register(w.server.member)
			w.want(proto.CodeSuccess, 0, 0, proto.PathLogin, login)
			time.Sleep(2 * vanishedTime)
		}
		if n := w.server.dials(); n != 1 {
			t.Errorf("%d links, want the one of before", n)
		}
		w.deregister()
		time.Sleep(vanishedTime + vanishedPause)
		synctest.Wait()
		if w.live() {
			t.Error("live after its time")
		}
		w.want(proto.CodeOffline, 0, 0, proto.PathPrivate, w.private("x"))
	})
}

// TestVanishedLink: a member that has vanished is dropped when its link is down,
// in either order, or another run has its name.
func TestVanishedLink(t *testing.T) {
	other := func(w *hangWorld) proto.Member {
		m := w.server.member
		m.Epoch++
		return m
	}
	for name, end := range map[string]func(w *hangWorld){
		"link":  func(w *hangWorld) { w.deregister(); w.server.cut() },
		"first": func(w *hangWorld) { w.server.cut(); synctest.Wait(); w.deregister() },
		"run":   func(w *hangWorld) { w.register(other(w)) },
	} {
		hangBubble(t, func(w *hangWorld) {
			w.server.unreachable.Store(true)
			end(w)
			time.Sleep(vanishedPause)
			synctest.Wait()
			if w.live() {
				t.Errorf("%s: still live", name)
			}
		})
	}
}

// TestLeaving: a server that has said that it goes down gets no logins from then on, and is live
// for as long as it answers.
func TestLeaving(t *testing.T) {
	hangBubble(t, func(w *hangWorld) {
		w.sendUnsolicited(proto.RecordLeaving)
		w.want(proto.CodeNoServer, 0, 0, proto.PathLogin, loginRequest(w.ann, ""))
		w.want(proto.CodeSuccess, 0, 0, proto.PathPrivate, w.private("x"))
		w.deregister()
		time.Sleep(time.Minute)
		w.want(proto.CodeSuccess, 0, 0, proto.PathPrivate, w.private("x"))
		w.want(proto.CodeSuccess, 0, 0, proto.PathGroup, groupRequest(w.ann.ID, "x"))
		w.server.stop()
		time.Sleep(vanishedTime)
		if !w.live() {
			t.Error("dropped as soon as it hangs")
		}
		time.Sleep(idleChecksMax*checkInterval + hangMax + 2*vanishedPause)
		synctest.Wait()
		if w.live() {
			t.Error("live although it hangs")
		}
		w.server.goOn()
	})
}

// TestUncertainSinceSuspect: how long a server is out of reach counts from when it
// hangs, not from when its link ends behind that.
func TestUncertainSinceSuspect(t *testing.T) {
	hangBubble(t, func(w *hangWorld) {
		s := w.route.cluster.server(w.server.member.Epoch)
		w.server.unreachable.Store(true)
		w.server.stop()
		time.Sleep(uncertainMax)
		began := time.Now()
		w.server.cut()
		w.server.goOn()
		synctest.Wait()
		if got := s.unlinkedFor(); s.linked() || time.Since(began) != 0 || got < uncertainMax-2*time.Second || got > uncertainMax {
			t.Errorf("linked %t, out of reach for %v", s.linked(), got)
		}
	})
}
