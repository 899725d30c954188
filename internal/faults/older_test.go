package faults

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"cim/client"
	"cim/proto"
	"cim/store"
	"cim/store/redis"
)

// older is the executable of the release that this one is tried beside.
var older = flag.String("older", "", "executable cim of commit "+olderCommit+"; without it, it is built from the repository")

// olderCommit is the last commit without acknowledgements.
const olderCommit = "f26c959"

// olderExecutable is the older release: that of -older, or built from its commit.
func olderExecutable(t *testing.T) string {
	t.Helper()
	if *older != "" {
		return *older
	}
	if !*whole && !*every {
		t.Skip("runs with -faults, -every or -older only")
	}
	source := filepath.Join(t.TempDir(), "older")
	if err := os.Mkdir(source, 0o700); err != nil {
		t.Fatal(err)
	}
	built := filepath.Join(folder, "cim-"+olderCommit)
	for _, line := range []struct{ in, what string }{
		{"", "git -C ../.. archive --output=" + source + ".tar " + olderCommit},
		{"", "tar -xf " + source + ".tar -C " + source},
		{source, "go build -o " + built + " cim/cmd/cim"},
	} {
		ctx, cancel := context.WithTimeout(t.Context(), buildMax)
		defer cancel()
		words := strings.Fields(line.what)
		cmd := exec.CommandContext(ctx, words[0], words[1:]...)
		cmd.Dir = line.in
		if out, err := cmd.CombinedOutput(); err != nil {
			fail := t.Skipf
			if *whole {
				fail = t.Fatalf
			}
			fail("the older release cannot be built (a shallow clone lacks its commit; -older names its executable): %s: %v\n%s", line.what, err, out)
		}
	}
	return built
}

const (
	mixedUsers = 12 // of each kind
	mixedTexts = 30 // that each route stores or brings for each user in each step
)

// mixed is a cluster with a server and a route of each of two releases.
type mixed struct {
	*system
	client *http.Client
	sender proto.User
	users  []*mixedUser
	count  int            // of texts
	codes  map[string]int // of answers, by the route that gave them

	balancer string                  // URL of the load balancer
	behind   atomic.Pointer[process] // the route that it asks
}

// mixedUser notes what was promised to come and what came.
type mixedUser struct {
	proto.User
	promised []string

	client *client.Client // nil: away

	mu      sync.Mutex
	came    map[string]int
	refuses bool // what comes: its application is done with none of it
}

// TestOlderRelease replaces a server and a route of one release by those of
// another, each way. Every text that was answered stored or delivered comes,
// whichever release has stored it and whichever brings it. What users of this release
// were not done with when the older one came stays theirs.
func TestOlderRelease(t *testing.T) {
	before := olderExecutable(t)
	t.Run("upgrade", func(t *testing.T) {
		share(t)
		testMixed(t, before, executable)
	})
	t.Run("roll back", func(t *testing.T) {
		share(t)
		testMixed(t, executable, before)
	})
}

func testMixed(t *testing.T, first, second string) {
	m := &mixed{system: newSystem(t, needs{}), codes: map[string]int{}}
	m.client = &http.Client{Timeout: callMax, Transport: new(http.Transport)}
	t.Cleanup(m.client.CloseIdleConnections)
	m.add(first)
	m.front()
	m.register()

	m.sendAll(m.routes[0]) // all are away
	m.tearHole()
	m.enter(m.users[:mixedUsers], m.balancer)
	m.sendAll(m.routes[0]) // the first ones are there
	var refusing []*mixedUser
	if first == executable { // the older release loses what a client had and was not done with
		refusing = m.users[:mixedUsers/4]
	}
	m.refuse(refusing, true)

	m.add(second)
	for range 3 {
		m.sendAll(m.routes[0])
		m.sendAll(m.routes[1])
	}
	m.enter(m.users[mixedUsers:2*mixedUsers], m.routeURLs()[1])
	m.enter(m.users[2*mixedUsers:3*mixedUsers], m.routeURLs()[0])
	m.sendAll(m.routes[1])
	m.sendAll(m.routes[0])

	m.refuse(refusing, false)
	m.enterAnew(refusing)
	m.enterAnew(m.users[mixedUsers : 3*mixedUsers])
	m.await(m.users[mixedUsers:3*mixedUsers], "")
	m.await(m.users[:mixedUsers], m.routes[0].name) // so that nothing live is on its way to an older server
	m.behind.Store(m.routes[1])
	m.servers[0].drain()
	m.sendAll(m.routes[1])
	m.routes[0].drain()
	m.sendAll(m.routes[1])
	m.enter(m.users[3*mixedUsers:], m.routeURLs()[1])
	m.sendAll(m.routes[1])
	m.wantAll()
	for _, u := range m.users {
		m.leave(u)
	}
	m.wantCalm()
	t.Logf("%d texts; answers %v", m.count, m.codes)
}

