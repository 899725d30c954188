//go:build unix

package nowait

import (
	"bytes"
	"io"
	"net"
	"syscall"
	"testing"
)

// TestWrite: a socket gets what it takes at once and no more, and gets nothing if
// its peer has closed.
func TestWrite(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	ours, err := net.Dial("tcp", listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer ours.Close()
	theirs, err := listener.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer theirs.Close()
	raw, err := ours.(syscall.Conn).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	write := func(p []byte) (n int) {
		if err := raw.Control(func(fd uintptr) { n = Write(fd, p) }); err != nil {
			t.Fatal(err)
		}
		return n
	}
	data := bytes.Repeat([]byte("0123456789"), 1000)
	if n := write(nil); n != 0 {
		t.Errorf("%d bytes of none", n)
	}
	if n := write(data); n != len(data) {
		t.Fatalf("%d bytes of %d", n, len(data))
	}
	got := make([]byte, len(data))
	if _, err := io.ReadFull(theirs, got); err != nil || !bytes.Equal(got, data) {
		t.Errorf("%v, or other bytes than were written", err)
	}
	const most = 1 << 30
	taken := 0
	for n := 1; n > 0 && taken < most; taken += n {
		n = write(data)
	}
	if taken == 0 || taken >= most {
		t.Errorf("a socket that is not read takes %d bytes", taken)
	}
	if err := ours.(*net.TCPConn).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if n := write(data); n != 0 {
		t.Errorf("%d bytes behind the end", n)
	}
}
