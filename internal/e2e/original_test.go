package e2e

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"cim/client"
	"cim/compat/standin"
	"cim/proto"
)

// originalHaste divides the pauses of the original's clients.
const originalHaste = 50

// mover is a user who moves from route to route: with a client of the original,
// or one of ours.
type mover struct {
	fleet *fleet
	name  string
	ours  bool
	id    int64
	route string // base URL

	java *standin.Client // nil while away, as sdk
	sdk  *client.Client

	mu  sync.Mutex
	got []arrival // messages of the book
	ear string    // the last fence that came
}

type arrival struct {
	text    string
	offline bool
}

// storedMax bounds the messages to users who are online that are stored first.
const storedMax = 20

// fleet is a system in the middle of its move, and the book of its messages.
type fleet struct {
	*system
	*cluster
	stage   int
	fences  int
	java    *standin.Route // nil: gone
	theirs  []*standin.Server
	ours    []*process // routes of ours
	movers  []*mover
	owed    map[*mover][]string // in the order in which they were answered
	sends   int
	refused int
	stored  int // though their receivers were online
}

// newFleet is a route of the original alone, of its master or, released, of a
// release.
func newFleet(t *testing.T, released bool) *fleet {
	s := newSystem(t)
	f := &fleet{system: s, cluster: newCluster(t, components{}), owed: map[*mover][]string{}}
	s.t.Cleanup(s.client.CloseIdleConnections)
	var err error
	f.java, err = standin.StartRoute(standin.RouteConfig{ZK: f.zk.Addr, Root: f.root, Redis: f.redis.Addr, Released: released})
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func (f *fleet) originalServer() *standin.Server {
	f.t.Helper()
	server, err := standin.StartServer(standin.ServerConfig{
		ZK: f.zk.Addr, Root: f.root, RouteURL: f.java.URL(), Warmup: time.Second,
	})
	if err != nil {
		f.t.Fatal(err)
	}
	f.theirs = append(f.theirs, server)
	return server
}

// urls are those of the routes that there are.
func (f *fleet) urls() []string {
	var urls []string
	if f.java != nil {
		urls = append(urls, f.java.URL())
	}
	for _, p := range f.ours {
		urls = append(urls, "http://"+p.Route)
	}
	return urls
}

// next is the next stage: every user leaves, and joins by another route.
func (f *fleet) next(what string) {
	f.t.Helper()
	f.stage++
	f.t.Logf("stage %d: %s", f.stage, what)
	for _, m := range f.movers {
		m.leave()
	}
	urls := f.urls()
	for i, m := range f.movers {
		m.route = urls[(i/2+f.stage)%len(urls)]
		m.join()
	}
	f.settle()
}

// settle waits until each mover receives what is sent to it as it comes: a fence
// is answered with success and arrives. A fence that is stored arrives too, by a
// catch-up, but a message right behind it may still be stored.
func (f *fleet) settle() {
	f.t.Helper()
	f.fences++
	prefix := fmt.Sprintf("fence %d ", f.fences)
	for i, m := range f.movers {
		from := f.movers[(i+1)%len(f.movers)]
		tries := 0
		eventually(f.t, fmt.Sprintf("stage %d: %s receives what is sent by %s", f.stage, m.name, m.route), func() bool {
			tries++
			code, err := from.send(m, fmt.Sprint(prefix, tries))
			return err == nil && code == proto.CodeSuccess && within(waitMax/100, func() bool { return m.heard(prefix) })
		})
	}
}

func (m *mover) heard(fence string) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return strings.HasPrefix(m.ear, fence)
}

func (m *mover) receive(text string, offline bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if strings.HasPrefix(text, "fence ") {
		m.ear = text
		return
	}
	m.got = append(m.got, arrival{text, offline})
}

// join logs in at m's route, and fetches what was stored.
func (m *mover) join() {
	t := m.fleet.t
	t.Helper()
	var err error
	if m.ours {
		m.sdk, err = client.Dial(t.Context(), client.Config{
			Routes: []string{m.route}, Name: m.name,
			OnMessage: func(message client.Message) { m.receive(message.Text, message.Offline) },
		})
		if err == nil {
			m.id = int64(m.sdk.User().ID)
		}
	} else {
		m.java, err = standin.NewClient(t.Context(), standin.ClientConfig{
			RouteURL: m.route, UserName: m.name, Haste: originalHaste,
			Receive: func(_, text string, offline bool) { m.receive(text, offline) },
			Ended:   func(err error) { t.Errorf("%s has ended: %v", m.name, err) },
		})
		if err == nil {
			m.id = m.java.ID()
			err = m.java.Start(t.Context())
		}
	}
	if err != nil {
		t.Fatalf("stage %d: %s joins at %s: %v", m.fleet.stage, m.name, m.route, err)
	}
}

