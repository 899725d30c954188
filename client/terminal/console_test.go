package terminal

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ergochat/readline"
)

// waitMax bounds every wait of a test.
const waitMax = 30 * time.Second

// desk is a console with a person at it.
type desk struct {
	t       *testing.T
	console *console
	keys    *io.PipeWriter
	lines   chan string
	ended   chan error
	width   atomic.Int64

	mu     sync.Mutex
	screen bytes.Buffer // all written bytes
	change chan struct{}
}

func (d *desk) Write(p []byte) (int, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	close(d.change)
	d.change = make(chan struct{})
	return d.screen.Write(p)
}

func newDesk(t *testing.T, past ...string) *desk {
	t.Helper()
	keyboard, keys := io.Pipe()
	d := &desk{t: t, keys: keys, lines: make(chan string), ended: make(chan error, 1), change: make(chan struct{})}
	d.width.Store(80)
	size := func() (int, int) { return int(d.width.Load()), 24 }
	var err error
	d.console, err = newConsole(keyboard, d, "ann", size, completer{func() []string { return []string{"bob"} }})
	if err == nil {
		err = d.console.recall(past)
	}
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	go func() { d.ended <- d.console.read(ctx, d.lines) }()
	t.Cleanup(func() {
		cancel()
		if err := d.console.close(); err != nil {
			t.Error(err)
		}
		if err := keyboard.Close(); err != nil { // so that the reading of keys ends
			t.Error(err)
		}
	})
	return d
}

func (d *desk) types(keys string) {
	d.t.Helper()
	if _, err := io.WriteString(d.keys, keys); err != nil {
		d.t.Fatal(err)
	}
}

func (d *desk) line(want string) {
	d.t.Helper()
	select {
	case got := <-d.lines:
		if got != want {
			d.t.Errorf("the line is %q, want %q", got, want)
		}
	case <-time.After(waitMax):
		d.t.Fatalf("no line within %v, want %q; the screen: %q", waitMax, want, d.written())
	}
}

func (d *desk) written() string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.screen.String()
}

// sees waits until want was written.
func (d *desk) sees(want string) {
	d.t.Helper()
	deadline := time.After(waitMax)
	for {
		d.mu.Lock()
		seen, change := strings.Contains(d.screen.String(), want), d.change
		d.mu.Unlock()
		if seen {
			return
		}
		select {
		case <-change:
		case <-deadline:
			d.t.Fatalf("%q is not on the screen within %v: %q", want, waitMax, d.written())
		}
	}
}

// TestConsole reads lines that are edited, completed and recalled, and never asks the terminal for
// the cursor's position.
func TestConsole(t *testing.T) {
	d := newDesk(t, "older line")
	d.types("helo\x1b[Dl\r")
	d.line("hello")
	d.types("bo\thi\r")
	d.line("bob;;hi")
	d.types("\x12lder\r")
	d.line("older line")
	d.types("👩\u200d🚀\u202e\u009b ❤\ufe0f\r") // what cannot be shown does not come in
	d.line("👩\u200d🚀 ❤\ufe0f")
	if strings.Contains(d.written(), askCursor) {
		t.Error("the terminal was asked where the cursor is")
	}
}

// TestConsoleShows shows lines while one is edited, which continues, and while one is handed over.
func TestConsoleShows(t *testing.T) {
	d := newDesk(t)
	d.types("half ")
	d.sees("half ")
	var showing sync.WaitGroup
	for i := range 20 {
		showing.Go(func() { d.console.show(fmt.Sprintf("shown %d.", i)) })
	}
	d.types("a line\r") // no goroutine takes it yet
	showing.Wait()
	d.console.show("shown before it is taken")
	d.line("half a line")
	for i := range 20 {
		d.sees(fmt.Sprintf("shown %d.\n", i))
	}
	d.console.connected(false)
	d.sees("ann! ")
	d.console.connected(true)
	d.types(":a\t\t") // with candidates below the line, where the library is at its most fragile
	for range 20 {
		showing.Go(func() { d.console.show("among candidates") })
		d.types("\t")
	}
	showing.Wait()
}

// TestConsoleNarrower clears all rows of a line that the terminal has wrapped
// anew, also if the signal of that has not come yet.
func TestConsoleNarrower(t *testing.T) {
	d := newDesk(t)
	d.types("x" + strings.Repeat("o", 70))
	d.sees(strings.Repeat("o", 70))
	d.width.Store(20) // now the 76 characters take 4 rows
	d.console.show("shown")
	d.sees("\x1b[3A\x1b[1G\x1b[Jshown\n")
}

// TestPainted leaves nothing in the line that is edited whose width terminals
// do not agree on.
func TestPainted(t *testing.T) {
	if got := string(painted([]rune("👩\u200d🚀 ❤\ufe0f 世"), 0)); got != "👩🚀 ❤ 世" {
		t.Errorf("painted %q", got)
	}
}

// TestConsoleEnds ends at Ctrl-D and at Ctrl-C on an empty line; on any other
// Ctrl-C forgets the line.
func TestConsoleEnds(t *testing.T) {
	for _, end := range []rune{readline.CharInterrupt, readline.CharEOT} {
		d := newDesk(t)
		d.types("forget this\x03kept\r")
		d.line("kept")
		d.types(string(end))
		select {
		case err := <-d.ended:
			if err != nil {
				t.Error(err)
			}
		case line := <-d.lines:
			t.Errorf("key %d is the line %q", end, line)
		case <-time.After(waitMax):
			t.Fatalf("key %d ends nothing", end)
		}
		d.console.show("after the end")
		d.sees("after the end\n")
	}
}

// TestConsoleHalfLine never takes an incomplete line for a whole one, whatever ends the console: it
// would be sent.
func TestConsoleHalfLine(t *testing.T) {
	for name, end := range map[string]func(*desk) error{
		"close":    func(d *desk) error { return d.console.close() },
		"keyboard": func(d *desk) error { return d.keys.Close() },
	} {
		t.Run(name, func(t *testing.T) {
			d := newDesk(t)
			d.types("half")
			d.sees("half")
			closed := make(chan error, 1)
			go func() { closed <- end(d) }()
			for range 2 {
				select {
				case err := <-closed:
					if err != nil {
						t.Error(err)
					}
				case err := <-d.ended:
					if err != nil {
						t.Error(err)
					}
				case line := <-d.lines:
					t.Fatalf("half a line is taken: %q", line)
				case <-time.After(waitMax):
					t.Fatal("it does not end")
				}
			}
		})
	}
}