// add starts a server and a route of a release.
func (m *mixed) add(binary string) {
	m.t.Helper()
	args := []string{"route", "--redis", "redis://" + m.redis.Addr, "--route-port", "0"}
	if binary == executable {
		args = append(args, "--auth", "off")
	}
	route := m.newProcess("route", len(m.routes), args...)
	server := m.newProcess("server", len(m.servers), "server", "--cim-port", "0", "--http-port", "0", "--link-port", "0")
	route.binary, server.binary = binary, binary
	m.routes, m.servers = append(m.routes, route), append(m.servers, server)
	route.start()
	server.start()
	eventually(m.t, waitMax, "the server and the route are linked", func() bool {
		_, err := server.admin("/readyz")
		return err == nil && route.metric("cim_route_links_up") == 1
	})
	known := float64(len(m.servers) - 1)
	for _, p := range m.routes {
		eventually(m.t, waitMax, p.name+" sees the server of the other release", func() bool {
			return p.metric("cim_route_members_of_another_version_total") >= known
		})
	}
}

func (m *mixed) register() {
	m.t.Helper()
	account := func(name string) proto.User {
		var body proto.UserBody
		a, err := call(m.t.Context(), m.client, "http://"+m.routes[0].Route+proto.PathRegister, proto.RegisterRequest{UserName: name})
		if err == nil {
			err = a.read(&body)
		}
		if err != nil {
			m.t.Fatal(err)
		}
		return proto.User{ID: body.UserID, Name: name}
	}
	m.sender = account(m.run + "-sender")
	for i := range 4 * mixedUsers {
		m.users = append(m.users, &mixedUser{User: account(fmt.Sprintf("%s-%d", m.run, i)), came: map[string]int{}})
	}
}

// sendAll sends texts to all users by a route.
func (m *mixed) sendAll(route *process) {
	m.t.Helper()
	for range mixedTexts {
		for _, u := range m.users {
			m.send(route, u)
		}
	}
}

func (m *mixed) send(route *process, to *mixedUser) {
	m.t.Helper()
	m.count++
	text := fmt.Sprintf("%d by %s", m.count, route.name)
	request := proto.PrivateRequest{UserID: proto.Number(m.sender.ID), ReceiveUserID: proto.Number(to.ID), Msg: &text}
	a, err := call(m.t.Context(), m.client, "http://"+route.Route+proto.PathPrivate, request)
	if err != nil {
		m.t.Fatal(err)
	}
	m.codes[route.name+" "+a.code.String()]++
	if a.code == proto.CodeSuccess || a.code == proto.CodeOffline {
		to.promised = append(to.promised, text)
	}
}

