package zk

import (
	"context"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"path"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-zookeeper/zk"
	"go.uber.org/goleak"

	"cim/internal/daemon"
	"cim/proto"
)

// shared is the ZooKeeper of the tests that leave it alone; each has a root of
// its own in it.
var shared *daemon.Daemon

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) (code int) {
	// The tests of outages wait, and hardly work.
	flag.Parse()
	if err := flag.Set("test.parallel", "8"); err != nil {
		return fail(err)
	}
	dir, err := os.MkdirTemp("", "cim-zk-")
	if err != nil {
		return fail(err)
	}
	defer os.RemoveAll(dir)
	if shared, err = daemon.ZooKeeper(context.Background(), dir); err != nil {
		return fail(err)
	}
	code = m.Run()
	if err := shared.Stop(); err != nil {
		return fail(err)
	}
	if err := goleak.Find(); err != nil && code == 0 {
		return fail(err)
	}
	return code
}

func fail(err error) int {
	fmt.Fprintln(os.Stderr, err)
	return 1
}

// sessionTest is a session time-out that a test can wait for, and that a busy
// machine may let pass by itself.
const sessionTest = 600 * time.Millisecond

// patience bounds each wait of a test.
const patience = 30 * time.Second

func member(host string, epoch proto.Epoch) proto.Member {
	return proto.Member{Host: host, CIMPort: 11211, HTTPPort: 8081, Epoch: epoch, Link: host + ":9000", Version: proto.LinkVersion}
}

// rootOf is a root of the test's own.
func rootOf(t *testing.T) string {
	return "/" + strings.ReplaceAll(t.Name(), "/", "-") + "/cim"
}

func open(t *testing.T, d *daemon.Daemon) *Registry {
	t.Helper()
	return openAt(t, d.Addr, patience, lookEvery)
}

// openBrief is open for a test that has the session end.
func openBrief(t *testing.T, d *daemon.Daemon) *Registry {
	t.Helper()
	return openAt(t, d.Addr, sessionTest, lookEvery)
}

func openAt(t *testing.T, addr string, session, every time.Duration) *Registry {
	t.Helper()
	c := Config{
		Servers: []string{addr}, Root: rootOf(t), SessionTimeout: session,
		Log: slog.New(slog.NewTextHandler(t.Output(), nil)),
	}
	if err := c.Check(); err != nil {
		t.Fatal(err)
	}
	r := start(c, every, confirmEvery)
	t.Cleanup(r.Close)
	return r
}

func register(t *testing.T, r *Registry, m proto.Member) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := r.Register(ctx, m); err != nil {
		t.Fatal(err)
	}
}

// wantMembers waits until r's members are want.
func wantMembers(t *testing.T, r *Registry, want ...proto.Member) {
	t.Helper()
	late := time.After(patience)
	for {
		changed := r.Changed()
		got := r.Snapshot().Members
		if slices.Equal(got, want) {
			return
		}
		select {
		case <-changed:
		case <-late:
			t.Fatalf("members %v, want %v", got, want)
		}
	}
}

// client is somebody else's connection to d.
func client(t *testing.T, d *daemon.Daemon) *zk.Conn {
	t.Helper()
	conn, _, err := zk.Connect([]string{d.Addr}, 10*time.Second, zk.WithLogger(printer{slog.New(slog.DiscardHandler)}))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(conn.Close)
	return conn
}

// owner is the session of a node, and data what stands in it.
func owner(t *testing.T, conn *zk.Conn, path string) (session int64, data string) {
	t.Helper()
	b, stat, err := conn.Get(path)
	if err != nil {
		t.Fatal(err)
	}
	return stat.EphemeralOwner, string(b)
}

// until polls what no channel tells of.
func until(t *testing.T, what string, done func() bool) {
	t.Helper()
	poll := time.NewTicker(5 * time.Millisecond)
	defer poll.Stop()
	late := time.After(patience)
	for !done() {
		select {
		case <-poll.C:
		case <-late:
			t.Fatalf("waited in vain until %s", what)
		}
	}
}

// wantReady waits until r is ready, or is not.
func wantReady(t *testing.T, r *Registry, want bool) {
	t.Helper()
	until(t, fmt.Sprintf("ready is %t", want), func() bool { return (r.Ready() == nil) == want })
}

// makeNodes creates persistent nodes, with the data of each.
func makeNodes(t *testing.T, conn *zk.Conn, nodes ...[2]string) {
	t.Helper()
	for _, n := range nodes {
		if _, err := conn.Create(n[0], []byte(n[1]), zk.FlagPersistent, world); err != nil {
			t.Fatalf("%s: %v", n[0], err)
		}
	}
}

// makeRoot creates the test's root.
func makeRoot(t *testing.T, conn *zk.Conn) string {
	t.Helper()
	makeNodes(t, conn, [2]string{path.Dir(rootOf(t)), ""}, [2]string{rootOf(t), ""})
	return rootOf(t)
}

// own starts a ZooKeeper that the test may hurt, in dir if one is given.
func own(t *testing.T, dir ...string) *daemon.Daemon {
	t.Helper()
	d, err := daemon.ZooKeeper(t.Context(), append(dir, t.TempDir())[0])
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := d.Stop(); err != nil {
			t.Error(err)
		}
	})
	return d
}

// wantClosed closes r soon, whoever does not answer.
func wantClosed(t *testing.T, r *Registry) {
	t.Helper()
	begin := time.Now()
	r.Close()
	if took := time.Since(begin); took > callMaxMin {
		t.Errorf("Close took %v", took)
	}
}

func restart(t *testing.T, d *daemon.Daemon) {
	t.Helper()
	if err := d.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
}