// leave says goodbye.
func (m *mover) leave() {
	t := m.fleet.t
	t.Helper()
	var err error
	switch {
	case m.sdk != nil:
		err = m.sdk.Close(t.Context())
	case m.java != nil:
		err = m.java.Close()
		if broken := m.java.Broken(); broken != nil {
			t.Errorf("stage %d: %s: %v", m.fleet.stage, m.name, broken)
		}
	}
	if err != nil {
		t.Fatalf("stage %d: %s leaves %s: %v", m.fleet.stage, m.name, m.route, err)
	}
	m.sdk, m.java = nil, nil
	eventually(t, "the servers of the original know that "+m.name+" has left", func() bool {
		return !slices.ContainsFunc(m.fleet.theirs, func(s *standin.Server) bool { return !s.Left(m.id) })
	})
}

// send sends to one user, or to all if to is nil.
func (m *mover) send(to *mover, text string) (proto.Code, error) {
	ctx, stop := context.WithTimeout(m.fleet.t.Context(), waitMax)
	defer stop()
	if m.ours {
		var result client.Result
		var err error
		if to == nil {
			result, err = m.sdk.SendGroup(ctx, text)
		} else {
			result, err = m.sdk.Send(ctx, proto.UserID(to.id), text)
		}
		return result.Code, err
	}
	var code string
	var err error
	if to == nil {
		code, err = m.java.Group(ctx, text)
	} else {
		code, err = m.java.Private(ctx, to.id, text)
	}
	var n proto.Code
	if err == nil {
		_, err = fmt.Sscan(code, &n)
	}
	return n, err
}

// say sends a message of the book, and demands a code. A private message to a user
// who is online may be stored instead: a catch-up of an earlier text may hold the
// session just then. It is owed all the same, and storedMax bounds how many there are.
func (m *mover) say(want proto.Code, to *mover) {
	f := m.fleet
	f.t.Helper()
	f.sends++
	text := fmt.Sprintf("%d by %s in stage %d", f.sends, m.name, f.stage)
	if to == nil {
		text = fmt.Sprintf("%d by %s to all in stage %d", f.sends, m.name, f.stage)
	}
	code, err := m.send(to, text)
	if err == nil && to != nil && want == proto.CodeSuccess && code == proto.CodeOffline {
		f.stored++
		want = code
	}
	if err != nil || code != want {
		f.t.Errorf("stage %d: %s at %s sends to %v: code %s, %v; want %s", f.stage, m.name, m.route, to, code, err, want)
		f.refused++
		return
	}
	if to != nil {
		f.owed[to] = append(f.owed[to], text)
		return
	}
	for _, other := range f.movers {
		if other != m && (other.sdk != nil || other.java != nil) {
			f.owed[other] = append(f.owed[other], text)
		}
	}
}

func (m *mover) String() string {
	if m == nil {
		return "all"
	}
	return m.name
}

// chat makes every user send to every other one, and to all.
func (f *fleet) chat() {
	f.t.Helper()
	for _, from := range f.movers {
		for _, to := range f.movers {
			if to != from {
				from.say(proto.CodeSuccess, to)
			}
		}
		from.say(proto.CodeSuccess, nil)
	}
	f.balance()
}

// store lets some be away while the others talk to them, and come back by any
// route.
func (f *fleet) store(random *rand.Rand) {
	f.t.Helper()
	away := f.movers[:len(f.movers)/2]
	for _, m := range away {
		m.leave()
	}
	for range 3 {
		for _, from := range f.movers[len(away):] {
			for _, to := range away {
				from.say(proto.CodeOffline, to)
			}
		}
	}
	urls := f.urls()
	for _, m := range away {
		m.route = urls[random.IntN(len(urls))]
		m.join()
	}
	f.settle()
	f.balance()
}

// balance waits until every user has got all owed texts, and closes the book: each text once, those
// of one sender in order, and nothing else.
func (f *fleet) balance() {
	f.t.Helper()
	for _, m := range f.movers {
		owed := f.owed[m]
		within(waitMax, func() bool {
			m.mu.Lock()
			defer m.mu.Unlock()
			return len(m.got) >= len(owed)
		})
		m.mu.Lock()
		f.compare(m, owed, m.got)
		m.got = nil
		m.mu.Unlock()
		f.owed[m] = nil
	}
}

func (f *fleet) compare(m *mover, owed []string, got []arrival) {
	f.t.Helper()
	counts := map[string]int{}
	for _, text := range owed {
		counts[text]++
	}
	last := map[string]int{}
	for _, a := range got {
		counts[a.text]--
		var number int
		var by string
		if _, err := fmt.Sscanf(a.text, "%d by %s", &number, &by); err != nil {
			f.t.Errorf("stage %d: %s received %q", f.stage, m.name, a.text)
		}
		if strings.Contains(a.text, " to all ") {
			by += " to all" // in an order of their own: they are never stored
		}
		if number < last[by] {
			f.t.Errorf("stage %d: %s received %d by %s behind %d", f.stage, m.name, number, by, last[by])
		}
		last[by] = number
	}
	for _, text := range slices.Sorted(maps.Keys(counts)) {
		if n := counts[text]; n != 0 {
			f.t.Errorf("stage %d: %s at %s lacks %d times %q", f.stage, m.name, m.route, n, text)
		}
	}
}

