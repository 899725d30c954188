package main

import (
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"

	"cim/internal/budget"
	"cim/internal/metrics"
)

// TestRouteCheck has one setting of cim route wrong at a time: the fault names it.
func TestRouteCheck(t *testing.T) {
	if err := defaultRoute().check(); err != nil {
		t.Fatalf("the defaults: %v", err)
	}
	for want, spoil := range map[string]func(c *routeConfig){
		`bind "" has no address`:       func(c *routeConfig) { c.bind = "" },
		`admin-bind "" has no address`: func(c *routeConfig) { c.admin.bind = "" },
		"route-port and admin-port":    func(c *routeConfig) { c.admin.port = c.route.Port },
		"link-secret has 5 bytes":      func(c *routeConfig) { c.linkSecret = "short" },
		"redis":                        func(c *routeConfig) { c.redis = []string{"http://h"} },
		"zk-root":                      func(c *routeConfig) { c.zk.root = "no path" },
		"offline-ttl":                  func(c *routeConfig) { c.store.OfflineTTL = time.Nanosecond },
		"http-idle":                    func(c *routeConfig) { c.route.HTTPIdle = -1 },
	} {
		c := defaultRoute()
		spoil(c)
		if err := c.check(); err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%v, want one fault with %q", err, want)
		}
	}
}

// TestServerCheck is TestRouteCheck for cim server.
func TestServerCheck(t *testing.T) {
	if err := defaultServer().check(); err != nil {
		t.Fatalf("the defaults: %v", err)
	}
	for want, spoil := range map[string]func(c *serverConfig){
		`bind "" has no address`:       func(c *serverConfig) { c.bind = "" },
		`admin-bind "" has no address`: func(c *serverConfig) { c.admin.bind = "" },
		"cim-port and admin-port":      func(c *serverConfig) { c.admin.port = c.server.CIMPort },
		"zk-root":                      func(c *serverConfig) { c.zk.root = "no path" },
		"drain":                        func(c *serverConfig) { c.drain = drainLeast - 1 },
		"heartbeat":                    func(c *serverConfig) { c.server.Heartbeat = -1 },
	} {
		c := defaultServer()
		spoil(c)
		if err := c.check(); err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%v, want one fault with %q", err, want)
		}
	}
}

// TestConnectionsWithinDescriptors: HTTP connections take a part of the descriptors
// at most, and at least one is taken.
func TestConnectionsWithinDescriptors(t *testing.T) {
	for conns, bounded := range map[int]bool{0: false, 1: false, 1 << 30: true} {
		r, s := defaultRoute(), defaultServer()
		r.route.HTTPConnsMax, s.server.HTTPConnsMax = conns, conns
		wantRoute, wantServer := 1, 1
		if bounded {
			wantRoute, wantServer = descriptorLimit()/2, descriptorLimit()/httpShare
		}
		_, _ = r.check(), s.check() // with many descriptors there may still be too many
		if got := r.route.HTTPConnsMax; got != wantRoute {
			t.Errorf("route, %d: %d connections, want %d", conns, got, wantRoute)
		}
		if got := s.server.HTTPConnsMax; got != wantServer {
			t.Errorf("server, %d: %d connections, want %d", conns, got, wantServer)
		}
	}
}

// TestNewBudget: 0 is the default, other values count.
func TestNewBudget(t *testing.T) {
	for limit, want := range map[int64]int64{0: budget.Default(), budget.LimitMin: budget.LimitMin} {
		if got := newBudget(limit, slog.New(slog.DiscardHandler), metrics.NewSet()).Limit(); got != want {
			t.Errorf("memory-budget %d: %d bytes, want %d", limit, got, want)
		}
	}
}

// TestURLsShown: of an unreadable URL nothing is shown, of others no password in any place.
func TestURLsShown(t *testing.T) {
	for text, want := range map[string]string{
		"redis://h:1": "redis://h:1",
		"redis://ann:geheim@h:1?master_set=m&sentinel_password=geheim": "redis://ann:xxxxx@h:1?master_set=m&sentinel_password=xxxxx",
		"redis://:geheim%zz@h": "(hidden)",
	} {
		l := urls{texts{&[]string{text}}}
		if got := l.String(); got != want || l.haveSecret() != (got != text) {
			t.Errorf("%q is shown as %q, secret %t; want %q", text, got, l.haveSecret(), want)
		}
	}
}

// TestExampleOfList: a word with a comma stays one word of a list.
func TestExampleOfList(t *testing.T) {
	words := []string{"a,b", "c"}
	written, err := yaml.Marshal(exampleValue(texts{&words}))
	if err != nil {
		t.Fatal(err)
	}
	var read []string
	if err := yaml.Unmarshal(written, &read); err != nil || !slices.Equal(read, words) {
		t.Errorf("%s reads as %q (%v), want %q", written, read, err, words)
	}
}
