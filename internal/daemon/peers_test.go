package daemon

import (
	"errors"
	"os"
	"testing"
)

// needed skips a test of a program that is not installed, for developers who may
// not install it.
func needed(t *testing.T, err error) {
	t.Helper()
	if errors.Is(err, ErrMissing) && os.Getuid() != 0 {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// TestPeers starts a nats-server and a mosquitto; a second one at the port of the
// first fails with errPortTaken.
func TestPeers(t *testing.T) {
	for name, start := range map[string]func(dir string) (*Daemon, error){
		"nats":      func(dir string) (*Daemon, error) { return NATS(t.Context(), dir) },
		"mosquitto": func(dir string) (*Daemon, error) { return Mosquitto(t.Context(), dir) },
	} {
		t.Run(name, func(t *testing.T) {
			d, err := start(t.TempDir())
			needed(t, err)
			defer stop(t, d)
			other := &Daemon{spec: d.spec, port: d.port}
			other.spec.dir = t.TempDir()
			if err := other.Restart(t.Context()); !errors.Is(err, errPortTaken) {
				t.Errorf("a second one at its port: %v, want %v", err, errPortTaken)
			}
		})
	}
}
