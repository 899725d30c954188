package daemon

import (
	"errors"
	"net"
	"path/filepath"
	"strings"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// TestRestart writes a key, kills the Redis, and finds the key at the same
// address.
func TestRestart(t *testing.T) {
	d, err := Redis(t.Context(), t.TempDir(), "--appendonly", "yes", "--appendfsync", "always")
	if err != nil {
		t.Fatal(err)
	}
	defer stop(t, d)
	wantSaid(t, d, "SET key kept\r\n", "+OK")
	addr, pid := d.Addr, d.PID()
	if err := d.Kill(); err != nil {
		t.Fatal(err)
	}
	if _, err := net.Dial("tcp", addr); err == nil {
		t.Fatal("it still listens after a kill")
	}
	if err := d.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	if d.Addr != addr || d.PID() == pid {
		t.Errorf("restarted at %s as %d, was at %s as %d", d.Addr, d.PID(), addr, pid)
	}
	wantSaid(t, d, "GET key\r\n", "kept")
}

// TestZooKeeper starts one and asks for its version.
func TestZooKeeper(t *testing.T) {
	d, err := ZooKeeper(t.Context(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer stop(t, d)
	wantSaid(t, d, "srvr", "Zookeeper version")
}

// TestSentinel watches a master.
func TestSentinel(t *testing.T) {
	dir := t.TempDir()
	master, err := Redis(t.Context(), filepath.Join(dir, "master"))
	if err != nil {
		t.Fatal(err)
	}
	defer stop(t, master)
	d, err := Sentinel(t.Context(), filepath.Join(dir, "sentinel"), "cim", "127.0.0.1", master.port, 1)
	if err != nil {
		t.Fatal(err)
	}
	defer stop(t, d)
	_, port, _ := strings.Cut(master.Addr, ":")
	wantSaid(t, d, "SENTINEL GET-MASTER-ADDR-BY-NAME cim\r\n", port)
}

// TestPortTaken: a start at a port that is in use returns errPortTaken, so that
// another port is tried.
func TestPortTaken(t *testing.T) {
	d, err := Redis(t.Context(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer stop(t, d)
	other := &Daemon{spec: d.spec, port: d.port}
	other.spec.dir = t.TempDir()
	if err := other.Restart(t.Context()); !errors.Is(err, errPortTaken) {
		t.Fatalf("a second one at its port: %v, want %v", err, errPortTaken)
	}
}

func stop(t *testing.T, d *Daemon) {
	t.Helper()
	if err := d.Stop(); err != nil {
		t.Error(err)
	}
}

func wantSaid(t *testing.T, d *Daemon, request, want string) {
	t.Helper()
	if said, err := ask(t.Context(), d.Addr, request, want); err != nil {
		t.Errorf("%q: %q, %v", request, said, err)
	}
}
