package server

import (
	"errors"
	"testing"

	"golang.org/x/sys/unix"
)

// TestWriteSocket fills a socket to its bound and writes one byte more; then writes
// to a closed peer.
func TestWriteSocket(t *testing.T) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fds[0])
	data, written := make([]byte, 1<<20), 0
	for {
		n, err := writeSocket(fds[0], data)
		if err != nil {
			t.Fatal(err)
		}
		if n == 0 {
			break
		}
		written += n
	}
	if n, err := writeSocket(fds[0], data[:1]); n != 0 || err != nil {
		t.Errorf("a full socket has taken %d bytes, %v", n, err)
	}
	read := 0
	for read < written {
		n, err := unix.Read(fds[1], data)
		if err != nil {
			t.Fatalf("read %d of %d bytes: %v", read, written, err)
		}
		read += n
	}
	if n, err := writeSocket(fds[0], data[:1]); n != 1 || err != nil {
		t.Errorf("an empty socket has taken %d bytes, %v", n, err)
	}
	if n, err := writeSocket(fds[0], nil); n != 0 || err != nil {
		t.Errorf("of nothing a socket has taken %d bytes, %v", n, err)
	}
	_ = unix.Close(fds[1])
	if _, err := writeSocket(fds[0], data[:1]); !errors.Is(err, unix.EPIPE) && !errors.Is(err, unix.ECONNRESET) {
		t.Errorf("a write to a peer that has gone: %v", err)
	}
	if _, err := writeSocket(-1, data[:1]); !errors.Is(err, unix.EBADF) {
		t.Errorf("a write to no socket: %v", err)
	}
}

// TestRawCallsAllocateNothing: the calls of the hot path do not allocate.
func TestRawCallsAllocateNothing(t *testing.T) {
	ours, theirs, err := socketPair()
	if err != nil {
		t.Fatal(err)
	}
	defer theirs.Close()
	defer closeSocket(ours)
	if n := testing.AllocsPerRun(100, func() {
		if _, err := writeSocket(ours, ringByte); err != nil {
			t.Fatal(err)
		}
		_ = outQueue(ours)
	}); n != 0 {
		t.Errorf("%v allocations, want 0", n)
	}
}
