package httpserve

import (
	"net"
	"net/netip"
	"slices"
	"strings"

	"github.com/valyala/fasthttp"

	"cim/internal/admission"
)

// hopsMax bounds the addresses of a forwarded header that are parsed.
const hopsMax = 32

// ClientAddr is the address of the client that sent a request: the connection's
// peer, or if that is a proxy that policy trusts, the last address of
// X-Forwarded-For that is not a trusted proxy; without that header, of Forwarded
// (RFC 7239). Addresses before that one may be invented by the client. If the
// header names none, it is the proxy's address. It is not valid if the connection
// is no TCP connection.
func ClientAddr(ctx *fasthttp.RequestCtx, policy admission.Policy) netip.Addr {
	tcp, ok := ctx.RemoteAddr().(*net.TCPAddr)
	if !ok {
		return netip.Addr{}
	}
	peer := tcp.AddrPort().Addr().Unmap().WithZone("")
	if !policy.Trusts(peer) {
		return peer
	}
	header, read := ctx.Request.Header.PeekAll("X-Forwarded-For"), parseHop
	if len(header) == 0 {
		header, read = ctx.Request.Header.PeekAll("Forwarded"), parseElement
	}
	return lastStranger(header, read, peer, policy)
}

// lastStranger is the last address of a list, in the lines of a header, that is not
// a trusted proxy. If all are, it is the first one.
func lastStranger(lines [][]byte, read func(string) (netip.Addr, bool), peer netip.Addr, policy admission.Policy) netip.Addr {
	client, hops := peer, 0
	for _, line := range slices.Backward(lines) {
		for rest, more := string(line), true; more; {
			var item string
			item, rest, more = cutLast(rest, ",")
			if item = strings.TrimSpace(item); item == "" {
				continue
			}
			addr, ok := read(item)
			if hops++; !ok || hops > hopsMax {
				return client // the trusted proxy before it does not know its client
			}
			if client = addr; !policy.Trusts(addr) {
				return addr
			}
		}
	}
	return client
}

// cutLast returns the parts after and before the last separator of text; more is
// false if there is none.
func cutLast(text, separator string) (last, rest string, more bool) {
	if i := strings.LastIndex(text, separator); i >= 0 {
		return text[i+len(separator):], text[:i], true
	}
	return text, "", false
}

// parseElement parses the member for of an element of Forwarded.
func parseElement(element string) (netip.Addr, bool) {
	for pair := range strings.SplitSeq(element, ";") {
		name, value, _ := strings.Cut(strings.TrimSpace(pair), "=")
		if strings.EqualFold(name, "for") {
			return parseHop(strings.Trim(value, `"`))
		}
	}
	return netip.Addr{}, false
}

// parseHop parses an address, which may have a port.
func parseHop(text string) (netip.Addr, bool) {
	if port, err := netip.ParseAddrPort(text); err == nil {
		return port.Addr().Unmap().WithZone(""), true
	}
	text = strings.TrimSuffix(strings.TrimPrefix(text, "["), "]")
	addr, err := netip.ParseAddr(text)
	return addr.Unmap().WithZone(""), err == nil
}
