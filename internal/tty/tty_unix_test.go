//go:build unix

package tty

import (
	"os"
	"os/exec"
	"syscall"
	"testing"
)

const alone = "CIM_TTY_TEST_ALONE"

// TestSuspendAlone: in a session of its own, without a shell on its terminal, a
// process neither stops nor waits, and prepare is not called.
func TestSuspendAlone(t *testing.T) {
	if os.Getenv(alone) != "" {
		if Suspend(func() { t.Error("prepared to stop") }) {
			t.Error("it says that it was stopped")
		}
		return
	}
	cmd := exec.Command(os.Args[0], "-test.run", "^TestSuspendAlone$")
	cmd.Env = append(os.Environ(), alone+"=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v: %s", err, out)
	}
}
