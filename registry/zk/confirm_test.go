package zk

import (
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-zookeeper/zk"

	"cim/proto"
)

// counted makes a registry at addr that counts how often each host is
// confirmed.
func counted(t *testing.T, addr string, hosts ...string) (*Registry, map[string]*atomic.Int64) {
	t.Helper()
	counts := map[string]*atomic.Int64{}
	for _, host := range hosts {
		counts[host] = new(atomic.Int64)
	}
	c := Config{
		Servers: []string{addr}, Root: rootOf(t), SessionTimeout: sessionTest,
		Confirmed: func(m proto.Member) { counts[m.Host].Add(1) },
	}
	r := start(c, lookEvery, 10*time.Millisecond)
	t.Cleanup(r.Close)
	return r, counts
}

// TestConfirmed: a member is confirmed when its node stands, again and again
// until it is deregistered, and not while ZooKeeper is out of reach.
func TestConfirmed(t *testing.T) {
	t.Parallel()
	g := newGate(t, shared.Addr)
	r, counts := counted(t, g.addr(), "a", "b")
	register(t, r, member("a", 1))
	if counts["a"].Load() == 0 {
		t.Error("not confirmed when it was made")
	}
	register(t, r, member("b", 1))
	since := counts["a"].Load()
	until(t, "it is confirmed though nothing happens", func() bool { return counts["a"].Load() >= since+20 })
	g.setShut(true)
	wantReady(t, r, false)
	away := counts["a"].Load()
	if err := r.Ready(); err == nil {
		t.Error("ready without ZooKeeper")
	}
	if n := counts["a"].Load(); n != away {
		t.Errorf("confirmed %d times without ZooKeeper", n-away)
	}
	g.setShut(false)
	until(t, "it is confirmed again", func() bool { return counts["a"].Load() > away })
	if err := r.Deregister(t.Context(), member("a", 1)); err != nil {
		t.Fatal(err)
	}
	gone, others := counts["a"].Load(), counts["b"].Load()
	until(t, "the other one is confirmed", func() bool { return counts["b"].Load() >= others+20 })
	if n := counts["a"].Load(); n != gone {
		t.Errorf("confirmed %d times after its end", n-gone)
	}
}

// TestConfirmOwn confirms nothing of a node that is another session's, has
// another epoch, or is not there.
func TestConfirmOwn(t *testing.T) {
	conn := client(t, shared)
	root := makeRoot(t, conn)
	m := member("a", 1)
	data, err := proto.AppendMemberData(nil, m)
	if err != nil {
		t.Fatal(err)
	}
	confirmed := 0
	r := &Registry{
		config: Config{Confirmed: func(proto.Member) { confirmed++ }}.withDefaults(),
		claims: map[string]*claim{m.Name(): newClaim(m, data)},
	}
	s := &session{root: root, conn: conn, ctx: t.Context(), callMax: patience}
	path := root + "/" + m.Name()
	create := func(data string, flags int32) {
		t.Helper()
		if err := conn.Delete(path, -1); err != nil && !errors.Is(err, zk.ErrNoNode) {
			t.Fatal(err)
		}
		if _, err := conn.Create(path, []byte(data), flags, world); err != nil {
			t.Fatal(err)
		}
	}
	want := func(what string, well bool, times int) {
		t.Helper()
		if got := r.confirmed(s); got != well || confirmed != times {
			t.Errorf("%s: well %t, want %t; confirmed %d times, want %d", what, got, well, confirmed, times)
		}
	}
	want("it does not stand yet", true, 0)
	close(r.claims[m.Name()].stands)
	want("not there", false, 0)
	create(string(data), zk.FlagPersistent)
	want("nobody's session", false, 0)
	create(`{"epoch":"2"}`, zk.FlagEphemeral)
	want("another epoch", false, 0)
	create(string(data), zk.FlagEphemeral)
	want("ours", true, 1)
	r.claims[m.Name()].leaving = true
	want("leaving", true, 1)
}
