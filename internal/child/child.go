// Package child starts processes of ours that end with us: each has a process group
// of its own, so that a terminal's Ctrl-C reaches it only through its starter, and
// on Linux the kernel kills it if its starter dies. It does not know what the
// processes do.
package child

import (
	"os"
	"os/exec"
	"runtime"
	"syscall"
	"time"
)

// StopMax is how long a process may take to end after SIGTERM; then it is
// killed.
const StopMax = 15 * time.Second

// Child is a started process. Its starter owns it.
type Child struct {
	cmd   *exec.Cmd
	ended chan struct{} // closed when it has ended
	err   error         // what Wait returned; read after ended
}

// Start starts cmd, which was made by exec.CommandContext: when that context ends
// the process gets SIGTERM, and StopMax later it is killed.
func Start(cmd *exec.Cmd) (*Child, error) {
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = StopMax
	cmd.SysProcAttr = attributes()
	c := &Child{cmd: cmd, ended: make(chan struct{})}
	started := make(chan error, 1)
	go c.run(started)
	return c, <-started
}

// run keeps its thread while the process lives, since the kernel kills the process
// when the thread that started it ends.
func (c *Child) run(started chan<- error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	defer close(c.ended)
	err := c.cmd.Start()
	started <- err
	if err == nil {
		c.err = c.cmd.Wait()
	}
}

// PID is the process's id.
func (c *Child) PID() int { return c.cmd.Process.Pid }

// Ended is closed when the process has ended.
func (c *Child) Ended() <-chan struct{} { return c.ended }

// State waits for the process's end, and returns its state.
func (c *Child) State() *os.ProcessState {
	<-c.ended
	return c.cmd.ProcessState
}

// Wait waits for the process's end, and returns the error of exec.Cmd's Wait: after
// the end of its context that is an error even if the process ended well.
func (c *Child) Wait() error {
	<-c.ended
	return c.err
}

// Signal sends a signal to the process.
func (c *Child) Signal(s syscall.Signal) error { return c.cmd.Process.Signal(s) }

// Run starts cmd and waits for its end.
func Run(cmd *exec.Cmd) error {
	c, err := Start(cmd)
	if err != nil {
		return err
	}
	return c.Wait()
}
