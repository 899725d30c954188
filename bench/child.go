package bench

import (
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"
)

// stopMax is how long a process may take to end after SIGTERM; then it is
// killed.
const stopMax = 15 * time.Second

// child is a process of ours. It has a process group of its own, so that a
// terminal's Ctrl-C reaches it only through us, and it is killed if we are.
type child struct {
	cmd   *exec.Cmd
	ended chan struct{} // closed when it has ended
	err   error         // what Wait returned; read after ended
}

// startChild starts cmd, which is of a context: its end asks the process to
// end, and kills it stopMax later.
func startChild(cmd *exec.Cmd) (*child, error) {
	cmd.Env = withoutSettings(os.Environ())
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = stopMax
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	c := &child{cmd: cmd, ended: make(chan struct{})}
	started := make(chan error, 1)
	go c.run(started)
	return c, <-started
}

// withoutSettings drops what would change the settings of cim, so that
// everybody measures the same.
func withoutSettings(environ []string) []string {
	return slices.DeleteFunc(environ, func(entry string) bool { return strings.HasPrefix(entry, "CIM_") })
}

// run keeps its thread for as long as the process lives: the kernel kills the
// process when the thread that started it ends.
func (c *child) run(started chan<- error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	defer close(c.ended)
	err := c.cmd.Start()
	started <- err
	if err == nil {
		c.err = c.cmd.Wait()
	}
}

// runChild starts cmd and waits for its end.
func runChild(cmd *exec.Cmd) error {
	c, err := startChild(cmd)
	if err != nil {
		return err
	}
	<-c.ended
	return c.err
}
