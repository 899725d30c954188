package route

import (
	"errors"
	"fmt"
	"net"
	"os"
	"syscall"
	"testing"

	"cim/internal/link"
	"cim/proto"
)

// TestMeansProcessEnded: only a refused connection, or another run of the server, shows that the
// process has ended.
func TestMeansProcessEnded(t *testing.T) {
	refusedBy := func(why proto.LinkRefusal) error {
		return fmt.Errorf("link: %w", &link.RefusedError{Refusal: why})
	}
	nobody := &net.OpError{Op: "dial", Err: os.NewSyscallError("connect", syscall.ECONNREFUSED)}
	for _, c := range []struct {
		err  error
		want bool
	}{
		{fmt.Errorf("link: %w", nobody), true},
		{refusedBy(proto.LinkRefusedEpoch), true},
		{refusedBy(proto.LinkRefusedSecret), false},
		{refusedBy(proto.LinkRefusedFull), false},
		{&net.OpError{Op: "dial", Err: os.ErrDeadlineExceeded}, false},
		{errors.New("no route to host"), false},
		{link.ErrClosed, false},
	} {
		if got := meansProcessEnded(c.err); got != c.want {
			t.Errorf("%v: %t, want %t", c.err, got, c.want)
		}
	}
}

// TestLoginAfterCrash: once a dial has found the server's process gone its
// users log in elsewhere at once, though the registry still has it.
func TestLoginAfterCrash(t *testing.T) {
	w := newWorld(t, 2)
	ann := w.online("ann", false)
	record := w.record(ann.ID)
	home := w.servers[record.Place.Epoch]
	home.crashed.Store(true)
	home.cut()
	at := w.route.cluster.server(record.Place.Epoch)
	w.eventually("found gone", func() bool { return !at.linked() && at.processEnded.Load() })
	w.login(ann, "")
	if got := w.record(ann.ID); got.Place.Epoch == record.Place.Epoch {
		t.Errorf("record %+v is still at the crashed server", got)
	}
}
