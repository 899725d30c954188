package e2e

import (
	"errors"
	"io"
	"net/http"
	"path/filepath"
	"sync/atomic"
	"syscall"
	"testing"
)

// processesMax bounds the systems that run at a time.
const processesMax = 3

var slots = make(chan struct{}, processesMax)

// system is what is under test, as its clients and its operator see it: URLs
// of routes, and of admin listeners. Every user asks one of the routes; where
// its server is stands in the answer to its login.
type system struct {
	t      *testing.T
	routes []string // base URLs
	admins []string // base URLs
	client *http.Client
	users  int   // made so far; test goroutine only
	usher  *user // sends the fences

	fences atomic.Uint64

	data        string
	settings    []string
	descriptors int // 0: those of the test
	process     *process
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
	slots <- struct{}{}
	t.Cleanup(func() { <-slots })
	s := &system{
		t: t, data: filepath.Join(t.TempDir(), "data"), settings: settings, descriptors: descriptors,
		client: &http.Client{Timeout: waitMax, Transport: &http.Transport{MaxIdleConnsPerHost: 64}},
	}
	s.run()
	t.Cleanup(s.client.CloseIdleConnections)
	s.usher = s.ours("usher")
	return s
}

// run starts the process, with the data that there are.
func (s *system) run() {
	s.t.Helper()
	args := append([]string{
		"standalone", "--data", s.data, "--log-level", "info",
		"--cim-port", "0", "--http-port", "0", "--route-port", "0", "--admin-port", "0",
	}, s.settings...)
	s.process = startProcess(s.t, s.descriptors, args...)
	s.routes = []string{"http://" + s.process.Route}
	s.admins = []string{"http://" + s.process.Admin}
}

// kill ends the system at once, as a crash does.
func (s *system) kill() {
	s.t.Helper()
	s.process.signal(syscall.SIGKILL)
	s.process.awaitEnd()
}

// askToEnd begins the drain; awaitDrained waits for its end, which must be
// well.
func (s *system) askToEnd() {
	s.t.Helper()
	s.process.signal(syscall.SIGTERM)
}

func (s *system) awaitDrained() {
	s.t.Helper()
	if status := s.process.awaitEnd(); status != 0 {
		s.t.Errorf("exit status %d after a drain, want 0", status)
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
	return u
}

// online are the users that every route lists as online, by their ids.
func (s *system) online() map[int64]bool {
	s.t.Helper()
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
	response, err := s.client.Get(s.admins[0] + path)
	if err != nil {
		s.t.Fatal(err)
	}
	b, err := io.ReadAll(response.Body)
	if closeErr := response.Body.Close(); err != nil || closeErr != nil {
		s.t.Fatal(errors.Join(err, closeErr))
	}
	return response.StatusCode, string(b)
}
