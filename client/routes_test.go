package client

import (
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strings"
	"testing"
	"time"

	"cim/proto"
)

// TestRoutes logs in at the second route when the first is not there, and
// when it has no server.
func TestRoutes(t *testing.T) {
	t.Run("down", func(t *testing.T) {
		f := newFake(t, ticketOne)
		config := f.config()
		config.Routes = []string{"http://" + unused(t), f.http.URL + "/"}
		f.logIn(config)
	})
	t.Run("refuses", func(t *testing.T) {
		poor, f := newFake(t, ticketOne), newFake(t, ticketOne)
		poor.codes[proto.PathLogin] = proto.CodeNoServer
		config := f.config()
		config.Routes = []string{poor.http.URL, f.http.URL}
		done := dial(config)
		f.takeLogin(proto.LoginAnswer{User: ann.ID, Heartbeat: 30})
		d := await(t, done)
		if d.err != nil {
			t.Fatal(d.err)
		}
		shut(t, d.client)
		f.expect(proto.PathLogin) // the first one has brought the id
	})
}

// TestRoutesOnce asks each of several routes once, with any result.
func TestRoutesOnce(t *testing.T) {
	config := Config{Name: ann.Name}
	var poor []*fake
	for range 3 {
		f := newFake(t, ticketOne)
		f.codes[proto.PathLogin] = proto.CodeNoServer
		poor = append(poor, f)
		config.Routes = append(config.Routes, "http://"+unused(t), f.http.URL)
	}
	_, err := Dial(t.Context(), config)
	if !errors.Is(err, ErrNoServer) {
		t.Fatalf("Dial: %v, want ErrNoServer", err)
	}
	if tries := strings.Count(err.Error(), "refused"); tries != 3 {
		t.Errorf("%d connects to routes that are down, want 3: %v", tries, err)
	}
	poor[0].expect(proto.PathRegister)
	for i, f := range poor {
		f.expect(proto.PathLogin)
		if len(f.asked) != 0 {
			t.Errorf("route %d was asked more than once", i)
		}
	}
}

// TestRoutesRest finds no connection to a route open after a login.
func TestRoutesRest(t *testing.T) {
	f := newFake(t, ticketOne)
	f.logIn(f.config())
	began := time.Now()
	for f.open.Load() != 0 {
		await(t, f.closed)
	}
	if took := time.Since(began); took >= idleMax {
		t.Errorf("closed after %v, as any idle one", took)
	}
}

// TestNoRoute says that a URL is of something else than a route.
func TestNoRoute(t *testing.T) {
	other := httptest.NewServer(http.NotFoundHandler())
	defer other.Close()
	_, err := Dial(t.Context(), Config{Routes: []string{other.URL}, Name: ann.Name})
	if err == nil || !strings.Contains(err.Error(), other.URL) || !strings.Contains(err.Error(), "not of a cim route: HTTP status 404") {
		t.Errorf("Dial: %v, want it to say that this is no route", err)
	}
}

// TestOnline lists the connected users.
func TestOnline(t *testing.T) {
	f := newFake(t, ticketOne)
	c, _ := f.logIn(f.config())
	users, err := c.Online(t.Context())
	if want := []proto.User{ann, {ID: 9, Name: "bob"}}; err != nil || !reflect.DeepEqual(users, want) {
		t.Errorf("Online() = %v, %v, want %v", users, err, want)
	}
}

// unused is an address without a listener.
func unused(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	return l.Addr().String()
}
