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
}{
	"nats": {func(ctx context.Context, dir string) (*daemon.Daemon, error) { return daemon.NATS(ctx, dir) }, NATS},
	"redis": {func(ctx context.Context, dir string) (*daemon.Daemon, error) {
		return daemon.Redis(ctx, dir)
	}, Redis},
	"mosquitto": {func(ctx context.Context, dir string) (*daemon.Daemon, error) { return daemon.Mosquitto(ctx, dir) }, Mosquitto},
}

// TestReal drives each real peer for a second: everything arrives, once and in
// order, and nothing is left of it.
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
			checkRun(t, peer.adapter(d.Addr), d.PID(), loadgen.Config{Mode: loadgen.Group, Windows: []int{3}})
			checkRun(t, peer.adapter(d.Addr), d.PID(), loadgen.Config{Mode: loadgen.Private, Rates: []int{500}})
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
	receivers := 1
	if cfg.Mode == loadgen.Group {
		receivers = cfg.Conns[0]
		if report.System == "nats" {
			receivers-- // it has no echo
		}
	}
	if trial.Delivered == 0 || trial.Received != trial.Delivered*receivers {
		t.Errorf("%s: %d messages, received %d times, want %d of each", cfg.Mode, trial.Delivered, trial.Received, receivers)
	}
}

// TestRefused: a peer that lets nobody in is an error that says why.
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
