package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"os/exec"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"

	"cim/internal/child"
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
	Link  string `json:"link"`
	Route string `json:"route"`
	Admin string `json:"admin"`
	PID   int    `json:"pid"`
}

// process is one run of the executable.
type process struct {
	addresses
	t     *testing.T
	args  []string
	child *child.Child
	stop  context.CancelFunc
	log   *logHead
	asked bool // its end was asked for; test goroutine only
}

// surroundings are what a process is started in.
type surroundings struct {
	descriptors int      // its limit of open files; 0: that of the test
	environment []string // besides that of the test
}

// startProcess starts the executable and returns once it is ready.
func startProcess(s *system, around surroundings, args ...string) *process {
	t := s.t
	t.Helper()
	line := append([]string{executable}, args...)
	if around.descriptors > 0 {
		line = append([]string{"sh", "-c", `ulimit -n "$0" && exec "$@"`, strconv.Itoa(around.descriptors)}, line...)
	}
	p := &process{t: t, args: args, log: &logHead{}}
	var ctx context.Context
	ctx, p.stop = context.WithCancel(context.Background())
	cmd := exec.CommandContext(ctx, line[0], line[1:]...)
	ready := child.NewReadyLine()
	cmd.Stdout, cmd.Stderr = ready, p.log
	cmd.Env = append(cmd.Environ(), around.environment...)
	var err error
	if p.child, err = child.Start(cmd); err != nil {
		p.stop()
		t.Fatalf("start %v: %v", args, err)
	}
	s.started = append(s.started, p)
	t.Cleanup(p.cleanUp)
	p.awaitReady(ready)
	return p
}

func (p *process) awaitReady(ready *child.ReadyLine) {
	p.t.Helper()
	line, err := p.child.AwaitReady(p.t.Context(), ready, readyMax)
	if err != nil {
		p.t.Fatalf("start %v: %v", p.args, err)
	}
	if err := json.Unmarshal(line, &p.addresses); err != nil || p.PID != p.child.PID() {
		p.t.Fatalf("ready line %q (%v), want addresses and the pid %d", line, err, p.child.PID())
	}
}

// signal asks the process to end.
func (p *process) signal(s syscall.Signal) {
	p.t.Helper()
	p.asked = true
	if err := p.child.Signal(s); err != nil {
		p.t.Fatalf("signal %v: %v", s, err)
	}
}

// awaitEnd returns the exit status; -1: it was killed.
func (p *process) awaitEnd() int {
	p.t.Helper()
	timeout := time.NewTimer(endMax)
	defer timeout.Stop()
	select {
	case <-p.child.Ended():
		return p.child.State().ExitCode()
	case <-timeout.C:
		p.t.Fatalf("the process did not end within %v of its signal", endMax)
		panic("unreachable")
	}
}

// cleanUp kills the process if it still runs, and fails the test if it ended
// by itself, or wrote what no healthy process writes.
func (p *process) cleanUp() {
	select {
	case <-p.child.Ended():
		if !p.asked {
			p.t.Errorf("the process ended by itself: %v", p.child.State())
		}
	default:
		p.signal(syscall.SIGKILL)
		<-p.child.Ended()
	}
	p.stop()
	for _, sign := range []string{"DATA RACE", "panic:", "fatal error:"} {
		if bytes.Contains(p.log.bytes(), []byte(sign)) {
			p.t.Errorf("standard error has %q", sign)
		}
	}
	if p.t.Failed() {
		p.t.Logf("standard error of process %d:\n%s", p.child.PID(), p.log.bytes())
	}
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
