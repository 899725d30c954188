package loadgen

import (
	"errors"
	"io"
	"net/http/httptest"
	"strings"
	"testing"

	"cim/proto"
)

// TestLoginTriedAgain refuses logins for the moment, in each way: all are in
// at last, and the report says how often.
func TestLoginTriedAgain(t *testing.T) {
	p := newPeer(t)
	codes := []proto.Code{proto.CodeNoServer, proto.CodeFailure, proto.CodeRepeatLogin}
	p.refusePlace = func(n int) proto.Code {
		if n <= len(codes) {
			return codes[n-1]
		}
		return proto.CodeSuccess
	}
	cfg := small(p)
	cfg.Mode = Idle
	r, err := Run(t.Context(), cfg, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	if got := r.Trials[0].LoginRetries; got != len(codes) {
		t.Errorf("%d logins tried again, want %d", got, len(codes))
	}
}

// TestLoginNeverIn refuses for ever: the run ends within Drain, and says why. A permanent refusal
// is not tried again.
func TestLoginNeverIn(t *testing.T) {
	for code, again := range map[proto.Code]bool{proto.CodeNoServer: true, proto.CodeAccountMismatch: false} {
		p := newPeer(t)
		p.refusePlace = func(int) proto.Code { return code }
		cfg := small(p)
		cfg.Mode, cfg.LoginsAtOnce, cfg.Drain = Idle, 1, neverMax
		_, err := Run(t.Context(), cfg, io.Discard)
		var refused codeError
		if !errors.As(err, &refused) || refused.code != code {
			t.Errorf("code %s: error %v", code, err)
		}
		p.mu.Lock()
		if (p.logins > 1) != again {
			t.Errorf("code %s: %d logins", code, p.logins)
		}
		p.mu.Unlock()
	}
}

// TestRoutesAreKept has a client ask one route only, and all routes asked, in
// each mode and with fewer senders than routes.
func TestRoutesAreKept(t *testing.T) {
	for name, load := range map[string]func(*Config){
		"group, one window": func(c *Config) { c.Windows = []int{1} },
		"group, rate":       func(c *Config) { c.Rates = []int{200} },
		"private, windows":  func(c *Config) { c.Mode, c.Windows = Private, []int{3} },
		"private, rate":     func(c *Config) { c.Mode, c.Rates = Private, []int{500} },
	} {
		t.Run(name, func(t *testing.T) {
			p := newPeer(t)
			cfg := small(p)
			for range 2 {
				other := httptest.NewServer(p)
				t.Cleanup(other.Close)
				cfg.Routes = append(cfg.Routes, other.URL)
			}
			load(&cfg)
			r, err := Run(t.Context(), cfg, io.Discard)
			if err != nil {
				t.Fatal(err)
			}
			checkWhole(t, cfg, r)
			p.mu.Lock()
			defer p.mu.Unlock()
			clients := make(map[string]int)
			for user, hosts := range p.hosts {
				if len(hosts) != 1 {
					t.Errorf("user %d asked %v", user, hosts)
				}
				for host := range hosts {
					clients[host]++
				}
			}
			for _, route := range cfg.Routes {
				if got := clients[strings.TrimPrefix(route, "http://")]; got != 2 {
					t.Errorf("%d clients of %s, want 2 of 6", got, route)
				}
			}
		})
	}
}
