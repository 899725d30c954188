package server

import (
	"net"
	"net/netip"
	"testing"
	"unsafe"

	"cim/internal/admission"
)

// connectionBytesMax is what a connection may take beside its session: both are
// whole size classes of the allocator.
const (
	connectionBytesMax = 80
	placeBytesMax      = 32
)

// TestSizeOfConnection: a server has a hundred thousand of them.
func TestSizeOfConnection(t *testing.T) {
	if unsafe.Sizeof(uintptr(0)) != 8 {
		t.Skip("the bounds are those of a 64-bit machine")
	}
	if size := unsafe.Sizeof(connection{}); size > connectionBytesMax {
		t.Errorf("a connection takes %d bytes, want %d at most", size, connectionBytesMax)
	}
	if size := unsafe.Sizeof(admission.Place[*connection]{}); size > placeBytesMax {
		t.Errorf("a place takes %d bytes, want %d at most", size, placeBytesMax)
	}
}

// TestAddresses: the addresses of a connection are those of its two ends, and gnet
// keeps only a small part of them.
func TestAddresses(t *testing.T) {
	inner, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer inner.Close()
	client, err := net.Dial("tcp", inner.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	conn, err := inner.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	want := addresses{local: client.RemoteAddr().(*net.TCPAddr).AddrPort(), remote: client.LocalAddr().(*net.TCPAddr).AddrPort()}
	if got := addressesOf(conn); got != want {
		t.Errorf("%v, want %v", got, want)
	}
	local, remote := conn.LocalAddr().(*net.TCPAddr), conn.RemoteAddr().(*net.TCPAddr)
	if local.IP != nil || &remote.IP[0] != &someIP[0] {
		t.Errorf("%v and %v still have an IP of their own", local, remote)
	}
}

// TestOwn: a peer is this machine if it has the address that it connects to, and
// that is not loopback.
func TestOwn(t *testing.T) {
	for _, test := range []struct {
		local, remote string
		want          bool
	}{
		{"192.0.2.1:80", "192.0.2.1:4000", true},
		{"192.0.2.1:80", "[::ffff:192.0.2.1]:4000", true},
		{"192.0.2.1:80", "192.0.2.2:4000", false},
		{"127.0.0.1:80", "127.0.0.1:4000", false},
	} {
		a := addresses{netip.MustParseAddrPort(test.local), netip.MustParseAddrPort(test.remote)}
		if got := a.own(); got != test.want {
			t.Errorf("%s to %s: %v, want %v", test.remote, test.local, got, test.want)
		}
	}
	if (addresses{}).own() {
		t.Error("a connection without addresses is this machine's own")
	}
}
