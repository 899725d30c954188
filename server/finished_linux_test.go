package server

import (
	"net"
	"testing"
	"time"
)

// TestFinishedByPeer: after a write that has failed by a reset, a read reports end
// of file, as it does when the peer has closed in order; the state of the socket
// distinguishes them.
func TestFinishedByPeer(t *testing.T) {
	for _, resets := range []bool{true, false} {
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer listener.Close()
		peer, err := net.Dial("tcp", listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		conn, err := listener.Accept()
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		if resets {
			if err := peer.(*net.TCPConn).SetLinger(0); err != nil {
				t.Fatal(err)
			}
		}
		peer.Close()
		raw, err := conn.(*net.TCPConn).SyscallConn()
		if err != nil {
			t.Fatal(err)
		}
		conn.SetReadDeadline(time.Now().Add(30 * time.Second))
		if !resets {
			conn.Read(make([]byte, 1)) // waits for the end
		}
		err = raw.Read(func(fd uintptr) bool {
			if resets {
				if _, err := writeSocket(int(fd), []byte{1}); err == nil {
					return false // the reset has not come yet
				}
			}
			if got := finishedByPeer(int(fd), false); got == resets {
				t.Errorf("reset %t: finished in order: %t", resets, got)
			}
			return true
		})
		if err != nil {
			t.Fatal(err)
		}
	}
}
