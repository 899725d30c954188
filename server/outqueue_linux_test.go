package server

import (
	"os"
	"testing"

	"golang.org/x/sys/unix"
)

// TestOutQueueFails: if the query fails, nothing counts as acknowledged; if the
// system does not offer the query, everything does.
func TestOutQueueFails(t *testing.T) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM, 0)
	if err != nil {
		t.Fatal(err)
	}
	if n := outQueue(fds[0]); n != 0 {
		t.Errorf("%d bytes of an empty socket", n)
	}
	for _, fd := range fds {
		if err := unix.Close(fd); err != nil {
			t.Error(err)
		}
	}
	if n := outQueue(-1); n != outQueueAll {
		t.Errorf("%d bytes of a descriptor that has gone, want all", n)
	}
	file, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if n := outQueue(int(file.Fd())); n != 0 {
		t.Errorf("%d bytes of what is no socket, want 0", n)
	}
}
