package terminal

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"sync"
	"unicode"

	"github.com/ergochat/readline"

	"cim/internal/tty"
)

// console is a display with a line at the bottom that the user edits. It stays intact while lines
// are shown above it.
//
// Nothing may be written to the library while it handles a key: it would race where candidates are
// shown. So the goroutine that reads the keys shows everything, in the library's place: in Read, in
// which the library waits for the next key, or between two lines. The library may not ask the
// terminal for the cursor's position either, since some terminals never answer. All lines are shown
// whole, so an edited line starts in the first column, and the console answers that itself.
type console struct {
	library *readline.Instance
	out     io.Writer
	name    string // in front of the line that is edited

	calls   chan func()   // functions to call between two keys
	keys    chan []byte   // from the keyboard; closed at its end
	closing chan struct{} // closed by close
	ended   chan struct{} // closed when no more lines are read
	once    sync.Once

	// Owned by the reader of the keys.
	key       []byte // read, and not yet taken by the library
	asked     bool   // for the cursor's place, not yet answered
	edited    bool   // the line that is edited is not empty
	remeasure func()

	raw *rawMode // nil: the keys are a test's

	mu  sync.Mutex
	err error // the first one of out
}

const (
	askCursor   = "\x1b[6n"
	cursorFirst = "\x1b[1;1R"
)

// newConsole takes over the terminal that in and out are.
func newConsole(in io.Reader, out io.Writer, name string, size func() (width, height int), complete completer) (*console, error) {
	c := &console{
		out: out, name: Harmless(name), calls: make(chan func()), keys: make(chan []byte),
		closing: make(chan struct{}), ended: make(chan struct{}),
	}
	config := &readline.Config{
		Prompt: c.prompt(true), InterruptPrompt: "\n", EOFPrompt: "\n",
		HistoryLimit: inputsMax, HistorySearchFold: true, Undo: true,
		AutoComplete: complete, Listener: c.listen, Painter: painted, FuncFilterInputRune: allowed,
		Stdin: c, Stdout: consoleOut{c}, Stderr: consoleOut{c},
		FuncIsTerminal: func() bool { return true }, FuncGetSize: size,
		FuncOnWidthChanged: func(remeasure func()) { c.remeasure = remeasure },
	}
	config.FuncMakeRaw, config.FuncExitRaw = nothing, nothing
	if file, real := in.(*os.File); real { // else it is a test's
		c.raw = newRawMode(file, c.isClosing)
		config.FuncMakeRaw, config.FuncExitRaw = c.raw.enter, c.raw.leave
	}
	library, err := readline.NewFromConfig(config)
	if err != nil {
		return nil, fmt.Errorf("terminal: %w", err)
	}
	c.library = library
	go c.readKeys(in)
	return c, nil
}

func nothing() error { return nil }

// recall lets lines be fetched back, before the first is read.
func (c *console) recall(lines []string) error {
	for _, line := range lines {
		if err := c.library.SaveToHistory(Harmless(line)); err != nil {
			return fmt.Errorf("terminal: %w", err)
		}
	}
	return nil
}

// sizeOf is the size of the terminal that file is.
func sizeOf(file *os.File) func() (width, height int) {
	return func() (int, int) {
		width, height, err := tty.Size(file)
		if err != nil || width == 0 || height == 0 {
			return 80, 24
		}
		return width, height
	}
}

// readKeys ends with the keyboard, or, once the console is closed, with the
// next key.
func (c *console) readKeys(in io.Reader) {
	defer close(c.keys)
	buffer := make([]byte, 4096)
	for {
		n, err := in.Read(buffer)
		if n > 0 {
			select {
			case c.keys <- append([]byte(nil), buffer[:n]...):
			case <-c.closing:
				return
			}
		}
		if err != nil {
			return
		}
	}
}

// Read gives the library keys, and does in between what waits to be done.
func (c *console) Read(p []byte) (int, error) {
	if c.asked {
		c.asked = false
		return copy(p, cursorFirst), nil
	}
	for {
		if len(c.key) > 0 {
			keys, _, suspends := bytes.Cut(c.key, []byte{readline.CharCtrlZ})
			if len(keys) > 0 {
				n := copy(p, keys)
				c.key = c.key[n:]
				return n, nil
			}
			if suspends {
				c.key = c.key[1:]
				c.suspend()
				continue
			}
		}
		select {
		case call := <-c.calls:
			call()
		case keys, more := <-c.keys:
			if !more {
				c.finish()
				return 0, io.EOF
			}
			c.key = keys
			c.remeasure()
		case <-c.closing:
			return 0, io.EOF
		}
	}
}

// suspend handles Ctrl-Z itself. The library would wait for ever where no shell stops the process.
func (c *console) suspend() {
	if c.raw == nil {
		return
	}
	const clear = "\r\x1b[J"                                                // the line that is edited, for what the shell shows
	stopped, err := c.raw.suspend(func() { _, _ = c.write([]byte(clear)) }) // write keeps the error
	c.keep(err)
	if stopped {
		c.remeasure()
		c.library.Refresh()
	}
}

