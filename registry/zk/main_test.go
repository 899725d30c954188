package zk

import (
	"context"
	"fmt"
	"log/slog"
	"os"
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

// sessionTest is a session time-out that a test can wait for.
const sessionTest = 600 * time.Millisecond

// patience bounds each wait of a test.
const patience = 20 * time.Second

func member(host string, epoch proto.Epoch) proto.Member {
	return proto.Member{Host: host, CIMPort: 11211, HTTPPort: 8081, Epoch: epoch, Link: host + ":9000", Version: proto.LinkVersion}
}

// rootOf is a root of the test's own.
func rootOf(t *testing.T) string {
	return "/" + strings.ReplaceAll(t.Name(), "/", "-") + "/cim"
}

func open(t *testing.T, d *daemon.Daemon) *Registry {
	t.Helper()
	r, err := Open(Config{
		Servers: []string{d.Addr}, Root: rootOf(t), SessionTimeout: sessionTest,
		Log: slog.New(slog.NewTextHandler(t.Output(), nil)),
	})
	if err != nil {
		t.Fatal(err)
	}
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
