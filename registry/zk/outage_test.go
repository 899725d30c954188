//go:build unix

package zk

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

// TestKilled cuts a server off, as if its process had been killed: it vanishes
// with its session. Its next run takes the name before that.
func TestKilled(t *testing.T) {
	t.Parallel()
	route := open(t, shared)
	dead, next := newGate(t, shared.Addr), newGate(t, shared.Addr)
	register(t, openAt(t, dead.addr(), sessionTest, lookEvery), member("a", 1))
	wantMembers(t, route, member("a", 1))
	dead.setShut(true)
	register(t, openAt(t, next.addr(), sessionTest, lookEvery), member("a", 2))
	wantMembers(t, route, member("a", 2))
	next.setShut(true)
	wantMembers(t, route)
}

// TestCutOff cuts a server off for a moment: its next session takes its node
// over, and nobody sees it go. It sees what has changed meanwhile.
func TestCutOff(t *testing.T) {
	t.Parallel()
	g := newGate(t, shared.Addr)
	both, other := openAt(t, g.addr(), patience, lookEvery), open(t, shared)
	a, b := member("a", 1), member("b", 1)
	register(t, both, a)
	wantMembers(t, other, a)
	conn, path := client(t, shared), rootOf(t)+"/"+a.Name()
	before, _ := owner(t, conn, path)
	changed := other.Changed()
	g.setShut(true)
	wantReady(t, both, false)
	g.setShut(false)
	until(t, "its next session has the node", func() bool {
		after, _ := owner(t, conn, path)
		return after != before
	})
	select {
	case <-changed:
		t.Errorf("others saw %v", other.Snapshot().Members)
	default:
	}
	wantReady(t, both, true)
	g.setShut(true)
	wantReady(t, both, false)
	register(t, other, b)
	g.setShut(false)
	wantMembers(t, both, a, b)
}

// TestExpired stops ZooKeeper until all sessions have expired: the server is
// there again with its epoch, and no route has seen it go.
func TestExpired(t *testing.T) {
	t.Parallel()
	d := own(t)
	server, route := openBrief(t, d), openBrief(t, d)
	m := member("a", 7)
	register(t, server, m)
	wantMembers(t, route, m)
	path := rootOf(t) + "/" + m.Name()
	conn := client(t, d)
	before, _ := owner(t, conn, path)
	changed := route.Changed()

	if err := d.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	wantReady(t, server, false)
	wantReady(t, route, false)
	<-time.After(3 * sessionTest) // the outage itself
	if err := d.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	begin := time.Now()
	until(t, "it is registered again", func() bool {
		_, stat, err := conn.Get(path)
		return err == nil && stat.EphemeralOwner != before
	})
	t.Logf("registered again after %v", time.Since(begin))
	wantReady(t, route, true)
	select {
	case <-changed:
		t.Errorf("the route saw %v", route.Snapshot().Members)
	default:
	}
	wantMembers(t, route, m)
}

// TestAway has no ZooKeeper from the start, then one that dies and comes back:
// the snapshot stands, who is registered stays so, and who ended meanwhile
// goes.
func TestAway(t *testing.T) {
	t.Parallel()
	d := own(t)
	if err := d.Kill(); err != nil {
		t.Fatal(err)
	}
	stays, ends, route := openBrief(t, d), openBrief(t, d), openBrief(t, d)
	short, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if err := stays.Register(short, member("a", 1)); !errors.Is(err, context.DeadlineExceeded) || !errors.Is(err, errNoSession) {
		t.Errorf("Register: %v", err)
	}
	if err := route.Ready(); !errors.Is(err, errNoSession) {
		t.Errorf("Ready: %v", err)
	}
	restart(t, d)
	register(t, ends, member("b", 1))
	wantMembers(t, route, member("a", 1), member("b", 1))

	if err := d.Kill(); err != nil {
		t.Fatal(err)
	}
	wantReady(t, route, false)
	wantMembers(t, route, member("a", 1), member("b", 1))
	wantClosed(t, ends)
	restart(t, d)
	wantReady(t, route, true)
	wantMembers(t, route, member("a", 1))
}

// TestForgotten has ZooKeeper come back without its data: nobody is there at
// first, and nobody is taken for dead before there was time to register.
func TestForgotten(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	d := own(t, dir)
	server, gone, route := openBrief(t, d), openBrief(t, d), openBrief(t, d)
	register(t, server, member("a", 1))
	register(t, gone, member("b", 1))
	wantMembers(t, route, member("a", 1), member("b", 1))
	if err := d.Kill(); err != nil {
		t.Fatal(err)
	}
	wantClosed(t, gone)
	if err := os.RemoveAll(filepath.Join(dir, "data")); err != nil {
		t.Fatal(err)
	}
	wantReady(t, route, false)
	changed := route.Changed()
	restart(t, d)
	wantReady(t, route, true)
	select {
	case <-changed:
		t.Errorf("the route saw %v", route.Snapshot().Members)
	default:
	}
	wantMembers(t, route, member("a", 1))
	wantMembers(t, server, member("a", 1))
}

// TestCloseStopped closes while ZooKeeper says nothing, before and after the
// lost connection is noticed, and in the middle of a call.
func TestCloseStopped(t *testing.T) {
	t.Parallel()
	d := own(t)
	atOnce, later, calling := openBrief(t, d), openBrief(t, d), openBrief(t, d)
	for _, r := range []*Registry{atOnce, later, calling} {
		wantReady(t, r, true)
	}
	if err := d.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	wantClosed(t, atOnce)
	short, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	if err := calling.Register(short, member("a", 1)); err == nil {
		t.Error("registered with nobody")
	}
	wantClosed(t, calling)
	wantReady(t, later, false)
	wantClosed(t, later)
	if err := later.Register(t.Context(), member("b", 1)); !errors.Is(err, errClosed) {
		t.Errorf("Register after Close: %v", err)
	}
	if err := d.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
}

// TestSilentServer talks to somebody who takes the hello and says nothing, or
// only the length of an answer: it tries again, and Close does not wait for it.
func TestSilentServer(t *testing.T) {
	t.Parallel()
	for name, said := range map[string]string{"nothing": "", "half": "\x00\x00\x00\x25"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			hellos := silentServer(t, said)
			r := openAt(t, hellos.addr, sessionTest, lookEvery)
			for range 2 {
				select {
				case <-hellos.came:
				case <-time.After(patience):
					t.Fatal("no further hello")
				}
			}
			wantClosed(t, r)
		})
	}
}
