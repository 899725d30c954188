package server

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"testing"

	"github.com/panjf2000/gnet/v2"

	"cim/internal/admission"
	"cim/internal/child"
	"cim/proto"
)

// dialFrom connects from one of the addresses of loopback.
func (w *world) dialFrom(from string) *peer {
	w.Helper()
	dialer := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}}
	conn, err := dialer.DialContext(w.Context(), "tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(w.server.Member().CIMPort)))
	if err != nil {
		w.Fatal(err)
	}
	w.Cleanup(func() { conn.Close() })
	return &peer{t: w.T, conn: conn}
}

func (p *peer) loginOpen(user proto.User) {
	p.t.Helper()
	p.write(proto.AppendLogin(nil, user, proto.DialectCIM, proto.Ticket{}))
	if a := p.read(); a.Reason != proto.ReasonNone {
		p.t.Fatalf("login of %s: %v", user.Name, a.Reason)
	}
}

func (p *peer) wantAlive() {
	p.t.Helper()
	p.write([]byte(proto.Ping))
	if m := p.read(); m.Command != proto.CommandPing {
		p.t.Fatalf("instead of a pong: %+v", m)
	}
}

// TestFullPort fills a port from one address with connections that do not log in:
// those of other addresses and sessions stay, and a new connection gets a place.
func TestFullPort(t *testing.T) {
	const places = 8
	w := start(t, func(c *Config) {
		c.SessionsMax, c.Login, c.Addresses.LoopbackCounts = places, LoginOpen, true // share: 2
	})
	first := w.dialFrom("127.0.0.2")
	first.loginOpen(ann)
	other := w.dialFrom("127.0.0.3") // the oldest without a login
	w.eventually("both are there", func() bool { return w.server.conns.Load() == 2 })
	many := make([]*peer, 3*places)
	for i := range many {
		many[i] = w.dialFrom("127.0.0.4")
		if _, err := many[i].conn.Write([]byte{9}); err != nil { // the length of a frame that does not come
			t.Fatal(err)
		}
	}
	evicted := int64(len(many) - (places - 2))
	w.eventually("they made way for each other", func() bool { return int64(w.server.metrics.evicted.Get()) == evicted })
	for _, p := range many[:evicted] {
		p.end()
	}
	last := w.dialFrom("127.0.0.5")
	last.loginOpen(bob)
	other.loginOpen(proto.User{ID: 77, Name: "other"})
	for _, p := range []*peer{first, other, last} {
		p.wantAlive()
	}
	if n := w.server.metrics.surplus.Get(); n != 0 {
		t.Errorf("%d connections were refused, want none", n)
	}
}

// TestSessionsAreNotEvicted: a port full of sessions of one address, far above its
// share, refuses a new connection, and accepts one when a session ends.
func TestSessionsAreNotEvicted(t *testing.T) {
	const places = 6
	w := start(t, func(c *Config) {
		c.SessionsMax, c.Login, c.Addresses.LoopbackCounts = places, LoginOpen, true
	})
	var peers []*peer
	for i := range places {
		p := w.dialFrom("127.0.0.2")
		p.loginOpen(proto.User{ID: proto.UserID(i + 1), Name: "u" + strconv.Itoa(i)})
		peers = append(peers, p)
	}
	w.dialFrom("127.0.0.3").end()
	for _, p := range peers {
		p.wantAlive()
	}
	peers[0].conn.Close()
	w.eventually("a place is free", func() bool { return w.server.conns.Load() == places-1 })
	w.dialFrom("127.0.0.3").loginOpen(bob)
	if n := w.server.metrics.evicted.Get(); n != 0 {
		t.Errorf("%d made way, want none", n)
	}
}

// TestRefusedMakesWay: a connection whose login was refused, and that does not
// close, can be evicted during the second that it may linger.
func TestRefusedMakesWay(t *testing.T) {
	w := start(t, func(c *Config) { c.SessionsMax = 1 })
	p := w.dial()
	p.write(proto.AppendLogin(nil, bob, proto.DialectCIM, ticket))
	if a := p.read(); a.Reason != proto.ReasonNoGrant {
		t.Fatalf("login answer %+v", a)
	}
	p.end() // the server's side: from then on it may be evicted
	w.login(ann, 1, proto.DialectCIM).wantAlive()
}