// awaitMembers waits until a route of ours has so many links, and servers of the
// original.
func (f *fleet) awaitMembers(route *process, links, originals int) {
	f.t.Helper()
	for name, want := range map[string]int{"cim_route_links_up": links, "cim_route_servers_of_the_original": originals} {
		eventually(f.t, fmt.Sprintf("%s %d", name, want), func() bool {
			_, text, err := f.get("http://" + route.Admin + "/metrics")
			return err == nil && strings.Contains("\n"+text, fmt.Sprintf("\n%s %d\n", name, want))
		})
	}
}

// TestMovingOver moves a system of the original over, one process at a time: a
// route of ours beside the original's, servers of ours beside the original's,
// then the original's servers go, and its route. At each stage clients of the
// original and of ours log in by all routes, talk across, and are away. Every
// delivery is counted.
func TestMovingOver(t *testing.T) {
	t.Parallel()
	movingOver(t, false, "auto")
}

// TestMovingOverReleased does so with a route of a release, which stores in
// another form.
func TestMovingOverReleased(t *testing.T) {
	t.Parallel()
	movingOver(t, true, "hash")
}

func movingOver(t *testing.T, released bool, form string) {
	if !clustered {
		return
	}
	seed := rand.Uint64()
	random := rand.New(rand.NewPCG(seed, 0))
	t.Logf("seed %d", seed)
	f := newFleet(t, released)
	for i := range 6 {
		f.movers = append(f.movers, &mover{fleet: f, name: fmt.Sprint("mover", i), ours: i%2 == 1})
	}
	defer func() {
		for _, m := range f.movers {
			m.leave()
		}
	}()
	live := func(what string) {
		f.next(what)
		f.chat()
		f.store(random)
	}
	java := []*standin.Server{f.originalServer(), f.originalServer()}
	live("the original alone")

	route := f.startRoute(f.system, "", "--original", "--original-form", form)
	f.ours = append(f.ours, route)
	f.awaitMembers(route, 0, 2)
	live("a route of ours beside it")

	open := []string{"--login", "open", "--route-url", f.java.URL()}
	servers := []*process{f.startServer(f.system, "0", "0", open...)}
	f.awaitMembers(route, 1, 2)
	live("a server of ours beside its servers")
	servers = append(servers, f.startServer(f.system, "0", "0", open...))
	f.awaitMembers(route, 2, 2)
	live("two servers of ours")

	for _, name := range []string{`cim_route_original_pushes_total{outcome="taken"}`, "cim_route_original_scans_total"} {
		_, text, err := f.get("http://" + route.Admin + "/metrics")
		if err != nil || !strings.Contains(text, name) || strings.Contains(text, name+" 0\n") {
			t.Errorf("%s is 0: nothing went across (%v)", name, err)
		}
	}

	for i, server := range java {
		server.Stop()
		f.awaitMembers(route, 2, 1-i)
		f.settle() // users that were connected come back by themselves
		f.chat()
		live(fmt.Sprint("servers of the original left: ", 1-i))
	}

	for _, m := range f.movers {
		m.leave() // a route that is about to go is not asked
	}
	f.java.Stop()
	f.java = nil
	live("the route of the original gone")

	servers = append(servers, f.startServer(f.system, "0", "0"))
	f.awaitMembers(route, 3, 0)
	for i, p := range servers[:2] {
		p.signal(syscall.SIGTERM)
		if status := p.awaitEnd(); status != 0 {
			t.Errorf("a server's exit status is %d, want 0", status)
		}
		f.awaitMembers(route, 2-i, 0)
	}
	live("ours alone")
	if f.stored > storedMax {
		t.Errorf("%d of %d messages to users who are online were stored, want at most %d", f.stored, f.sends, storedMax)
	}
	if f.refused > 0 {
		t.Errorf("%d of %d messages were refused", f.refused, f.sends)
	}
	t.Logf("%d messages", f.sends)
}

// TestOriginalRouteAlone has a server of ours with a route of the original and no
// route of ours: it gets ready, and its users log in, talk and are away.
func TestOriginalRouteAlone(t *testing.T) {
	t.Parallel()
	if !clustered {
		return
	}
	f := newFleet(t, false)
	defer func() { f.java.Stop() }()
	server := f.startServer(f.system, "0", "0", "--login", "open", "--route-url", f.java.URL())
	eventually(t, "the server is ready", func() bool {
		status, _, err := f.get("http://" + server.Admin + "/readyz")
		return err == nil && status == 200
	})
	for i := range 4 {
		f.movers = append(f.movers, &mover{fleet: f, name: fmt.Sprint("alone", i), ours: i%2 == 1})
	}
	defer func() {
		for _, m := range f.movers {
			m.leave()
		}
	}()
	f.next("a server of ours, a route of the original")
	f.chat()
	f.store(rand.New(rand.NewPCG(1, 1)))
}
