package listener

import "net/netip"

// Network is the network with which net.Listen opens exactly host, an IP address:
// 0.0.0.0 is all of IPv4, where "tcp" would open IPv6 too. :: is all of both. A
// host name is left to net.Listen.
func Network(host string) string {
	if address, err := netip.ParseAddr(host); err == nil && address.Unmap().Is4() {
		return "tcp4"
	}
	return "tcp"
}
