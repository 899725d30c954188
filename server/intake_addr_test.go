package server

import (
	"net"
	"strconv"
	"testing"
)

// TestIntakeAddr: the announced address is where /sendMsg listens, which is
// loopback unless other addresses are allowed.
func TestIntakeAddr(t *testing.T) {
	for _, c := range []struct {
		bind     string
		anywhere bool
		want     string
	}{
		{"127.0.0.1", false, "127.0.0.1:8081"},
		{"127.0.0.2", false, "127.0.0.2:8081"},
		{"10.1.2.3", false, "127.0.0.1:8081"},
		{"0.0.0.0", false, "127.0.0.1:8081"},
		{"10.1.2.3", true, "10.1.2.3:8081"},
	} {
		s := &Server{config: Config{Bind: c.bind, Advertise: "a.example", SendMsgAnywhere: c.anywhere}}
		s.intake.port = 8081
		if got := s.IntakeAddr(); got != c.want {
			t.Errorf("bind %s, anywhere %t: announced %s, want %s", c.bind, c.anywhere, got, c.want)
		}
	}
}

// TestIntakeListens: with all other ports on all addresses, /sendMsg listens on
// loopback alone, at the announced address, unless it is allowed anywhere.
func TestIntakeListens(t *testing.T) {
	t.Parallel()
	for _, anywhere := range []bool{false, true} {
		w := start(t, func(c *Config) {
			c.Bind, c.Advertise, c.LinkPort, c.SendMsgAnywhere = "0.0.0.0", "127.0.0.1", LinkPortNone, anywhere
		})
		for host, listens := range map[string]bool{"127.0.0.1": true, "127.0.0.2": anywhere} {
			conn, err := net.Dial("tcp4", net.JoinHostPort(host, strconv.Itoa(w.server.intake.port)))
			if (err == nil) != listens {
				t.Errorf("anywhere %t: %s: %v", anywhere, host, err)
			}
			if err == nil {
				conn.Close()
			}
		}
	}
}
