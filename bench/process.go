package bench

import (
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

// startProcess starts binary with these arguments, and returns once it has printed its addresses.
// env is added to its environment. Its log goes to the file with that path. The caller stops it.
func startProcess(ctx context.Context, binary, log string, env []string, args ...string) (*process, error) {
	file, err := os.Create(log)
	if err != nil {
		return nil, fmt.Errorf("bench: log: %w", err)
	}
	p := &process{name: args[0], log: file}
	line := child.NewReadyLine()
	if err := p.start(ctx, binary, line, env, args); err != nil {
		return nil, errors.Join(err, file.Close())
	}
	if err := p.awaitLine(ctx, line); err != nil {
		p.cancel()
		p.process.State() // how it ends is no news
		return nil, errors.Join(err, p.log.Close())
	}
	return p, nil
}

func (p *process) start(ctx context.Context, binary string, stdout *child.ReadyLine, env, args []string) (err error) {
	// Not ctx: stop ends it, after the processes that use it have ended.
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

func (p *process) awaitLine(ctx context.Context, ready *child.ReadyLine) error {
	line, err := p.process.AwaitReady(ctx, ready, readyMax)
	if err != nil {
		return fmt.Errorf("start %s: %w%s", p.name, err, p.lastLog())
	}
	if err := json.Unmarshal(line, &p.Addresses); err != nil {
		return fmt.Errorf("bench: the ready line of %s, %q: %w", p.name, line, err)
	}
	if p.CIM+p.Route == "" || p.PID == 0 {
		return fmt.Errorf("bench: the ready line of %s, %q, lacks address or pid", p.name, line)
	}
	return nil
}

// stop ends the process, by force if it must. An error says that it did not
// end well.
func (p *process) stop() error {
	p.cancel()
	var err error
	if state := p.process.State(); !state.Success() {
		err = fmt.Errorf("bench: %s did not end well: %s%s", p.name, state, p.lastLog())
	}
	return errors.Join(err, p.log.Close())
}

// lastLog adds to a fault of p the last lines of its log, and the log's path.
func (p *process) lastLog() string { return lastOf(p.log.Name()) }

func lastOf(log string) string {
	text := "; its log is " + log
	if line := child.LastLine(log); line != "" {
		text = "; it said last: " + line + text
	}
	return text
}

// withoutSettings drops the settings of cim from an environment, so that all runs measure the same.
func withoutSettings(environ []string) []string {
	return slices.DeleteFunc(environ, func(entry string) bool { return strings.HasPrefix(entry, "CIM_") })
}
