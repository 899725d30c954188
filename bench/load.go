package bench

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"sync"

	"cim/internal/child"
	"cim/loadgen"
)

// drive runs the scenario's load generators against tested, all at once, each
// as a process of its own, and returns their reports.
func (s Scenario) drive(ctx context.Context, cfg Config, tested system, progress io.Writer) ([]loadgen.Report, error) {
	reports := make([]loadgen.Report, max(1, s.Processes))
	faults := make([]error, len(reports))
	told := &lockedWriter{w: progress}
	var all sync.WaitGroup
	for i := range reports {
		seed := strconv.FormatUint(cfg.Seed+uint64(i), 10) // each has users of its own
		load := slices.Concat(s.Load, cfg.kindOf(s).asks, []string{"--seed", seed})
		all.Go(func() { reports[i], faults[i] = drive(ctx, cfg.Binary, tested, load, told) })
	}
	all.Wait()
	return reports, errors.Join(faults...)
}

// drive runs one load generator. A wrong delivery is a failure with a report; err means that there
// is no report.
func drive(ctx context.Context, binary string, tested system, load []string, progress io.Writer) (loadgen.Report, error) {
	args := slices.Concat([]string{"loadgen", "--json", "--server-pid", joined(tested.pids())}, tested.target(), load)
	cmd := exec.CommandContext(ctx, binary, args...)
	cmd.Env = withoutSettings(os.Environ())
	var stdout bytes.Buffer
	last := &lastWords{next: progress}
	cmd.Stdout, cmd.Stderr = &stdout, last
	runErr := child.Run(cmd)
	var report loadgen.Report
	if err := json.Unmarshal(stdout.Bytes(), &report); err != nil || len(report.Trials) == 0 {
		return report, fmt.Errorf("bench: no report: %w: %s; loadgen was run with %v", orElse(runErr, err), last.line, load)
	}
	return report, nil
}

func joined(pids []int) string {
	words := make([]string, len(pids))
	for i, pid := range pids {
		words[i] = strconv.Itoa(pid)
	}
	return strings.Join(words, ",")
}

// lastWords passes on what a process says, a line a write, and keeps the last
// line: why it has ended.
type lastWords struct {
	next io.Writer
	line string
}

// Write implements io.Writer.
func (l *lastWords) Write(p []byte) (int, error) {
	text := strings.TrimSpace(string(p))
	if at := strings.LastIndexByte(text, '\n'); at >= 0 {
		text = text[at+1:]
	}
	if text != "" {
		l.line = strings.TrimPrefix(text, "cim: ")
		l.line = l.line[:min(len(l.line), lastWordsMax)]
	}
	return l.next.Write(p)
}

// lastWordsMax bounds the line that is kept, in bytes.
const lastWordsMax = 400

// lockedWriter is shared by the processes that write their progress.
type lockedWriter struct {
	mu sync.Mutex
	w  io.Writer
}

// Write implements io.Writer.
func (l *lockedWriter) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.w.Write(p)
}

func orElse(first, second error) error {
	if first != nil {
		return first
	}
	return second
}
