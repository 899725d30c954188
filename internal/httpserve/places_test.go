package httpserve

import (
	"net"
	"net/netip"
	"testing"

	"cim/internal/admission"
)

// addressed is a connection that only has an address.
type addressed struct {
	net.Conn
	from string
}

func (a addressed) RemoteAddr() net.Addr {
	return net.TCPAddrFromAddrPort(netip.MustParseAddrPort(a.from))
}

// TestBeginCountsOnce: a request that begins twice, at its first byte and at the
// end of its header, counts once in its address' share, and its time starts at the
// first byte.
func TestBeginCountsOnce(t *testing.T) {
	p := newPlaces(8, admission.Policy{Share: 0.25}, func(net.Addr) {})
	one, _ := p.enter(addressed{from: "192.0.2.1:1"})
	p.begin(one)
	since := one.since
	p.begin(one)
	if p.come != 1 || p.coming[one.source] != 1 || one.since != since {
		t.Errorf("%d come in, %d of the address, since %v; want 1, 1, %v", p.come, p.coming[one.source], one.since, since)
	}
	if !p.onRequestRead(one) || p.come != 0 || len(p.coming) != 0 {
		t.Errorf("after the request %d come in, and %v are counted", p.come, p.coming)
	}
}