// resumed takes the terminal back after the process was stopped. It ends with ctx:
// read waits for the watch before it says that it has ended.
func (c *console) resumed(ctx context.Context) {
	select {
	case c.calls <- func() {
		if c.raw != nil {
			c.keep(c.raw.renew())
		}
		c.remeasure()
		c.library.Refresh()
	}:
	case <-ctx.Done():
	}
}

// keep keeps the first error, which close returns.
func (c *console) keep(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err == nil {
		c.err = err
	}
}

// consoleOut is where the library writes.
type consoleOut struct{ *console }

func (o consoleOut) Write(p []byte) (int, error) {
	if string(p) == askCursor {
		o.asked = true
		return len(p), nil
	}
	return o.write(p)
}

func (c *console) write(p []byte) (int, error) {
	n, err := c.out.Write(p)
	c.keep(err)
	return n, err
}

func (c *console) show(text string) {
	text += "\n"
	select {
	case c.calls <- func() { c.remeasure(); _, _ = c.library.Write([]byte(text)) }: // write keeps the error
	case <-c.ended:
		_, _ = c.write([]byte(text))
	}
}

func (c *console) connected(yes bool) {
	select {
	case c.calls <- func() { c.remeasure(); c.library.SetPrompt(c.prompt(yes)); c.library.Refresh() }:
	case <-c.ended:
	}
}

// prompt is equally wide in both cases: the library clears the old one by the
// width of the new.
func (c *console) prompt(connected bool) string {
	if connected {
		return c.name + "> "
	}
	return c.name + "! "
}

func (c *console) resized(ctx context.Context) {
	select {
	case c.calls <- func() { c.remeasure(); c.library.Refresh() }:
	case <-ctx.Done():
	}
}

// read implements display. Ctrl-D and Ctrl-C on an empty line are an end;
// Ctrl-C on any other forgets the line.
func (c *console) read(ctx context.Context, lines chan<- string) error {
	defer close(c.ended)
	stop := c.watch(ctx)
	defer stop()
	for {
		line, err := c.library.ReadLine()
		switch {
		case c.isClosing(): // then the library passes on half a line
			return nil
		case errors.Is(err, readline.ErrInterrupt) && c.edited:
			c.edited = false
			continue
		case errors.Is(err, io.EOF), errors.Is(err, readline.ErrInterrupt):
			return nil
		case err != nil:
			return fmt.Errorf("terminal: read a line: %w", err)
		}
		c.edited = false
		if !c.hand(line, lines) {
			return nil
		}
	}
}

// watch closes the console when ctx ends. It informs the console when the terminal's size changes
// and when the process continues after a stop.
func (c *console) watch(ctx context.Context) (stop func()) {
	sizes, resumes := make(chan os.Signal, 1), make(chan os.Signal, 1)
	tty.NotifyResize(sizes)
	tty.NotifyContinue(resumes)
	ctx, cancel := context.WithCancel(ctx)
	var watching sync.WaitGroup
	watching.Go(func() {
		for {
			select {
			case <-sizes:
				c.resized(ctx)
			case <-resumes:
				c.resumed(ctx)
			case <-ctx.Done():
				c.finish()
				return
			}
		}
	})
	return func() {
		signal.Stop(sizes)
		signal.Stop(resumes)
		cancel()
		watching.Wait()
	}
}

// hand passes a line on. Meanwhile the library reads no keys, so what waits to
// be shown is shown here.
func (c *console) hand(line string, lines chan<- string) bool {
	for {
		select {
		case lines <- line:
			return true
		case call := <-c.calls:
			call()
		case <-c.closing:
			return false
		}
	}
}

func (c *console) finish() { c.once.Do(func() { close(c.closing) }) }

func (c *console) isClosing() bool {
	select {
	case <-c.closing:
		return true
	default:
		return false
	}
}

// close implements display. Reading must have started.
func (c *console) close() error {
	c.finish()
	<-c.ended
	err := c.library.Close()
	c.mu.Lock()
	defer c.mu.Unlock()
	return errors.Join(c.err, err)
}

// listen notes whether the edited line is empty.
func (c *console) listen(line []rune, _ int, _ rune) ([]rune, int, bool) {
	c.edited = len(line) > 0
	return nil, 0, false
}

// painted is the form in which the edited line is shown: an emoji of several parts as these parts,
// since terminals disagree about the width of the whole. The sent text keeps its joiners.
func painted(line []rune, _ int) []rune {
	return []rune(strings.Map(func(r rune) rune {
		if r == zeroWidthJoiner || r == variation16 {
			return -1
		}
		return r
	}, string(line)))
}

// allowed keeps what cannot be shown out of the line that is edited. The keys
// that control are below a space, or negative.
func allowed(r rune) (rune, bool) {
	return r, r < ' ' || r == readline.CharBackspace || printable(r) || unicode.Is(unicode.Variation_Selector, r)
}
