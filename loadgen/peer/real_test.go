//go:build unix

package peer

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"cim/internal/daemon"
	"cim/loadgen"
)

// real are the peers themselves, with what makes their adapters.
var real = map[string]struct {
	start   func(ctx context.Context, dir string) (*daemon.Daemon, error)
	adapter func(address string) loadgen.NewSystem
	private bool // it has no group messages
}{
	"nats":      {start: startNATS, adapter: NATS},
	"redis":     {start: startRedis(), adapter: Redis},
	"mosquitto": {start: startMosquitto, adapter: Mosquitto},
	"redis streams": {
		start: startRedis("--appendonly", "yes", "--appendfsync", "always"), adapter: RedisStreams, private: true,
	},
	"mosquitto qos 1": {start: startMosquitto, adapter: MosquittoQoS1},
}

func startNATS(ctx context.Context, dir string) (*daemon.Daemon, error) { return daemon.NATS(ctx, dir) }

func startRedis(args ...string) func(ctx context.Context, dir string) (*daemon.Daemon, error) {
	return func(ctx context.Context, dir string) (*daemon.Daemon, error) { return daemon.Redis(ctx, dir, args...) }
}

func startMosquitto(ctx context.Context, dir string) (*daemon.Daemon, error) {
	return daemon.Mosquitto(ctx, dir)
}

// TestReal drives each real peer for a second or two: all messages arrive, once and in order, all
// clients return after a storm, the memory of idle connections is measured, and nothing is left
// behind.
func TestReal(t *testing.T) {
	for name, peer := range real {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), name)
			d, err := peer.start(t.Context(), dir)
			if errors.Is(err, daemon.ErrMissing) && os.Getuid() != 0 {
				t.Skip(err)
			}
			if err != nil {
				t.Fatal(err)
			}
			defer func() {
				if err := d.Stop(); err != nil {
					t.Error(err)
				}
				if err := syscall.Kill(d.PID(), 0); !errors.Is(err, syscall.ESRCH) {
					t.Errorf("process %d is left: %v", d.PID(), err)
				}
			}()
			if !peer.private {
				checkRun(t, peer.adapter(d.Addr), d.PID(), loadgen.Config{Mode: loadgen.Group, Windows: []int{3}})
				checkRun(t, peer.adapter(d.Addr), d.PID(), loadgen.Config{Mode: loadgen.Group, Rates: []int{50}})
			}
			checkRun(t, peer.adapter(d.Addr), d.PID(), loadgen.Config{Mode: loadgen.Private, Rates: []int{500}})
			checkRun(t, peer.adapter(d.Addr), d.PID(), loadgen.Config{Mode: loadgen.Private, Windows: []int{3}})
			checkQuiet(t, peer.adapter(d.Addr), d.PID(), loadgen.Storm)
			checkQuiet(t, peer.adapter(d.Addr), d.PID(), loadgen.Idle)
		})
	}
}

// checkRun runs half a second of a load.
func checkRun(t *testing.T, system loadgen.NewSystem, pid int, load loadgen.Config) {
	t.Helper()
	cfg := loadgen.Defaults()
	cfg.System, cfg.Via, cfg.Verify = system, loadgen.ViaConn, true
	cfg.Mode, cfg.Windows, cfg.Rates = load.Mode, load.Windows, load.Rates
	cfg.Conns, cfg.ServerPIDs = []int{12}, []int{pid}
	cfg.Warmup, cfg.Duration = 0, 500*time.Millisecond
	report, err := loadgen.Run(t.Context(), cfg, t.Output())
	if err != nil {
		t.Fatal(err)
	}
	if err := report.Failed(); err != nil {
		t.Error(err)
	}
	trial := report.Trials[0]
	taken := trial.Delivered + trial.Stored
	receivers := 1
	if cfg.Mode == loadgen.Group {
		receivers = cfg.Conns[0]
		if report.System == "nats" {
			receivers-- // it has no echo
		}
	}
	if taken == 0 || trial.Received != taken*receivers {
		t.Errorf("%s: %d messages, received %d times, want %d of each", cfg.Mode, taken, trial.Received, receivers)
	}
	if answers := strings.Contains(report.Guarantee, "answered"); (trial.Outcome.Count > 0) != answers || (trial.Stored > 0) != answers {
		t.Errorf("%s: %q: %d answers, %d messages kept", cfg.Mode, report.Guarantee, trial.Outcome.Count, trial.Stored)
	}
}

// checkQuiet runs a load without messages.
func checkQuiet(t *testing.T, system loadgen.NewSystem, pid int, mode loadgen.Mode) {
	t.Helper()
	cfg := loadgen.Defaults()
	cfg.System, cfg.Mode, cfg.Conns, cfg.ServerPIDs, cfg.Duration = system, mode, []int{40}, []int{pid}, 10*time.Millisecond
	report, err := loadgen.Run(t.Context(), cfg, t.Output())
	if err == nil {
		err = report.Failed()
	}
	if err != nil {
		t.Fatalf("%s: %v", mode, err)
	}
	for _, trial := range report.Trials {
		if trial.Logins.Count != 40 || len(trial.Processes) != 1 && mode == loadgen.Idle {
			t.Errorf("%s: %+v", mode, trial)
		}
	}
}

// TestStreamsRefuseGroup: what a system does not have is refused before any client connects.
func TestStreamsRefuseGroup(t *testing.T) {
	cfg := loadgen.Defaults()
	cfg.System, cfg.Via, cfg.Conns, cfg.Windows = RedisStreams("127.0.0.1:1"), loadgen.ViaConn, []int{2}, []int{1}
	if _, err := loadgen.Run(t.Context(), cfg, t.Output()); err == nil || !strings.Contains(err.Error(), "--mode private") {
		t.Errorf("error %v", err)
	}
}

// TestRefused: if a peer refuses clients, the error says why.
func TestRefused(t *testing.T) {
	d, err := daemon.NATS(t.Context(), t.TempDir(), "--auth", "secret")
	if errors.Is(err, daemon.ErrMissing) && os.Getuid() != 0 {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := d.Stop(); err != nil {
			t.Error(err)
		}
	}()
	cfg := loadgen.Defaults()
	cfg.System, cfg.Via, cfg.Conns, cfg.Windows = NATS(d.Addr), loadgen.ViaConn, []int{2}, []int{1}
	if _, err := loadgen.Run(t.Context(), cfg, t.Output()); err == nil || !strings.Contains(err.Error(), "Authorization Violation") {
		t.Errorf("error %v", err)
	}
}
