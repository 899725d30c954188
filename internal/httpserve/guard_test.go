package httpserve

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"cim/internal/admission"
)

// guarded is an http.Server behind a Guard: /free is free, /wait waits for release.
type guarded struct {
	*testing.T
	guard   *Guard
	evicted atomic.Int64
	waiting chan struct{}
	release chan struct{}
}

func startGuarded(t *testing.T, connsMax, requestsMax int) *guarded {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	g := &guarded{T: t, waiting: make(chan struct{}, 100), release: make(chan struct{})}
	server := &http.Server{IdleTimeout: patience, ReadTimeout: patience, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/wait" {
			g.waiting <- struct{}{}
			<-g.release
		}
		_, _ = io.WriteString(w, "ok")
	})}
	g.guard = NewGuard(listener, server, GuardConfig{
		ConnsMax: connsMax, Addresses: admission.DefaultPolicy(),
		Free:    func(path string) bool { return path == "/free" },
		Kinds:   []GuardKind{{Of: func(path string) bool { return path == "/wait" }, Max: requestsMax}, {Of: func(string) bool { return true }, Max: 1}},
		Evicted: func(net.Addr) { g.evicted.Add(1) },
	})
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(g.guard) }()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		server.Close()
		if err := <-ended; !errors.Is(err, http.ErrServerClosed) {
			t.Error(err)
		}
		for g.guard.Conns() > 0 && ctx.Err() == nil {
			time.Sleep(time.Millisecond)
		}
		if n := g.guard.Conns(); n != 0 {
			t.Errorf("%d connections hold places after the end", n)
		}
	})
	return g
}

// open dials and sends request.
func (g *guarded) open(request string) net.Conn {
	g.Helper()
	conn, err := net.Dial("tcp", g.guard.Addr().String())
	if err != nil {
		g.Fatal(err)
	}
	g.Cleanup(func() { conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(patience))
	if _, err := io.WriteString(conn, request); err != nil {
		g.Fatal(err)
	}
	return conn
}

// await waits for n requests that wait for the release.
func (g *guarded) await(n int) {
	g.Helper()
	for range n {
		select {
		case <-g.waiting:
		case <-time.After(patience):
			g.Fatalf("no request within %v", patience)
		}
	}
}

func get(path string) string { return "GET " + path + " HTTP/1.1\r\nHost: x\r\n\r\n" }

// want reads the status line of an answer.
func (g *guarded) want(conn net.Conn, status string) {
	g.Helper()
	line := make([]byte, len("HTTP/1.1 200"))
	if _, err := io.ReadFull(conn, line); err != nil || !strings.HasSuffix(string(line), status) {
		g.Errorf("%q, %v, want %s", line, err, status)
	}
}

// TestFreeBesideTheIdle: a free path is answered while idle and slow connections
// have all places.
func TestFreeBesideTheIdle(t *testing.T) {
	g := startGuarded(t, 4, 2)
	for range 2 {
		g.open("")
		g.want(g.open(get("/free")), "200")
	}
	for range 10 {
		g.want(g.open(get("/free")), "200")
	}
	if got := g.evicted.Load(); got != 10 {
		t.Errorf("%d evicted, want 10", got)
	}
	for range 4 {
		g.open("GET /free HT")
	}
	for deadline := time.Now().Add(patience); g.reading() < 4; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%d of 4 requests have begun", g.reading())
		}
	}
	began := time.Now()
	g.want(g.open(get("/free")), "200")
	if evicted := g.evicted.Load(); evicted != 15 {
		t.Errorf("%d evicted after %v, want 15", evicted, time.Since(began))
	}
}

// reading is the number of connections that have begun to send a request.
func (g *guarded) reading() int {
	g.guard.places.mu.Lock()
	defer g.guard.places.mu.Unlock()
	n := 0
	for one := range g.guard.places.open {
		if one.phase == phaseReading {
			n++
		}
	}
	return n
}

// TestFreeBesideTheBusy: a free path is answered while each kind has as many
// requests in progress as it may; one more of a kind is refused.
func TestFreeBesideTheBusy(t *testing.T) {
	g := startGuarded(t, 4, 2)
	busy := []net.Conn{g.open(get("/wait")), g.open(get("/wait"))}
	g.await(2)
	for range 10 {
		g.want(g.open(get("/wait")), "503")
		g.want(g.open(get("/free")), "200")
		g.want(g.open(get("/other")), "200")
	}
	close(g.release)
	for _, conn := range busy {
		g.want(conn, "200")
	}
}

// TestNewcomerWaits: if all connections have a request in progress, the next one is
// served when one of them has ended.
func TestNewcomerWaits(t *testing.T) {
	g := startGuarded(t, 2, 2)
	g.open(get("/wait"))
	g.open(get("/wait"))
	g.await(2)
	next := g.open(get("/free"))
	select {
	case g.release <- struct{}{}:
	case <-time.After(patience):
		t.Fatal("nothing waits")
	}
	g.want(next, "200")
	close(g.release)
}

// TestGuardEnds: closing the listener ends the wait of a new connection.
func TestGuardEnds(t *testing.T) {
	g := startGuarded(t, 1, 1)
	g.open(get("/wait"))
	g.await(1)
	g.open("")
	defer close(g.release)
}
