package listener

import (
	"net"
	"strings"
	"testing"
)

// TestNetwork listens on each kind of address and connects by both protocols: only
// the given addresses are open. A machine without IPv6 has only the rows of IPv4,
// and nothing is open at ::1 there.
func TestNetwork(t *testing.T) {
	probe, err := net.Listen("tcp6", "[::1]:0")
	v6 := err == nil
	if v6 {
		probe.Close()
	} else {
		t.Log("this machine has no IPv6: ", err)
	}
	for host, open := range map[string]map[string]bool{
		"127.0.0.1": {"127.0.0.1": true, "::1": false},
		"0.0.0.0":   {"127.0.0.1": true, "::1": false},
		"::":        {"127.0.0.1": true, "::1": true},
		"::1":       {"127.0.0.1": false, "::1": true},
	} {
		if !v6 && strings.Contains(host, ":") {
			continue
		}
		l, err := net.Listen(Network(host), net.JoinHostPort(host, "0"))
		if err != nil {
			t.Errorf("%s: %v", host, err)
			continue
		}
		_, port, err := net.SplitHostPort(l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		for from, want := range open {
			conn, err := net.Dial("tcp", net.JoinHostPort(from, port))
			if (err == nil) != want {
				t.Errorf("bound to %s, dialled at %s: %v, open is to be %t", host, from, err, want)
			}
			if err == nil {
				conn.Close()
			}
		}
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	}
}
