package main

import (
	"bytes"
	"context"
	"encoding/json"
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
	"time"

	"cim/internal/metrics"
	"cim/proto"
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

// TestPartEnds ends a part without the node: the node must end, with the part's error.
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

// TestReady names the part that is not ready: while a node drains, the process.
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

// stuckHandler is a log whose lines take until it is let go, if a connection has
// ended: the event loop that logs it stands still.
type stuckHandler struct {
	slog.Handler
	letGo chan struct{}
}

func (h stuckHandler) Handle(ctx context.Context, r slog.Record) error {
	if r.Message == "connection ended" {
		<-h.letGo
	}
	return nil
}

func (h stuckHandler) Enabled(_ context.Context, l slog.Level) bool { return l >= slog.LevelInfo }

func (h stuckHandler) WithAttrs([]slog.Attr) slog.Handler { return h }

// TestLoopStandsStill stops the event loop of a standalone: it is not ready and says why, a group
// message does not wait for it, a login is refused. When the loop continues, everything works
// without a restart.
func TestLoopStandsStill(t *testing.T) {
	t.Parallel()
	c := nodeConfig(t)
	c.system.Server.Loops = 1
	letGo := make(chan struct{})
	n, err := startNode(c, slog.New(stuckHandler{slog.DiscardHandler, letGo}))
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := n.drain(); err != nil {
			t.Error(err)
		}
	}()
	if err := n.awaitReady(t.Context()); err != nil {
		t.Fatal(err)
	}
	r := &detached{t: t, serviceProcess: &serviceProcess{addresses: n.addresses()}}
	ann := r.register("ann")
	stranger, err := net.Dial("tcp", r.CIM)
	if err != nil {
		t.Fatal(err)
	}
	defer stranger.Close()
	if _, err := stranger.Write([]byte("\xff\xff\xff\xff\xff\xff")); err != nil {
		t.Fatal(err)
	}
	await(t, "not ready", func() bool {
		parts := n.ready()
		return len(parts) > 0 && strings.Contains(parts[0].why, "event loop 1 of 1 has stood still")
	})
	await(t, "the login is refused", func() bool {
		return r.ask("/login", map[string]any{"userId": ann, "userName": "ann"}) == proto.CodeNoServer
	})
	begin := time.Now()
	if code := r.ask("/groupRoute", map[string]any{"userId": ann, "msg": "to all"}); code == proto.CodeSuccess || time.Since(begin) > 8*time.Second {
		t.Errorf("group message: %s after %v", code, time.Since(begin))
	}
	close(letGo)
	await(t, "ready again", func() bool { return len(n.ready()) == 0 })
	await(t, "logins are taken", func() bool {
		return r.ask("/login", map[string]any{"userId": ann, "userName": "ann"}) == proto.CodeSuccess
	})
	r.serves()
}

func await(t *testing.T, what string, so func() bool) {
	t.Helper()
	for deadline := time.Now().Add(waitMax); !so(); runtime.Gosched() {
		if time.Now().After(deadline) {
			t.Fatalf("not within %v: %s", waitMax, what)
		}
	}
}

// register returns the id of a new account.
func (r *detached) register(name string) int64 {
	r.t.Helper()
	var answer struct {
		DataBody struct{ UserID int64 }
	}
	r.post("/registerAccount", map[string]any{"userName": name}, &answer)
	return answer.DataBody.UserID
}

// ask returns the code of the route's answer.
func (r *detached) ask(path string, body map[string]any) proto.Code {
	r.t.Helper()
	var answer struct{ Code string }
	r.post(path, body, &answer)
	code, err := strconv.Atoi(answer.Code)
	if err != nil {
		r.t.Fatalf("%s: code %q", path, answer.Code)
	}
	return proto.Code(code)
}

func (r *detached) post(path string, body map[string]any, answer any) {
	r.t.Helper()
	text, err := json.Marshal(body)
	if err != nil {
		r.t.Fatal(err)
	}
	response, err := http.Post("http://"+r.Route+path, "application/json", bytes.NewReader(text))
	if err != nil {
		r.t.Fatal(err)
	}
	defer response.Body.Close()
	if err := json.NewDecoder(response.Body).Decode(answer); err != nil {
		r.t.Fatalf("%s: %v", path, err)
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

// TestKeepProcs raises the number of Ps for many loops, and for what else holds
// one, and never lowers it.
func TestKeepProcs(t *testing.T) {
	before := runtime.GOMAXPROCS(4)
	defer runtime.GOMAXPROCS(before)
	for _, c := range []struct{ loops, held, want int }{{1, 0, 4}, {2, 0, 4}, {1, 2, 4}, {2, 1, 5}, {3, 0, 6}, {3, 1, 7}} {
		runtime.GOMAXPROCS(4)
		keepProcs(c.loops, c.held)
		if got := runtime.GOMAXPROCS(0); got != c.want {
			t.Errorf("%d loops, %d held: GOMAXPROCS %d, want %d", c.loops, c.held, got, c.want)
		}
	}
}

// TestStandaloneProcs has a P for all else beside those that the loop and the
// store's committer hold.
func TestStandaloneProcs(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	c := nodeConfig(t)
	c.system.Server.Loops = 1
	n, err := startNode(c, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	if got := runtime.GOMAXPROCS(0); got != 3 {
		t.Errorf("GOMAXPROCS %d, want 3", got)
	}
	if err := n.drain(); err != nil {
		t.Error(err)
	}
}
