package bench

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"time"

	"cim/internal/child"
)

const (
	// readyMax bounds the start of a process, and of a system.
	readyMax = 20 * time.Second
	// readyLineMax bounds the line that tells the addresses.
	readyLineMax = 4 << 10
)

// Addresses is the line that a process of cim writes once it listens.
type Addresses struct {
	CIM   string `json:"cim"`
	HTTP  string `json:"http"`
	Route string `json:"route"`
	Admin string `json:"admin"`
	PID   int    `json:"pid"`
}

// process is a running process of cim.
type process struct {
	Addresses
	name    string
	process *child.Child
	cancel  context.CancelFunc // asks the process to end
	log     *os.File
}

// startProcess starts binary with these arguments, and returns once it has
// told its addresses. env is added to its environment. Its log goes to the file
// of that path. The caller stops it.
func startProcess(ctx context.Context, binary, log string, env []string, args ...string) (*process, error) {
	file, err := os.Create(log)
	if err != nil {
		return nil, fmt.Errorf("bench: log: %w", err)
	}
	p := &process{name: args[0], log: file}
	line := newFirstLine()
	if err := p.start(ctx, binary, line, env, args); err != nil {
		return nil, errors.Join(err, file.Close())
	}
	if err := p.awaitLine(ctx, line); err != nil {
		return nil, errors.Join(err, p.stop())
	}
	return p, nil
}

func (p *process) start(ctx context.Context, binary string, stdout *firstLine, env, args []string) (err error) {
	// Not ctx: stop ends it, after whoever uses it has ended.
	own, cancel := context.WithCancel(context.WithoutCancel(ctx))
	cmd := exec.CommandContext(own, binary, args...)
	cmd.Env = append(withoutSettings(os.Environ()), env...)
	cmd.Stdout, cmd.Stderr = stdout, p.log
	p.cancel = cancel
	if p.process, err = child.Start(cmd); err != nil {
		cancel()
		return fmt.Errorf("bench: start %s: %w", p.name, err)
	}
	return nil
}

func (p *process) awaitLine(ctx context.Context, line *firstLine) error {
	timeout := time.NewTimer(readyMax)
	defer timeout.Stop()
	select {
	case <-line.done:
	case <-p.process.Ended():
		return fmt.Errorf("bench: %s ended before it was ready; its log is %s", p.name, p.log.Name())
	case <-timeout.C:
		return fmt.Errorf("bench: %s was not ready within %s; its log is %s", p.name, readyMax, p.log.Name())
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	if err := json.Unmarshal(line.bytes, &p.Addresses); err != nil {
		return fmt.Errorf("bench: the ready line of %s, %q: %w", p.name, line.bytes, err)
	}
	if p.CIM+p.Route == "" || p.PID == 0 {
		return fmt.Errorf("bench: the ready line of %s, %q, lacks address or pid", p.name, line.bytes)
	}
	return nil
}

// stop ends the process, by force if it must. An error says that it did not
// end well.
func (p *process) stop() error {
	p.cancel()
	var err error
	if state := p.process.State(); !state.Success() {
		err = fmt.Errorf("bench: %s did not end well: %s; its log is %s", p.name, state, p.log.Name())
	}
	return errors.Join(err, p.log.Close())
}

// withoutSettings drops what would change the settings of cim, so that
// everybody measures the same.
func withoutSettings(environ []string) []string {
	return slices.DeleteFunc(environ, func(entry string) bool { return strings.HasPrefix(entry, "CIM_") })
}

// firstLine keeps the first line written to it and drops the rest.
type firstLine struct {
	bytes []byte        // read by others after done; len <= readyLineMax
	done  chan struct{} // closed at the line's end
	ended bool
}

func newFirstLine() *firstLine { return &firstLine{done: make(chan struct{})} }

// Write implements io.Writer.
func (f *firstLine) Write(p []byte) (int, error) {
	if f.ended {
		return len(p), nil
	}
	line, _, ended := bytes.Cut(p, []byte("\n"))
	f.bytes = append(f.bytes, line...)
	if ended || len(f.bytes) > readyLineMax {
		f.ended = true
		close(f.done)
	}
	return len(p), nil
}
