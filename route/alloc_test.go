//go:build !race

package route

import (
	"testing"

	"cim/internal/link"
	"cim/proto"
)

// The race detector makes pools forget, so these are built without it.

// TestAskAllocates: an ask that is answered leaves nothing to collect.
func TestAskAllocates(t *testing.T) {
	near, far := link.Pair(linkBytes)
	s := newStream(near)
	running := make(chan struct{})
	go func() {
		defer close(running)
		_ = far.Run(t.Context(), func(r *proto.Record) error {
			s.answer(&proto.Record{ID: r.ID, Verdict: proto.VerdictTaken})
			return nil
		})
	}()
	r := push()
	if n := testing.AllocsPerRun(1000, func() { s.ask(r) }); n >= 1 {
		t.Errorf("an ask allocates %v times, want 0", n)
	}
	far.Close()
	<-running
}
