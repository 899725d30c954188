package loadgen

import (
	"context"
	"net"
	"net/netip"
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