// tearHole removes a text from the middle of each box that has some, as an
// acknowledgement does.
func (m *mixed) tearHole() {
	m.t.Helper()
	boxes, err := redis.Open(m.t.Context(), redis.Config{URLs: []string{"redis://" + m.redis.Addr}, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		m.t.Fatal(err)
	}
	defer boxes.Close()
	for _, u := range m.users {
		page, err := boxes.Page(m.t.Context(), u.ID, 0)
		if err != nil || len(page) < 3 {
			m.t.Fatalf("a box of %d texts: %v", len(page), err)
		}
		hole := page[len(page)/2]
		if err := boxes.Remove(m.t.Context(), u.ID, []store.TextKey{hole.Key()}); err != nil {
			m.t.Fatal(err)
		}
		u.promised = slices.DeleteFunc(u.promised, func(text string) bool { return text == hole.Text })
	}
}

// front starts a load balancer, which asks the first route until behind says
// otherwise.
func (m *mixed) front() {
	m.behind.Store(m.routes[0])
	transport := new(http.Transport)
	proxy := &httputil.ReverseProxy{Transport: transport, Rewrite: func(r *httputil.ProxyRequest) {
		r.SetURL(&url.URL{Scheme: "http", Host: m.behind.Load().Route})
	}}
	server := httptest.NewServer(proxy)
	m.t.Cleanup(func() {
		server.Close()
		transport.CloseIdleConnections()
	})
	m.balancer = server.URL
}

// enter logs users in by the route of a URL.
func (m *mixed) enter(users []*mixedUser, at string) {
	m.t.Helper()
	for _, u := range users {
		config := client.Config{Routes: []string{at}, Name: u.Name, UserID: u.ID, Accept: u.take}
		eventually(m.t, waitMax, u.Name+" logs in", func() bool {
			one, err := client.Dial(m.t.Context(), config)
			u.client = one
			return err == nil
		})
		m.t.Cleanup(func() { m.leave(u) })
	}
}

func (m *mixed) leave(u *mixedUser) {
	if u.client == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), callMax)
	defer cancel()
	_ = u.client.Close(ctx) // a goodbye that no route takes is none of ours
	u.client = nil
}

func (u *mixedUser) take(message client.Message) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	if !u.refuses {
		u.came[message.Text]++
	}
	return !u.refuses
}

// missing are the texts that were promised by the route of that name, or by any,
// and have not come.
func (u *mixedUser) missing(route string) []string {
	u.mu.Lock()
	defer u.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(u.promised), func(text string) bool { return u.came[text] > 0 || !strings.HasSuffix(text, route) })
}

// enterAnew has users log out, and in by the second route: what was stored for
// them by a route that does not reach their server comes then.
func (m *mixed) enterAnew(users []*mixedUser) {
	m.t.Helper()
	for _, u := range users {
		m.leave(u)
	}
	m.enter(users, m.routeURLs()[1])
}

// refuse has users be done with none of what comes from now on, or with all again.
func (m *mixed) refuse(users []*mixedUser, refuses bool) {
	for _, u := range users {
		u.mu.Lock()
		u.refuses = refuses
		u.mu.Unlock()
	}
}

// await waits for all texts that were promised to users by the route of that
// name, or by any if it is empty.
func (m *mixed) await(users []*mixedUser, route string) {
	m.t.Helper()
	for _, u := range users {
		if !within(waitMax, func() bool { return len(u.missing(route)) == 0 }) {
			missing := u.missing(route)
			m.t.Errorf("%s lacks %d of %d texts, %s to %s", u.Name, len(missing), len(u.promised), missing[0], missing[len(missing)-1])
		}
	}
}

// wantAll demands that all texts came. No text comes twice to one process: clients
// of ours drop the second one.
func (m *mixed) wantAll() {
	m.t.Helper()
	m.await(m.users, "")
	for _, u := range m.users {
		u.mu.Lock()
		defer u.mu.Unlock()
		for text, n := range u.came {
			if n > 1 {
				m.t.Errorf("%s has got %q %d times", u.Name, text, n)
			}
		}
	}
}

// wantCalm demands that no process found fault with what the other release wrote.
func (m *mixed) wantCalm() {
	m.t.Helper()
	for _, p := range m.processes() {
		text, err := os.ReadFile(p.log)
		if err != nil {
			m.t.Fatal(err)
		}
		for _, sign := range []string{"level=ERROR", "a user's box", "script"} {
			if i := bytes.Index(text, []byte(sign)); i >= 0 {
				m.t.Errorf("the log of %s has %q: %.300s", p.name, sign, text[max(0, i-150):])
			}
		}
	}
}
