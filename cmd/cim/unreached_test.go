package main

import (
	"errors"
	"fmt"
	"net"
	"os"
	"syscall"
	"testing"
)

// TestPlainDial: a failed connection is reported in plain words, wherever it is in an error; all
// other errors stay.
func TestPlainDial(t *testing.T) {
	address := &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 8083}
	refused := &net.OpError{Op: "dial", Net: "tcp", Addr: address, Err: os.NewSyscallError("connect", syscall.ECONNREFUSED)}
	for want, err := range map[string]error{
		"loadgen: user 7: no answer at 127.0.0.1:8083: connection refused: is cim running there?": fmt.Errorf("loadgen: user 7: %w", refused),
		"one\nno answer at 127.0.0.1:8083: i/o timeout: is cim running there?": errors.Join(errors.New("one"),
			&net.OpError{Op: "dial", Net: "tcp", Addr: address, Err: os.ErrDeadlineExceeded}),
		"the host nowhere is not known: no such host": &net.OpError{
			Op: "dial", Net: "tcp", Err: &net.DNSError{Err: "no such host", Name: "nowhere", Server: "192.0.2.1:53"},
		},
		"read tcp 127.0.0.1:8083: i/o timeout": &net.OpError{Op: "read", Net: "tcp", Addr: address, Err: os.ErrDeadlineExceeded},
		"something else":                       errors.New("something else"),
	} {
		got := failed(err)
		if got.Error() != want || !errors.Is(got, err) {
			t.Errorf("%v: %q, want %q", err, got, want)
		}
	}
}
