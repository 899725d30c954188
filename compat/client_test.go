package compat_test

import (
	"context"
	"errors"
	"path/filepath"
	"testing"
	"time"

	"cim/client"
	"cim/compat/standin"
	"cim/internal/daemon"
	"cim/proto"
)

// patience bounds every wait of this test.
const patience = 30 * time.Second

// await is the next value of c.
func await[T any](t *testing.T, what string, c <-chan T) T {
	t.Helper()
	late := time.NewTimer(patience)
	defer late.Stop()
	select {
	case v := <-c:
		return v
	case <-late.C:
		t.Fatalf("not within %v: %s", patience, what)
		panic("unreachable")
	}
}

// gate is a Backoff whose pauses last until it is open.
type gate struct{ asked, open chan struct{} }

// Pause implements client.Backoff.
func (g gate) Pause(int) time.Duration {
	select {
	case g.asked <- struct{}{}:
		<-g.open
	case <-g.open: // the route may not have seen yet that a server has gone
	}
	return 10 * time.Millisecond
}

// originals starts a route and two servers of the original, on what they need.
func originals(t *testing.T) (url string, servers []*standin.Server) {
	t.Helper()
	var daemons []*daemon.Daemon
	for _, start := range []func(context.Context, string, ...string) (*daemon.Daemon, error){
		daemon.Redis,
		func(ctx context.Context, dir string, _ ...string) (*daemon.Daemon, error) {
			return daemon.ZooKeeper(ctx, dir)
		},
	} {
		d, err := start(t.Context(), filepath.Join(t.TempDir(), "data"))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := d.Stop(); err != nil {
				t.Error(err)
			}
		})
		daemons = append(daemons, d)
	}
	const root = "/cim"
	route, err := standin.StartRoute(standin.RouteConfig{ZK: daemons[1].Addr, Root: root, Redis: daemons[0].Addr})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(route.Stop)
	for range 2 {
		s, err := standin.StartServer(standin.ServerConfig{ZK: daemons[1].Addr, Root: root, RouteURL: route.URL()})
		if err != nil {
			t.Fatal(err)
		}
		servers = append(servers, s)
	}
	return route.URL(), servers
}

// TestOriginals is a user of the SDK among the original's own: messages both
// ways, what was stored at the login, and after a server's end too.
func TestOriginals(t *testing.T) {
	url, servers := originals(t)
	stopped := map[*standin.Server]bool{}
	stop := func(s *standin.Server) {
		if !stopped[s] {
			stopped[s] = true
			s.Stop()
		}
	}
	for _, s := range servers {
		t.Cleanup(func() { stop(s) })
	}
	heard := make(chan string, 10)
	java, err := standin.NewClient(t.Context(), standin.ClientConfig{
		RouteURL: url, UserName: "java", Haste: 50, Receive: func(_, text string, _ bool) { heard <- text },
	})
	if err != nil {
		t.Fatal(err)
	}

	pauses := gate{make(chan struct{}), make(chan struct{})}
	got, states := make(chan client.Message, 10), make(chan client.State, 10)
	ann, err := client.Dial(t.Context(), client.Config{
		Routes: []string{url}, Name: "ann", Messages: got, Backoff: pauses,
		OnState: func(s client.State, _ error) { states <- s },
	})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := ann.Close(t.Context()); err != nil {
			t.Error(err)
		}
	}()
	if server := ann.Server(); server.Dialect != proto.DialectV2 {
		t.Errorf("logged in at %+v, want the original's dialect", server)
	}
	send := func(text string, code proto.Code) {
		t.Helper()
		if r, err := ann.Send(t.Context(), proto.UserID(java.ID()), text); err != nil || r.Code != code || r.ID != 0 {
			t.Errorf("Send of %q: %+v, %v, want code %s", text, r, err, code)
		}
	}
	want := func(text string, offline bool) {
		t.Helper()
		m := client.Message{Sender: proto.User{ID: proto.UserID(java.ID()), Name: "java"}, Text: text, Offline: offline}
		if g := await(t, text, got); g != m {
			t.Errorf("received %+v, want %+v", g, m)
		}
	}
	say := func(text, code string) {
		t.Helper()
		if c, err := java.Private(t.Context(), int64(ann.User().ID), text); err != nil || c != code {
			t.Errorf("java says %q: code %s, %v, want %s", text, c, err, code)
		}
	}

	send("while you were away", proto.CodeOffline)
	if err := java.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	defer java.Close()
	if text := await(t, "what was stored for java", heard); text != "while you were away" {
		t.Errorf("java heard %q", text)
	}
	send("to java", proto.CodeSuccess)
	if _, err := ann.SendGroup(t.Context(), "to all"); err != nil {
		t.Error(err)
	}
	for _, text := range []string{"to java", "to all"} {
		if h := await(t, text, heard); h != text {
			t.Errorf("java heard %q, want %q", h, text)
		}
	}
	say("live", standin.CodeSuccess)
	want("live", false)
	if users, err := ann.Online(t.Context()); err != nil || len(users) != 2 {
		t.Errorf("Online: %v, %v, want ann and java", users, err)
	}

	for _, s := range servers { // her server ends, and tells the route
		if s.CIMPort() == ann.Server().Port {
			stop(s)
		}
	}
	if s := await(t, "that the connection is lost", states); s != client.StateReconnecting {
		t.Errorf("state %v", s)
	}
	await(t, "the pause before the login", pauses.asked)
	if _, err := ann.SendGroup(t.Context(), "now?"); !errors.Is(err, client.ErrNotConnected) {
		t.Errorf("SendGroup meanwhile: %v, want ErrNotConnected", err)
	}
	say("stored meanwhile", standin.CodeOffline)
	close(pauses.open)
	if s := await(t, "the login", states); s != client.StateReady {
		t.Errorf("state %v", s)
	}
	want("stored meanwhile", true)
	say("live again", standin.CodeSuccess)
	want("live again", false)
}
