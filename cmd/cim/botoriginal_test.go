package main

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"cim/compat/standin"
	"cim/internal/daemon"
)

// newOriginal starts a route and a server of the original, and what they need.
func newOriginal(t *testing.T) (route string) {
	t.Helper()
	folder := t.TempDir()
	redis, err := daemon.Redis(t.Context(), filepath.Join(folder, "redis"))
	if err != nil {
		t.Fatal(err)
	}
	keeper, err := daemon.ZooKeeper(t.Context(), filepath.Join(folder, "zk"))
	if err != nil {
		t.Fatal(errors.Join(err, redis.Stop()))
	}
	t.Cleanup(func() {
		if err := errors.Join(redis.Stop(), keeper.Stop()); err != nil {
			t.Error(err)
		}
	})
	r, err := standin.StartRoute(standin.RouteConfig{ZK: keeper.Addr, Root: "/cim", Redis: redis.Addr})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.Stop)
	s, err := standin.StartServer(standin.ServerConfig{ZK: keeper.Addr, Root: "/cim", RouteURL: r.URL()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Stop)
	return r.URL()
}

// TestBotsOriginal sends and listens in the original's system: each line is a message there too,
// and messages that the listener got but did not print are stored again.
func TestBotsOriginal(t *testing.T) {
	route := newOriginal(t)
	newBot(t, route, "users").end(0)
	sender := newBot(t, route, "send", "--name", "robot", "--create", "--to", "bob", "--json")
	sender.typeLine("one\ntwo\nthree\n")
	if err := sender.in.Close(); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`{"line":1,"outcome":"stored"`, `{"line":2,"outcome":"stored"`, `{"line":3,"outcome":"stored"`, ""} {
		if line := sender.line(); !strings.HasPrefix(line, want) || want == "" && line != "" {
			t.Errorf("sent %s, want %s", line, want)
		}
	}
	sender.end(0)
	for _, texts := range [][]string{{"one"}, {"two", "three"}} {
		listener := newBot(t, route, "listen", "--name", "bob", "--json", "-n", fmt.Sprint(len(texts)))
		for _, text := range texts {
			if line := listener.line(); !strings.HasSuffix(line, `"userName":"robot"},"text":"`+text+`","offline":true}`) {
				t.Errorf("heard %s, want %s", line, text)
			}
		}
		listener.end(0)
	}
	listener := newBot(t, route, "listen", "--name", "bob", "--json", "-n", "2")
	listener.hear("listening as bob")
	sendText(t, route, "bob", "to you", "delivered")
	sendText(t, route, "all", "to all", "delivered")
	for _, text := range []string{"to you", "to all"} {
		if line := listener.line(); !strings.HasSuffix(line, `"text":"`+text+`","offline":false}`) {
			t.Errorf("heard %s, want %s", line, text)
		}
	}
	listener.end(0)
}
