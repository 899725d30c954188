package main

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strconv"
	"strings"
	"testing"

	"cim/internal/metrics"
)

// nodeConfig is a standalone on free ports.
func nodeConfig(t *testing.T) standaloneConfig {
	t.Helper()
	c := defaultStandalone()
	c.system.Folder = t.TempDir()
	c.system.Server.CIMPort, c.system.Server.HTTPPort, c.system.Route.Port, c.admin.port = 0, 0, 0, 0
	if err := c.check(); err != nil {
		t.Fatal(err)
	}
	return *c
}

// TestPartEnds ends a part behind the node's back: the node has to end, with
// the part's error.
func TestPartEnds(t *testing.T) {
	n, err := startNode(nodeConfig(t), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := n.drain(); err != nil {
			t.Error(err)
		}
	}()
	if err := n.admin.listener.Close(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), waitMax)
	defer cancel()
	if err := serve(ctx, n, slog.New(slog.DiscardHandler), io.Discard); !errors.Is(err, net.ErrClosed) {
		t.Errorf("serve: %v, want the listener's error", err)
	}
}

// TestStartFails starts with a port that is taken: nothing is left running, so
// the same data can be opened again.
func TestStartFails(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := taken.Close(); err != nil {
			t.Error(err)
		}
	}()
	c := nodeConfig(t)
	for name, port := range map[string]*int{
		"cim": &c.system.Server.CIMPort, "http": &c.system.Server.HTTPPort, "route": &c.system.Route.Port, "admin": &c.admin.port,
	} {
		*port = taken.Addr().(*net.TCPAddr).Port
		if _, err := startNode(c, slog.New(slog.DiscardHandler)); err == nil || !strings.Contains(err.Error(), strconv.Itoa(*port)) {
			t.Errorf("%s port taken: %v, want an error that names it", name, err)
		}
		*port = 0
	}
	n, err := startNode(c, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(n.awaitReady(t.Context()), n.drain()); err != nil {
		t.Error(err)
	}
}

// TestReady tells which part is not ready: while a node drains, the process.
func TestReady(t *testing.T) {
	n, err := startNode(nodeConfig(t), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	if err := n.awaitReady(t.Context()); err != nil {
		t.Error(err)
	}
	n.system.Unlink()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for len(n.ready()) == 0 { // until server and route have seen the end of the link
		runtime.Gosched()
	}
	if err := n.awaitReady(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("awaitReady without a link: %v", err)
	}
	if err := n.drain(); err != nil {
		t.Error(err)
	}
	if parts := n.ready(); len(parts) != 1 || parts[0].part != "process" {
		t.Errorf("ready after the drain: %v, want the process going down", parts)
	}
}

// TestAdmin has the answers of the admin listener.
func TestAdmin(t *testing.T) {
	var parts []notReady
	a := &admin{deps: adminDeps{
		ready: func() []notReady { return parts }, metrics: metrics.NewSet(), log: slog.New(slog.DiscardHandler),
	}}
	a.deps.metrics.Counter("cim_test_total").Inc()
	for _, c := range []struct {
		method, path string
		parts        []notReady
		status       int
		body         string
	}{
		{"GET", "/livez", []notReady{{"route", "x"}}, http.StatusOK, "ok\n"},
		{"GET", "/readyz", nil, http.StatusOK, "ready\n"},
		{"GET", "/readyz", []notReady{{"server", "full"}, {"route", "store: slow"}}, http.StatusServiceUnavailable, "server: full\nroute: store: slow\n"},
		{"GET", "/metrics", nil, http.StatusOK, "cim_test_total 1\n"},
		{"GET", "/version", nil, http.StatusOK, "version "},
		{"GET", "/debug/pprof/heap?debug=1", nil, http.StatusOK, "heap profile"},
		{"GET", "/", nil, http.StatusNotFound, ""},
		{"POST", "/livez", nil, http.StatusMethodNotAllowed, ""},
	} {
		parts = c.parts
		answer := httptest.NewRecorder()
		a.handler().ServeHTTP(answer, httptest.NewRequest(c.method, c.path, nil))
		if answer.Code != c.status || !strings.Contains(answer.Body.String(), c.body) {
			t.Errorf("%s %s: %d %.100q, want %d and %q", c.method, c.path, answer.Code, answer.Body, c.status, c.body)
		}
	}
}

// TestLevels logs from the level that was asked for, in its form.
func TestLevels(t *testing.T) {
	for _, c := range []struct {
		config logConfig
		want   string
	}{
		{logConfig{"info", "text"}, "msg=info"},
		{logConfig{"debug", "json"}, `"msg":"debug"`},
	} {
		var out strings.Builder
		log := c.config.logger(&out)
		log.Debug("debug")
		log.Info("info")
		if first, _, _ := strings.Cut(out.String(), "\n"); !strings.Contains(first, c.want) {
			t.Errorf("%v: the first line is %q, want %q in it", c.config, first, c.want)
		}
	}
}

// TestKeepProcs raises the number of Ps for many loops and never lowers it.
func TestKeepProcs(t *testing.T) {
	before := runtime.GOMAXPROCS(4)
	defer runtime.GOMAXPROCS(before)
	for loops, want := range map[int]int{1: 4, 2: 4, 3: 6} {
		runtime.GOMAXPROCS(4)
		keepProcs(loops)
		if got := runtime.GOMAXPROCS(0); got != want {
			t.Errorf("%d loops: GOMAXPROCS %d, want %d", loops, got, want)
		}
	}
}
