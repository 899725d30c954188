package zk

import (
	"slices"
	"strings"
	"testing"
	"time"
)

// TestCheck names every fault, and takes what is at the edge.
func TestCheck(t *testing.T) {
	good := Config{Servers: []string{"127.0.0.1:1", "[::1]:65535", "zoo-0.zoo:2181"}}
	for name, test := range map[string]struct {
		change func(*Config)
		want   []string
	}{
		"defaults":                       {func(*Config) {}, nil},
		"deep":                           {func(c *Config) { c.Root = "/a/b.c/cim" }, nil},
		"shortest":                       {func(c *Config) { c.SessionTimeout = 100 * time.Millisecond }, nil},
		"longest":                        {func(c *Config) { c.SessionTimeout = 5 * time.Minute }, nil},
		"too short":                      {func(c *Config) { c.SessionTimeout = 99 * time.Millisecond }, []string{"99ms"}},
		"too long":                       {func(c *Config) { c.SessionTimeout = 5*time.Minute + 1 }, []string{"5m0.000000001s"}},
		"no server":                      {func(c *Config) { c.Servers = nil }, []string{"no ZooKeeper server"}},
		"no port":                        {func(c *Config) { c.Servers = []string{"zoo"} }, []string{`"zoo"`}},
		"port 0":                         {func(c *Config) { c.Servers = []string{"zoo:0"} }, []string{`"zoo:0"`}},
		"past 65535":                     {func(c *Config) { c.Servers = []string{"zoo:65536"} }, []string{`"zoo:65536"`}},
		"no host":                        {func(c *Config) { c.Servers = []string{":2181"} }, []string{`":2181"`}},
		"a space":                        {func(c *Config) { c.Servers = []string{" zoo:2181"} }, []string{`" zoo:2181"`}},
		"relative":                       {func(c *Config) { c.Root = "cim" }, []string{`"cim"`}},
		"ZooKeeper's":                    {func(c *Config) { c.Root = "/" }, []string{`"/"`}},
		"its own folder":                 {func(c *Config) { c.Root = "/zookeeper/cim" }, []string{"/zookeeper/cim"}},
		"a slash behind":                 {func(c *Config) { c.Root = "/cim/" }, []string{`"/cim/"`}},
		"upwards":                        {func(c *Config) { c.Root = "/a/../cim" }, []string{`".."`}},
		"a path behind the last server":  {func(c *Config) { c.Servers[2] += "/team/app" }, nil},
		"a path behind the first server": {func(c *Config) { c.Servers[0] += "/team" }, []string{"127.0.0.1:1/team"}},
		"a slash behind the last server": {func(c *Config) { c.Servers[2] += "/" }, []string{"zoo-0.zoo:2181/"}},
		"ZooKeeper's own path":           {func(c *Config) { c.Servers[2] += "/zookeeper" }, []string{"/zookeeper/cim"}},
		"all": {
			func(c *Config) { *c = Config{Servers: []string{"a", "b:x"}, Root: "x", SessionTimeout: 1} },
			[]string{`"a"`, `"b:x"`, `"x"`, "1ns"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			c := good
			c.Servers = slices.Clone(good.Servers)
			test.change(&c)
			err := c.Check()
			if (err == nil) != (test.want == nil) {
				t.Fatalf("Check: %v", err)
			}
			for _, want := range test.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("%q does not name %s", err, want)
				}
			}
			if r, openErr := Open(c); openErr == nil {
				r.Close()
				if err != nil {
					t.Error("Open took it")
				}
			}
		})
	}
}

// TestPathBehindServers: a path behind the servers, as ZooKeeper's own clients
// take it, leads to the same root as one that is written out.
func TestPathBehindServers(t *testing.T) {
	for root, want := range map[string]string{"": "/team/app/cim", "/a": "/team/app/a"} {
		c := Config{Servers: []string{"a:1", "b:2/team/app"}, Root: root}
		got := c.withDefaults()
		if !slices.Equal(got.Servers, []string{"a:1", "b:2"}) || got.Root != want {
			t.Errorf("root %q: %q and %q, want %q", root, got.Servers, got.Root, want)
		}
		if c.Servers[1] != "b:2/team/app" {
			t.Errorf("the caller's servers are changed: %q", c.Servers)
		}
	}
}
