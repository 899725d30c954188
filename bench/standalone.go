package bench

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"cim/internal/child"
)

const (
	// readyMax bounds the start of a standalone.
	readyMax = 20 * time.Second
	// readyLineMax bounds the line that tells the addresses.
	readyLineMax = 4 << 10
)

// addresses is the line that a standalone writes once it is ready.
type addresses struct {
	CIM   string `json:"cim"`
	HTTP  string `json:"http"`
	Route string `json:"route"`
	Admin string `json:"admin"`
	PID   int    `json:"pid"`
}

// standalone is a running server process.
type standalone struct {
	addresses
	process *child.Child
	cancel  context.CancelFunc // asks the process to end
	data    string
	log     *os.File
}

// startStandalone starts binary with fresh data and free ports, and returns
// once it is ready. Its log goes to the file of that path. The caller stops it.
func startStandalone(ctx context.Context, binary, log string) (*standalone, error) {
	data, err := os.MkdirTemp("", "cim-bench-")
	if err != nil {
		return nil, fmt.Errorf("bench: data: %w", err)
	}
	file, err := os.Create(log)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("bench: log: %w", err), os.RemoveAll(data))
	}
	s := &standalone{data: data, log: file}
	line := newFirstLine()
	if err := s.start(ctx, binary, line); err != nil {
		return nil, errors.Join(err, s.clean())
	}
	if err := s.awaitReady(ctx, line); err != nil {
		return nil, errors.Join(err, s.stop())
	}
	return s, nil
}

func (s *standalone) start(ctx context.Context, binary string, stdout *firstLine) (err error) {
	// Not ctx: stop ends it, after whoever uses it has ended.
	own, cancel := context.WithCancel(context.WithoutCancel(ctx))
	cmd := exec.CommandContext(own, binary, "standalone", "--data", filepath.Join(s.data, "data"),
		"--cim-port", "0", "--http-port", "0", "--route-port", "0", "--admin-port", "0", "--log-level", "warn")
	cmd.Env = withoutSettings(os.Environ())
	cmd.Stdout, cmd.Stderr = stdout, s.log
	s.cancel = cancel
	if s.process, err = child.Start(cmd); err != nil {
		cancel()
		return fmt.Errorf("bench: start standalone: %w", err)
	}
	return nil
}

func (s *standalone) awaitReady(ctx context.Context, line *firstLine) error {
	timeout := time.NewTimer(readyMax)
	defer timeout.Stop()
	select {
	case <-line.done:
	case <-s.process.Ended():
		return fmt.Errorf("bench: standalone ended before it was ready; its log is %s", s.log.Name())
	case <-timeout.C:
		return fmt.Errorf("bench: standalone was not ready within %s; its log is %s", readyMax, s.log.Name())
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	if err := json.Unmarshal(line.bytes, &s.addresses); err != nil {
		return fmt.Errorf("bench: the ready line of standalone, %q: %w", line.bytes, err)
	}
	if s.Route == "" || s.PID == 0 {
		return fmt.Errorf("bench: the ready line of standalone, %q, lacks route or pid", line.bytes)
	}
	return nil
}

// stop ends the process, by force if it must, and removes its data. An error
// says that it did not end well.
func (s *standalone) stop() error {
	s.cancel()
	var err error
	if state := s.process.State(); !state.Success() {
		err = fmt.Errorf("bench: standalone did not end well: %s; its log is %s", state, s.log.Name())
	}
	return errors.Join(err, s.clean())
}

func (s *standalone) clean() error {
	return errors.Join(s.log.Close(), os.RemoveAll(s.data))
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
