package daemon

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

// Mosquitto starts a mosquitto without persistence and authentication. lines are
// added to its configuration.
func Mosquitto(ctx context.Context, dir string, lines ...string) (*Daemon, error) {
	return start(ctx, spec{
		name: "mosquitto", dir: dir,
		command: func(dir string, port int) (*exec.Cmd, error) {
			path := filepath.Join(dir, "mosquitto.conf")
			if err := os.WriteFile(path, []byte(mosquittoConfig(port, lines)), 0o600); err != nil {
				return nil, err
			}
			return program("mosquitto", "--config-file", path)
		},
		answers: mosquittoServes,
	})
}

// mosquittoConfig keeps the user, since a process that changes its user does not
// end with its starter.
func mosquittoConfig(port int, lines []string) string {
	text := fmt.Sprintf("listener %d %s\nallow_anonymous true\npersistence false\nuser root\n"+
		"log_dest stderr\nlog_type error\nlog_type warning\nlog_type information\n", port, Place{}.host())
	for _, line := range lines {
		text += line + "\n"
	}
	return text
}

// mosquittoProbe connects to a broker of MQTT 3.1.1 without a name, and
// mosquittoTaken is its answer.
const (
	mosquittoProbe = "\x10\x0c\x00\x04MQTT\x04\x02\x00\x0a\x00\x00"
	mosquittoTaken = "\x20\x02\x00\x00"
)

// mosquittoRuns is in its log when it listens.
const mosquittoRuns = " running\n"

// mosquittoServes checks that a broker answers. The answer does not identify the
// broker, so our own must also have logged that it runs.
func mosquittoServes(ctx context.Context, d *Daemon) error {
	if _, err := ask(ctx, d.Addr, mosquittoProbe, mosquittoTaken); err != nil {
		return err
	}
	said, err := os.ReadFile(d.logPath())
	if err == nil && !bytes.Contains(said, []byte(mosquittoRuns)) {
		err = fmt.Errorf("its log lacks %q: %w", mosquittoRuns, errUnexpected)
	}
	return err
}
