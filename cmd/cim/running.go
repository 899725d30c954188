package main

import (
	"context"
	"fmt"
	"io"
	"log"
	"log/slog"
	"os"
	"os/signal"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"cim/internal/logqueue"
)

// lastLinesMax is how long a process that ends waits for the reader of its log.
const lastLinesMax = 2 * time.Second

// output is what a command that runs until it is asked to end writes: through
// a queue, since nothing in the process may wait for the reader of a log.
type output struct {
	queue *logqueue.Queue
	form  atomic.Pointer[logConfig] // of the log; nil: settings have not been read yet
}

// keepRunning prepares a command that runs until it is stopped, and returns its context: output to
// standard error goes through a queue, a broken pipe is an error and does not end the process, and
// SIGHUP does not end it at once.
func (p *program) keepRunning(cmd *cobra.Command) context.Context {
	if p.output == nil {
		p.output = newOutput(os.Stderr)
	}
	cmd.SetErr(p.output.queue)
	log.SetOutput(p.output.queue) // libraries that were given no logger
	// Caught, not ignored: a child process would inherit the latter.
	signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE)
	return p.output.untilHangup(cmd.Context())
}

func newOutput(to io.Writer) *output {
	o := &output{}
	o.queue = logqueue.New(logqueue.Config{To: to, Gap: o.writeGap})
	return o
}

// logger logs through the queue in the form of c.
func (o *output) logger(c logConfig) *slog.Logger {
	o.form.Store(&c)
	return c.logger(o.queue)
}

// writeGap says in the log's form how many lines are missing.
func (o *output) writeGap(w io.Writer, lines uint64) error {
	c := o.form.Load()
	if c == nil {
		_, err := fmt.Fprintf(w, "cim: %d lines are missing here: they were not read, or could not be written\n", lines)
		return err
	}
	to := &checked{to: w}
	c.logger(to).Error("log lines are missing here: standard error was not read, or could not be written", "lines", lines)
	return to.err
}

// checked keeps the error of a write, which a logger does not return.
type checked struct {
	to  io.Writer
	err error
}

func (c *checked) Write(p []byte) (n int, err error) {
	n, c.err = c.to.Write(p)
	return n, c.err
}

// untilHangup returns a context that ends with ctx, or when the terminal from
// which the process was started is closed. Without a terminal SIGHUP asks for
// nothing that this process has, so it is logged and changes nothing; nohup
// keeps its meaning.
func (o *output) untilHangup(ctx context.Context) context.Context {
	if signal.Ignored(syscall.SIGHUP) {
		return ctx
	}
	ctx, cancel := context.WithCancelCause(ctx)
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGHUP)
	fromTerminal := hasTerminal()
	go func() {
		for s := range signals {
			if fromTerminal {
				cancel(signalled{s})
				return
			}
			o.ignored(s)
		}
	}()
	return ctx
}

// endAtHangup returns a context that ends with ctx, or at SIGHUP: a client's command then restores
// the terminal, logs off, and puts back what it has not printed. nohup keeps its meaning.
func endAtHangup(ctx context.Context) context.Context {
	if signal.Ignored(syscall.SIGHUP) {
		return ctx
	}
	ctx, cancel := context.WithCancelCause(ctx)
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGHUP)
	go func() { cancel(signalled{<-signals}) }()
	return ctx
}

func (o *output) ignored(s os.Signal) {
	const why = "signal ignored: there are no files to open anew or settings to read again; SIGTERM ends the process"
	if c := o.form.Load(); c != nil {
		c.logger(o.queue).Info(why, "signal", s)
	}
}

// hasTerminal reports whether the process has a controlling terminal.
func hasTerminal() bool {
	terminal, err := os.OpenFile("/dev/tty", os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		return false
	}
	return terminal.Close() == nil
}

// stderr is where the end of a command is reported, and flush lets what waits
// there be written.
func (p *program) stderr() (w io.Writer, flush func()) {
	if p.output == nil {
		return os.Stderr, func() {}
	}
	return p.output.queue, func() { p.output.queue.Close(lastLinesMax) }
}
