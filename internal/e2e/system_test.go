package e2e

import (
	"errors"
	"flag"
	"io"
	"net/http"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// systemsMax bounds the systems that run at a time.
const systemsMax = 3

var slots = make(chan struct{}, systemsMax)

// The kinds of system that the tests run on, one after the other.
const (
	standaloneKind = "standalone"
	clusterKind    = "cluster"
)

var (
	kinds     = flag.String("system", standaloneKind+","+clusterKind, "kinds of system to run on")
	clustered bool // the present kind; set between runs only
)

// system is what is under test, as its clients and its operator see it: URLs
// of routes, and of admin listeners. Every user asks one of the routes; where
// its server is stands in the answer to its login.
type system struct {
	t      *testing.T
	routes []string // base URLs
	admins []string // base URLs
	client *http.Client
	users  int       // made so far; test goroutine only
	usher  *user     // sends the fences
	listed time.Time // when the routes were last asked for the online users

	fences atomic.Uint64
	names  sync.Map // proto.User by name: dialect v1 names senders only by it

	settings    []string
	descriptors int // 0: those of the test
	backing     backing
	processes   []*process // the first one's admin listener is the first of admins
	started     []*process // all that there have been
}

// backing is what a kind of system stands on: it starts the processes, with
// the data that there are.
type backing interface {
	run(s *system) []*process
}

// startSystem starts a system with these flags and fresh data; the test's end
// kills it.
func startSystem(t *testing.T, settings ...string) *system {
	t.Helper()
	return startLimited(t, 0, settings...)
}

// startLimited is startSystem with a limit of open files for each process.
func startLimited(t *testing.T, descriptors int, settings ...string) *system {
	t.Helper()
	s := newSystem(t)
	s.settings, s.descriptors = settings, descriptors
	if clustered {
		s.backing = newCluster(t, components{})
	} else {
		s.backing = standalone{filepath.Join(t.TempDir(), "data")}
	}
	s.begin()
	return s
}

// newSystem waits until the machine has room for one more system.
func newSystem(t *testing.T) *system {
	t.Helper()
	slots <- struct{}{}
	s := &system{
		t:      t,
		client: &http.Client{Timeout: waitMax, Transport: &http.Transport{MaxIdleConnsPerHost: 64}},
	}
	before := stalled.ours.Load()
	t.Cleanup(func() {
		<-slots
		stalled.note(t, before, s.started)
	})
	return s
}

// begin starts a system for the first time.
func (s *system) begin() {
	s.t.Helper()
	s.run()
	s.t.Cleanup(s.client.CloseIdleConnections)
	s.usher = s.ours("usher")
}

// run starts the processes, with the data that there are.
func (s *system) run() {
	s.t.Helper()
	s.processes = s.backing.run(s)
	s.routes, s.admins = nil, nil
	for _, p := range s.processes {
		s.admins = append(s.admins, "http://"+p.Admin)
		if p.Route != "" {
			s.routes = append(s.routes, "http://"+p.Route)
		}
	}
}

// kill ends the system at once, as a crash does.
func (s *system) kill() {
	s.t.Helper()
	for _, p := range s.processes {
		p.signal(syscall.SIGKILL)
	}
	for _, p := range s.processes {
		p.awaitEnd()
	}
}

// askToEnd begins the drain; awaitDrained waits for its end, which must be
// well.
func (s *system) askToEnd() {
	s.t.Helper()
	for _, p := range s.processes {
		p.signal(syscall.SIGTERM)
	}
}

func (s *system) awaitDrained() {
	s.t.Helper()
	for _, p := range s.processes {
		if status := p.awaitEnd(); status != 0 {
			s.t.Errorf("%s: exit status %d after a drain, want 0", p.args[0], status)
		}
	}
}

// old makes a user whose client is the original's.
func (s *system) old(name string) *user { s.t.Helper(); return s.user(name, false) }

// ours makes a user whose client is one of ours.
func (s *system) ours(name string) *user { s.t.Helper(); return s.user(name, true) }

func (s *system) user(name string, ours bool) *user {
	s.t.Helper()
	u := &user{system: s, number: s.users, ours: ours}
	s.users++
	u.register(name)
	s.names.Store(u.Name, u.User)
	return u
}

// listAge is how old a route's list of the connected users may be.
const listAge = time.Second

// online are the users that every route lists as online, by their ids. It asks
// for lists that are made after it was called.
func (s *system) online() map[int64]bool {
	s.t.Helper()
	time.Sleep(time.Until(s.listed.Add(listAge)))
	defer func() { s.listed = time.Now() }()
	all := map[int64]bool{}
	for route := range s.routes {
		asker := &user{system: s, number: route}
		a, err := asker.get("/onlineUser")
		var listed []userJSON
		if err == nil {
			err = a.read(&listed)
		}
		if err != nil || a.code != 9000 {
			s.t.Fatalf("onlineUser: %+v, %v", a, err)
		}
		for _, one := range listed {
			all[one.UserID] = true
		}
	}
	return all
}

// admin asks the first admin listener.
func (s *system) admin(path string) (status int, text string) {
	s.t.Helper()
	status, text, err := s.get(s.admins[0] + path)
	if err != nil {
		s.t.Fatal(err)
	}
	return status, text
}

func (s *system) get(url string) (status int, text string, err error) {
	response, err := s.client.Get(url)
	if err != nil {
		return 0, "", err
	}
	b, err := io.ReadAll(response.Body)
	return response.StatusCode, string(b), errors.Join(err, response.Body.Close())
}
