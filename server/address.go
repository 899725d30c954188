package server

import (
	"net"
	"net/netip"
)

// addresses are those of the two ends of a connection.
type addresses struct{ local, remote netip.AddrPort }

// addressesOf returns the addresses of conn. It removes the IPs from conn's own
// addresses, which gnet keeps as long as the connection is open: each IP would keep
// the 32 to 64 bytes that accept and getsockname have filled. A connection stores
// its peer's IP in 16 bytes.
func addressesOf(conn net.Conn) addresses {
	var a addresses
	if local, ok := conn.LocalAddr().(*net.TCPAddr); ok {
		a.local = local.AddrPort()
		local.IP, local.Zone = nil, ""
	}
	if remote, ok := conn.RemoteAddr().(*net.TCPAddr); ok {
		a.remote = remote.AddrPort()
		remote.IP, remote.Zone = someIP, ""
	}
	return a
}

// someIP stands where gnet demands an IP of version 4 or 6 that is never used.
var someIP = net.IPv4zero.To4()

// own reports whether the peer is this machine, by another address than loopback.
func (a addresses) own() bool {
	remote := a.remote.Addr().Unmap()
	return remote.IsValid() && remote == a.local.Addr().Unmap() && !remote.IsLoopback()
}

// addr is the address of the connection's peer without the port.
func (c *connection) addr() netip.Addr { return netip.AddrFrom16(c.ip).Unmap() }

// address is the address of the connection's peer, for logs and operators.
func (c *connection) address() netip.AddrPort {
	port := uint16(0)
	if tcp, ok := c.conn.RemoteAddr().(*net.TCPAddr); ok {
		port = uint16(tcp.Port)
	}
	return netip.AddrPortFrom(c.addr(), port)
}

// addrOf is the address without the port; not valid if addr is not a TCP address.
func addrOf(addr net.Addr) netip.Addr {
	if tcp, ok := addr.(*net.TCPAddr); ok {
		return tcp.AddrPort().Addr()
	}
	return netip.Addr{}
}
