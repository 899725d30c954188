package live

import (
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"

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

// Open begins to show a run on out. color says whether it may be in color.
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
	_, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	return err == nil && os.Getenv("TERM") != "dumb"
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
	// Progress is for a human who watches; one who has gone misses nothing.
	_, _ = fmt.Fprintln(l, line(m))
}

// Close implements View.
func (lines) Close() error { return nil }

// line is one second in one line.
func line(m loadgen.Moment) string {
	s := m.Second
	text := fmt.Sprintf("%4.0f s of %.0f: %d deliveries, %d sent, p50 %s, p99 %s, max %s, errors %d, own CPU %.2f",
		m.Elapsed.Seconds(), m.Duration.Seconds(), s.Deliveries, s.Sent, span(s.P50), span(s.P99), span(s.Max), s.Errors, s.OwnCPU)
	for _, warning := range m.Warnings {
		text += "; warning: " + warning
	}
	return text
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
