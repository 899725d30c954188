package live

import (
	"fmt"
	"io"
	"os"
	"time"

	"cim/internal/tty"
	"cim/loadgen"
)

// Kind is how a run is shown.
type Kind string

// The kinds.
const (
	Auto     Kind = "auto"     // Terminal if the output is one, else Lines
	Terminal Kind = "terminal" // drawn anew each second
	Lines    Kind = "lines"    // a line a second
	None     Kind = "none"     // nothing at all
)

// View shows one run.
type View interface {
	// Writer takes what the run says of itself, whole lines in each call.
	io.Writer
	// Second shows one second of a trial. It does not wait.
	Second(loadgen.Moment)
	// Close ends the view and leaves the output to others.
	Close() error
}

// Open opens a view of a run on out. color says whether it may use color.
func Open(kind Kind, out *os.File, color bool) View {
	if kind == Auto {
		kind = Lines
		if isTerminal(out) {
			kind = Terminal
		}
	}
	switch kind {
	case Terminal:
		return openScreen(out, color)
	case None:
		return lines{Writer: io.Discard}
	}
	return lines{Writer: out, seconds: true}
}

func isTerminal(f *os.File) bool {
	return tty.Is(f) && os.Getenv("TERM") != "dumb"
}

// lines is a view without a terminal.
type lines struct {
	io.Writer
	seconds bool
}

// Second implements View.
func (l lines) Second(m loadgen.Moment) {
	if !l.seconds {
		return
	}
	// Progress is for a human; if the output has gone, nothing is lost.
	_, _ = fmt.Fprintln(l, line(m))
}

// Close implements View.
func (lines) Close() error { return nil }

// line is one second in one line.
func line(m loadgen.Moment) string {
	if m.Stage != "" {
		return fmt.Sprintf("%4.0f s %s", m.Elapsed.Seconds(), staged(m))
	}
	s := m.Second
	if s.Logins > 0 {
		return fmt.Sprintf("%s: %d logins, own CPU %.2f", elapsed(m), s.Logins, s.OwnCPU)
	}
	text := fmt.Sprintf("%s: %d deliveries, %d sent, p50 %s, p99 %s, max %s, errors %d, own CPU %.2f",
		elapsed(m), s.Deliveries, s.Sent, span(s.P50), span(s.P99), span(s.Max), s.Errors, s.OwnCPU)
	for _, warning := range m.Warnings {
		text += "; warning: " + warning
	}
	return text
}

// elapsed is how much of a trial has passed.
func elapsed(m loadgen.Moment) string {
	return fmt.Sprintf("%4.*f s of %.*f", places(m), m.Elapsed.Seconds(), places(m), m.Duration.Seconds())
}

// places are the decimals of seconds: one if the trial has but a few.
func places(m loadgen.Moment) int {
	if m.Duration < 3*time.Second {
		return 1
	}
	return 0
}

// staged is the line for a stage in which nothing is measured.
func staged(m loadgen.Moment) string {
	if m.Of == 0 {
		return m.Stage
	}
	return fmt.Sprintf("%s: %d of %d", m.Stage, m.Done, m.Of)
}

// span is a time in µs for people.
func span(us float64) string {
	switch {
	case us >= 1e6:
		return fmt.Sprintf("%.2f s", us/1e6)
	case us >= 1e3:
		return fmt.Sprintf("%.2f ms", us/1e3)
	}
	return fmt.Sprintf("%.0f µs", us)
}
