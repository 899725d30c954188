package bench

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"cim/bench/report"
	"cim/internal/daemon"
)

// TestOutside starts each of the other systems, finds it where it says, and
// nothing but its log once it was stopped.
func TestOutside(t *testing.T) {
	for _, k := range []kind{natsKind, redisKind, mosquittoKind, qos1Kind, streamsKind, syncedKind} {
		t.Run(k.name, func(t *testing.T) {
			t.Setenv("TMPDIR", t.TempDir())
			folder := t.TempDir()
			s, err := k.start(t.Context(), "", folder, "3-")
			if errors.Is(err, daemon.ErrMissing) && os.Getuid() != 0 {
				t.Skip(err)
			}
			if err != nil {
				t.Fatal(err)
			}
			target := s.target()
			if len(target) != 4 || target[0] != "--system" || target[2] != "--address" {
				t.Errorf("target %q", target)
			}
			conn, err := net.Dial("tcp", target[3])
			if err == nil {
				err = conn.Close()
			}
			if err := errors.Join(err, s.stop()); err != nil {
				t.Error(err)
			}
			for _, pid := range s.pids() {
				if err := syscall.Kill(pid, 0); !errors.Is(err, syscall.ESRCH) {
					t.Errorf("process %d is left: %v", pid, err)
				}
			}
			if left, err := os.ReadDir(os.TempDir()); err != nil || len(left) > 0 {
				t.Errorf("data left behind: %v %v", left, err)
			}
			if logs, err := filepath.Glob(filepath.Join(folder, "3-*.log")); err != nil || len(logs) != 1 {
				t.Errorf("logs %q %v", logs, err)
			}
		})
	}
}

// TestRedisTakesAll: the largest load of the comparison is past the number of
// clients that Redis takes by default.
func TestRedisTakesAll(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	s, err := redisKind.start(t.Context(), "", t.TempDir(), "")
	if errors.Is(err, daemon.ErrMissing) && os.Getuid() != 0 {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.stop(); err != nil {
			t.Error(err)
		}
	})
	conn, err := net.Dial("tcp", s.target()[3])
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(conn, "CONFIG GET maxclients\r\n"); err != nil {
		t.Fatal(err)
	}
	reply, most := bufio.NewReader(conn), 0
	for range 5 { // an array of two, each with its length
		line, err := reply.ReadString('\n')
		if err != nil {
			t.Fatal(err)
		}
		if n, err := strconv.Atoi(strings.TrimSpace(line)); err == nil {
			most = n
		}
	}
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	if want := min(65536, int(limit.Max)-100); most < want {
		t.Errorf("Redis takes %d clients, want %d", most, want)
	}
}

// TestInTurns: each load goes to all systems before the next one, and each of
// them stands beside its floor.
func TestInTurns(t *testing.T) {
	const ours = "cim standalone"
	once := []string{ours, "nats", "redis pubsub", "mosquitto"}
	want := []struct {
		name    string
		systems []string
	}{
		{"group, 1,000 receivers", append(slices.Clone(once), "floor", "bare pair")},
		{"group, 10,000 receivers", append(slices.Clone(once), "floor")},
		{"group, 1,000 receivers, 50/s", append(slices.Clone(once), "floor")},
		{"private over the connection, 1,000 clients", append(slices.Clone(once), "floor")},
		{"private over HTTP, 1,000 clients", []string{ours, "floor"}},
		{"private, 1,000 clients, 1,000/s, at least once", []string{ours, "cim, want 1", "mosquitto qos 1", "redis streams"}},
		{"private, 1,000 clients, 500/s, on the disk", []string{"cim, want 2", "redis streams, synced"}},
		{"10,000 logins", once},
		{"10,000 connections, idle", once},
	}
	left := Peers()
	for _, w := range want {
		for i, system := range w.systems {
			if len(left) == 0 || left[0].label() != w.name+", "+system {
				t.Fatalf("%s, %s is not next of %d", w.name, system, len(left))
			}
			if first := Peers()[len(Peers())-len(left)-i]; !slices.Equal(left[0].Load, first.Load) {
				t.Errorf("%s: %q, %s: %q", left[0].label(), left[0].Load, first.label(), first.Load)
			}
			left = left[1:]
		}
	}
	if len(left) > 0 {
		t.Errorf("more than was wanted: %s", left[0].label())
	}
	for _, s := range withFloor(slices.Concat(Figures(false), Figures(true))) {
		if s.kind == &httpFloorKind && (!slices.Contains(s.Load, "http") || !slices.Contains(s.Load, "private")) {
			t.Errorf("%s: %q", s.label(), s.Load)
		}
		if (s.kind == &floorKind && slices.Contains(s.Load, "http")) || s.kind != nil && (slices.Contains(s.Load, "--want") || slices.ContainsFunc(s.Figures, func(f Figure) bool { return f.Reach+f.FloorTimes > 0 })) {
			t.Errorf("%s: %q, %d figures", s.label(), s.Load, len(s.Figures))
		}
	}
}

// TestOutcomesStandBeside: of ours each rate has the time until the sender was
// answered, so that nothing is gained by answering late.
func TestOutcomesStandBeside(t *testing.T) {
	found := 0
	for _, s := range Peers() {
		if !strings.HasPrefix(s.Name, "private over the connection") {
			continue
		}
		var trials []int
		for _, f := range s.Figures {
			if strings.HasSuffix(f.Name, "p99 of the outcome") {
				trials = append(trials, f.Trial)
			}
		}
		want := []int(nil)
		if s.kind == &standaloneKind {
			want, found = []int{0, 1, 2}, found+1
		}
		if !slices.Equal(trials, want) {
			t.Errorf("%s: outcomes of trials %v, want %v", s.label(), trials, want)
		}
	}
	if found != 1 {
		t.Errorf("%d scenarios of ours", found)
	}
}

// TestLoses: what a system without promises loses is reported, and the run has not failed; its
// settings are in the manifest.
func TestLoses(t *testing.T) {
	cfg := fakeConfig(t, "loses")
	k := standaloneKind
	k.name, k.loses, k.settings = "a careless one", true, "as it comes"
	cfg.Scenarios[0].kind = &k
	var out bytes.Buffer
	if err := Run(t.Context(), cfg, &out, io.Discard); err != nil {
		t.Error(err)
	}
	if !strings.Contains(out.String(), "FAILED: loadgen: 10 connections, window 1: lost 7") {
		t.Errorf("the table does not say:\n%s", &out)
	}
	var m report.Manifest
	readJSON(t, filepath.Join(cfg.Out, "manifest.json"), &m)
	if m.Systems["a careless one"] != "as it comes" {
		t.Errorf("systems %q", m.Systems)
	}
	checkGone(t)
}
