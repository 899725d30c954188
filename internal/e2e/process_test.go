package e2e

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os/exec"
	"runtime"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"
)

const (
	// readyMax bounds the start of a process.
	readyMax = 30 * time.Second
	// endMax bounds its end after a signal.
	endMax = 40 * time.Second
	// logMax bounds what is kept of its standard error, in bytes.
	logMax = 1 << 20
)

// addresses is the line that a process writes when it is ready.
type addresses struct {
	CIM   string `json:"cim"`
	HTTP  string `json:"http"`
	Route string `json:"route"`
	Admin string `json:"admin"`
	PID   int    `json:"pid"`
}

// process is one run of the executable.
type process struct {
	addresses
	t     *testing.T
	cmd   *exec.Cmd
	log   *logHead
	ended chan struct{} // closed when it has ended
	asked bool          // its end was asked for; test goroutine only
}

// surroundings are what a process is started in.
type surroundings struct {
	descriptors int      // its limit of open files; 0: that of the test
	environment []string // besides that of the test
}

// startProcess starts the executable and returns once it is ready.
func startProcess(t *testing.T, around surroundings, args ...string) *process {
	t.Helper()
	cmd := exec.Command(executable, args...)
	if around.descriptors > 0 {
		script := []string{"-c", `ulimit -n "$0" && exec "$@"`, strconv.Itoa(around.descriptors), executable}
		cmd = exec.Command("sh", append(script, args...)...)
	}
	ready := make(chan string, 1)
	p := &process{t: t, cmd: cmd, log: &logHead{}, ended: make(chan struct{})}
	cmd.Stdout, cmd.Stderr = &firstLine{told: ready}, p.log
	cmd.Env = append(cmd.Environ(), around.environment...)
	// It dies with the test, whatever becomes of that.
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	started := make(chan error, 1)
	go p.run(started)
	if err := <-started; err != nil {
		t.Fatalf("start %v: %v", cmd.Args, err)
	}
	t.Cleanup(p.cleanUp)
	p.awaitReady(ready)
	return p
}

// run keeps its thread for as long as the process lives: the kernel ends the
// process together with the thread that started it.
func (p *process) run(started chan<- error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	defer close(p.ended)
	err := p.cmd.Start()
	started <- err
	if err == nil {
		_ = p.cmd.Wait() // ProcessState tells
	}
}

func (p *process) awaitReady(ready <-chan string) {
	p.t.Helper()
	timeout := time.NewTimer(readyMax)
	defer timeout.Stop()
	select {
	case line := <-ready:
		if err := json.Unmarshal([]byte(line), &p.addresses); err != nil || p.PID != p.cmd.Process.Pid {
			p.t.Fatalf("ready line %q (%v), want addresses and the pid %d", line, err, p.cmd.Process.Pid)
		}
	case <-p.ended:
		p.t.Fatalf("%v ended before it was ready", p.cmd.Args)
	case <-timeout.C:
		p.t.Fatalf("%v was not ready within %v", p.cmd.Args, readyMax)
	}
}

// signal asks the process to end.
func (p *process) signal(s syscall.Signal) {
	p.t.Helper()
	p.asked = true
	if err := p.cmd.Process.Signal(s); err != nil {
		p.t.Fatalf("signal %v: %v", s, err)
	}
}

// awaitEnd returns the exit status; -1: it was killed.
func (p *process) awaitEnd() int {
	p.t.Helper()
	timeout := time.NewTimer(endMax)
	defer timeout.Stop()
	select {
	case <-p.ended:
		return p.cmd.ProcessState.ExitCode()
	case <-timeout.C:
		p.t.Fatalf("the process did not end within %v of its signal", endMax)
		panic("unreachable")
	}
}

// cleanUp kills the process if it still runs, and fails the test if it ended
// by itself, or wrote what no healthy process writes.
func (p *process) cleanUp() {
	select {
	case <-p.ended:
		if !p.asked {
			p.t.Errorf("the process ended by itself: %v", p.cmd.ProcessState)
		}
	default:
		if err := p.cmd.Process.Kill(); err != nil {
			p.t.Errorf("kill: %v", err)
		}
		<-p.ended
	}
	for _, sign := range []string{"DATA RACE", "panic:", "fatal error:"} {
		if bytes.Contains(p.log.bytes(), []byte(sign)) {
			p.t.Errorf("standard error has %q", sign)
		}
	}
	if p.t.Failed() {
		p.t.Logf("standard error of process %d:\n%s", p.cmd.Process.Pid, p.log.bytes())
	}
}

// firstLine tells the first line that is written to it and drops the rest.
type firstLine struct {
	line []byte
	told chan<- string // nil once told
}

// Write implements io.Writer.
func (f *firstLine) Write(b []byte) (int, error) {
	if f.told == nil {
		return len(b), nil
	}
	line, _, ended := bytes.Cut(b, []byte("\n"))
	f.line = append(f.line, line...)
	if len(f.line) > logMax {
		return 0, fmt.Errorf("first line of more than %d bytes", logMax)
	}
	if ended {
		f.told <- string(f.line)
		f.told = nil
	}
	return len(b), nil
}

// logHead keeps the first logMax bytes that are written to it: what goes wrong
// first explains the rest.
type logHead struct {
	mu   sync.Mutex
	kept []byte
}

// Write implements io.Writer.
func (l *logHead) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.kept = append(l.kept, b[:min(len(b), logMax-len(l.kept))]...)
	return len(b), nil
}

func (l *logHead) bytes() []byte {
	l.mu.Lock()
	defer l.mu.Unlock()
	return bytes.Clone(l.kept)
}