// TestLoginOfTheEvicted: a connection that is evicted before its login was read
// becomes no session.
func TestLoginOfTheEvicted(t *testing.T) {
	w := start(t, func(c *Config) { c.SessionsMax, c.Loops, c.Login = 1, 1, LoginOpen })
	evicted := w.dial()
	l, p := w.server.loops[0], &w.server.clients
	w.eventually("it is open", func() bool {
		p.mu.Lock()
		defer p.mu.Unlock()
		oldest := p.table.Oldest()
		return oldest != nil && oldest.Conn.isOpen
	})
	ours, theirs := net.Pipe()
	defer theirs.Close()
	done := make(chan struct{})
	err := l.events.Execute(t.Context(), gnet.RunnableFunc(func(context.Context) error {
		defer close(done)
		newcomer, result := p.admit(addressesOf(ours))
		if result != admission.Admitted {
			t.Errorf("the newcomer: %v", result)
		}
		for _, c := range l.conns {
			if c != nil {
				l.onTraffic(c, proto.AppendLogin(nil, ann, proto.DialectCIM, proto.Ticket{}))
			}
		}
		p.onClosed(newcomer, false)
		return nil
	}))
	if err != nil {
		t.Fatal(err)
	}
	<-done
	if a := evicted.read(); a.Reason != proto.ReasonFull {
		t.Errorf("login answer %+v, want refused as full", a)
	}
	evicted.end()
	if n := w.server.directory.len(); n != 0 {
		t.Errorf("%d sessions, want none", n)
	}
	w.dial().loginOpen(bob)
}

const (
	manySessions    = 10_000
	manySessionsEnv = "CIM_TEST_SESSIONS_AT"
)

// TestManySessionsOfOneAddress: 10,000 sessions from one address stay, while more
// connections from the same address compete for the places that are left.
func TestManySessionsOfOneAddress(t *testing.T) {
	const left = 50
	limit, err := DescriptorLimit()
	if err != nil || limit < manySessions+2_000 {
		t.Fatalf("the limit of descriptors is %d (%v), want %d: raise `ulimit -n`", limit, err, manySessions+2_000)
	}
	w := start(t, func(c *Config) {
		c.SessionsMax, c.Login, c.Addresses.LoopbackCounts = manySessions+left, LoginOpen, true
		c.Heartbeat = heartbeatMax
	})
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestSessionsProcess$", "-test.timeout=120s")
	cmd.Env = append(os.Environ(), fmt.Sprintf("%s=127.0.0.1:%d %d", manySessionsEnv, w.server.Member().CIMPort, manySessions))
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	clients, err := child.Start(cmd)
	if err != nil {
		t.Fatal(err)
	}
	said := bufio.NewReader(out)
	if line, err := said.ReadString('\n'); line != "logged in\n" {
		t.Fatalf("the clients say %q (%v)", line, err)
	}
	for range 4 * left {
		w.dialFrom("127.0.0.1")
	}
	w.eventually("connections that do not log in made way", func() bool { return w.server.metrics.evicted.Get() >= 3*left })
	if _, err := io.WriteString(in, "ping\n"); err != nil {
		t.Fatal(err)
	}
	if line, err := said.ReadString('\n'); line != "all answered\n" {
		t.Errorf("the clients say %q (%v)", line, err)
	}
	in.Close()
	<-clients.Ended()
}

// TestSessionsProcess is the process of TestManySessionsOfOneAddress that has the
// clients.
func TestSessionsProcess(t *testing.T) {
	at, count, asked := strings.Cut(os.Getenv(manySessionsEnv), " ")
	n, _ := strconv.Atoi(count)
	if !asked || n == 0 {
		return // not started for this
	}
	peers := make([]*peer, n)
	for i := range peers {
		conn, err := net.DialTimeout("tcp", at, patience)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		peers[i] = &peer{t: t, conn: conn}
		peers[i].loginOpen(proto.User{ID: proto.UserID(i + 1), Name: "u" + strconv.Itoa(i)})
	}
	fmt.Println("logged in")
	in := bufio.NewReader(os.Stdin)
	_, _ = in.ReadString('\n')
	for _, p := range peers {
		p.wantAlive()
	}
	fmt.Println("all answered")
	_, _ = io.Copy(io.Discard, in) // until the test has seen it
}

// standsIn reports whether a goroutine waits in a select of this function. It is
// for tests that run alone.
func standsIn(function string) bool {
	stacks := make([]byte, 1<<20)
	stacks = stacks[:runtime.Stack(stacks, true)]
	for stack := range strings.SplitSeq(string(stacks), "\n\n") {
		if head, frames, _ := strings.Cut(stack, "\n"); strings.Contains(head, "[select") {
			if top, _, _ := strings.Cut(frames, "\n"); strings.Contains(top, function) {
				return true
			}
		}
	}
	return false
}

// TestEnrollingIsBounded: while no loop enrolls, the port accepts as many
// connections as may be enrolling, and one more.
func TestEnrollingIsBounded(t *testing.T) {
	w := start(t, oneLoop)
	release := w.hold(w.server.loops[0])
	for range 3 * enrollingMax {
		w.dial()
	}
	w.eventually("the port waits for the loop, or takes too many", func() bool {
		return standsIn("(*clientPort).waitForOldest") || w.server.conns.Load() > enrollingMax+1
	})
	if n := w.server.conns.Load(); n != enrollingMax+1 {
		t.Errorf("%d accepted, want %d", n, enrollingMax+1)
	}
	release()
	w.eventually("all are accepted", func() bool { return w.server.conns.Load() == 3*enrollingMax })
}
