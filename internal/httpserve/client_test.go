package httpserve

import (
	"net"
	"net/netip"
	"strings"
	"testing"

	"github.com/valyala/fasthttp"

	"cim/internal/admission"
)

var proxies = admission.Policy{Share: 1, Trusted: []netip.Prefix{
	netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("2001:db8:ffff::/48"),
}}

// clientOf is ClientAddr of a request from peer with headers, each "Name: value".
func clientOf(peer string, policy admission.Policy, headers ...string) netip.Addr {
	var request fasthttp.Request
	for _, header := range headers {
		name, value, _ := strings.Cut(header, ": ")
		request.Header.Add(name, value)
	}
	var ctx fasthttp.RequestCtx
	ctx.Init(&request, net.TCPAddrFromAddrPort(netip.MustParseAddrPort(peer)), nil)
	return ClientAddr(&ctx, policy)
}

// TestClientAddr: a forwarded header is read from the right, and only from a
// trusted proxy.
func TestClientAddr(t *testing.T) {
	for name, c := range map[string]struct {
		peer, want string
		headers    []string
	}{
		"no proxy":                     {"203.0.113.1:1", "203.0.113.1", nil},
		"no proxy, a header":           {"203.0.113.1:1", "203.0.113.1", []string{"X-Forwarded-For: 198.51.100.1"}},
		"loopback is no proxy":         {"127.0.0.1:1", "127.0.0.1", []string{"X-Forwarded-For: 198.51.100.1"}},
		"a proxy, no header":           {"10.0.0.1:1", "10.0.0.1", nil},
		"a proxy":                      {"10.0.0.1:1", "198.51.100.1", []string{"X-Forwarded-For: 198.51.100.1"}},
		"a proxy of IPv6":              {"[2001:db8:ffff::1]:1", "2001:db8::7", []string{"X-Forwarded-For: 2001:db8::7"}},
		"a mapped peer and client":     {"[::ffff:10.0.0.1]:1", "198.51.100.1", []string{"X-Forwarded-For: ::ffff:198.51.100.1"}},
		"two proxies":                  {"10.0.0.1:1", "198.51.100.1", []string{"X-Forwarded-For: 198.51.100.1, 10.0.0.2"}},
		"what the client made up":      {"10.0.0.1:1", "198.51.100.1", []string{"X-Forwarded-For: 192.0.2.9, 127.0.0.1,198.51.100.1 , 10.0.0.2"}},
		"made up, a line of its own":   {"10.0.0.1:1", "198.51.100.1", []string{"X-Forwarded-For: 192.0.2.9", "X-Forwarded-For: 198.51.100.1"}},
		"a trusted client":             {"10.0.0.1:1", "10.3.3.3", []string{"X-Forwarded-For: 10.3.3.3, 10.0.0.2"}},
		"with ports":                   {"10.0.0.1:1", "198.51.100.1", []string{"X-Forwarded-For: 198.51.100.1:4711"}},
		"with a port, IPv6":            {"10.0.0.1:1", "2001:db8::7", []string{"X-Forwarded-For: [2001:db8::7]:4711"}},
		"in brackets":                  {"10.0.0.1:1", "2001:db8::7", []string{"X-Forwarded-For: [2001:db8::7]"}},
		"with a zone":                  {"10.0.0.1:1", "fe80::7", []string{"X-Forwarded-For: fe80::7%eth0"}},
		"empty items":                  {"10.0.0.1:1", "198.51.100.1", []string{"X-Forwarded-For: 198.51.100.1,, "}},
		"nothing":                      {"10.0.0.1:1", "10.0.0.1", []string{"X-Forwarded-For: "}},
		"nothing that is read":         {"10.0.0.1:1", "10.0.0.1", []string{"X-Forwarded-For: 198.51.100.1, unknown"}},
		"behind a proxy of ours":       {"10.0.0.1:1", "10.0.0.2", []string{"X-Forwarded-For: 198.51.100.1, unknown, 10.0.0.2"}},
		"Forwarded":                    {"10.0.0.1:1", "198.51.100.1", []string{`Forwarded: for=192.0.2.9, for=198.51.100.1;proto=https;by=10.0.0.1`}},
		"Forwarded, quoted":            {"10.0.0.1:1", "2001:db8::7", []string{`Forwarded: proto=http; For="[2001:db8::7]:4711"`}},
		"Forwarded, hidden":            {"10.0.0.1:1", "10.0.0.1", []string{`Forwarded: for=198.51.100.1, for=_secret`}},
		"Forwarded without for":        {"10.0.0.1:1", "10.0.0.1", []string{`Forwarded: by=198.51.100.1`}},
		"Forwarded, an open quote":     {"10.0.0.1:1", "198.51.100.1", []string{`Forwarded: for="192.0.2.9, for=198.51.100.1`}},
		"both":                         {"10.0.0.1:1", "198.51.100.1", []string{"X-Forwarded-For: 198.51.100.1", "Forwarded: for=192.0.2.9"}},
		"as many proxies as may be":    {"10.0.0.1:1", "198.51.100.1", []string{"X-Forwarded-For: 198.51.100.1" + strings.Repeat(",10.0.0.2", hopsMax-1)}},
		"more proxies":                 {"10.0.0.1:1", "10.0.0.2", []string{"X-Forwarded-For: 198.51.100.1" + strings.Repeat(",10.0.0.2", hopsMax)}},
		"no proxy, the other's header": {"203.0.113.1:1", "203.0.113.1", []string{"Forwarded: for=198.51.100.1"}},
	} {
		if got := clientOf(c.peer, proxies, c.headers...); got != netip.MustParseAddr(c.want) {
			t.Errorf("%s: %v, want %s", name, got, c.want)
		}
	}
}

// FuzzClientAddr: whatever a client sends, it cannot choose its address behind a
// proxy that adds the real one.
func FuzzClientAddr(f *testing.F) {
	for _, seed := range []string{"", ",", "192.0.2.9", `for="`, "for=192.0.2.9;", `x="1.2.3.4,`, "10.0.0.9", "[::1", "%"} {
		f.Add(seed, true)
		f.Add(seed, false)
	}
	const own = "198.51.100.1"
	f.Fuzz(func(t *testing.T, made string, x bool) {
		header := "Forwarded: " + made + ", for=" + own
		if x {
			header = "X-Forwarded-For: " + made + ", " + own
		}
		if got := clientOf("10.0.0.1:1", proxies, header); got != netip.MustParseAddr(own) {
			t.Errorf("%q: %v, want %s", header, got, own)
		}
	})
}
