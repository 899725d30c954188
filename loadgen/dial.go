package loadgen

import (
	"context"
	"net"
	"net/netip"
	"syscall"

	"golang.org/x/sys/unix"
)

// Dialer makes the clients' connections, each from its source address.
type Dialer struct{ sources []netip.Addr }

// Dial connects a client to a TCP address.
func (d Dialer) Dial(ctx context.Context, client int, address string) (net.Conn, error) {
	var dialer net.Dialer
	if len(d.sources) > 0 {
		source := d.sources[client%len(d.sources)]
		dialer.LocalAddr = net.TCPAddrFromAddrPort(netip.AddrPortFrom(source, 0))
		dialer.Control = portLater
	}
	return dialer.DialContext(ctx, "tcp", address)
}

// portLater lets the kernel choose the port when it knows the other end: at the
// bind it would take one that no other connection of this source has, wherever
// that goes.
func portLater(_, _ string, raw syscall.RawConn) error {
	var fault error
	err := raw.Control(func(fd uintptr) {
		fault = unix.SetsockoptInt(int(fd), unix.IPPROTO_IP, unix.IP_BIND_ADDRESS_NO_PORT, 1)
	})
	if err != nil {
		return err
	}
	return fault
}
