package route

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"cim/internal/link"
	"cim/proto"
)

// stop makes s see a standstill.
func (s *standstill) stop() { s.stamp.Add(-int64(standstillMax) - int64(time.Second)) }

// TestStandstillCounts: each standstill counts once, whichever goroutine finds it, and a process
// that keeps running has none.
func TestStandstillCounts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStandstill()
		go s.run(t.Context())
		time.Sleep(time.Hour)
		if n := s.count(); n != 0 {
			t.Errorf("%d standstills of a process that goes on", n)
		}
		for want := uint64(1); want <= 4; want++ {
			s.stop()
			for range 2 { // the second finds nothing new
				if n := s.count(); n != want {
					t.Errorf("%d standstills, want %d", n, want)
				}
			}
			s.stop()
			time.Sleep(stampPause) // its own goroutine finds it
			if want++; s.count() != want {
				t.Errorf("%d standstills, want %d", s.count(), want)
			}
		}
		s.stamp.Add(-int64(standstillMax - stampPause))
		if n := s.count(); n != 4 {
			t.Errorf("less than the bound counts: %d", n)
		}
	})
}

// TestStaleSends: behind a standstill of the route a SEND that waits for its
// worker is not done, and its link ends, so that its server answers it as
// unknown; a link that comes later is served.
func TestStaleSends(t *testing.T) {
	bubble(t, func(t *testing.T, r *Route, f *fakeServer, _ catchup) {
		ann, err := r.store.Register(t.Context(), "ann")
		if err != nil {
			t.Fatal(err)
		}
		ben, err := r.store.Register(t.Context(), "ben")
		if err != nil {
			t.Fatal(err)
		}
		s := r.cluster.server(f.member.Epoch)
		for want, stopped := range map[uint64]bool{0: true, 1: false} {
			near, far := link.Pair(linkBytes)
			var outcomes uint64
			ended := make(chan error, 1)
			go func() {
				ended <- far.Run(t.Context(), func(r *proto.Record) error {
					if r.Kind == proto.RecordOutcome {
						outcomes++
					}
					return nil
				})
			}()
			on := newStream(near)
			on.watchStandstill(r.standstill)
			if stopped {
				r.standstill.stop()
			}
			r.sends.add(s, on, &proto.Record{
				Kind: proto.RecordSend, ID: 1, User: ann.ID, Name: []byte(ann.Name), Value: uint64(ben.ID), Text: 7, Body: []byte("text"),
			})
			synctest.Wait()
			if !stopped {
				near.Close()
			}
			if err := <-ended; !errors.Is(err, link.ErrClosed) || outcomes != want {
				t.Errorf("stopped %t: %v, %d outcomes, want %d", stopped, err, outcomes, want)
			}
		}
		page, err := r.store.Page(t.Context(), ben.ID, 0)
		if err != nil || len(page) != 1 {
			t.Errorf("%d texts were stored, %v, want the one of the later link", len(page), err)
		}
	})
}

// TestStaleLink: the keeper ends a link that was up before a standstill.
func TestStaleLink(t *testing.T) {
	near, far := link.Pair(linkBytes)
	defer far.Close()
	stood := newStandstill()
	on := newStream(near)
	on.watchStandstill(stood)
	k := linkMonitor{on: on}
	k.check()
	if err := near.Send(&proto.Record{Kind: proto.RecordConfirm}); err != nil {
		t.Errorf("the link of a process that goes on: %v", err)
	}
	stood.stop()
	k.check()
	if err := near.Send(&proto.Record{Kind: proto.RecordConfirm}); !errors.Is(err, link.ErrClosed) {
		t.Errorf("the link behind a standstill: %v", err)
	}
}
