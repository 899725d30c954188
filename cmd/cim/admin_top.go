package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
)

const (
	topInterval = 2 * time.Second
	// The counters of a server are renewed each 100 ms; below that a rate says
	// nothing.
	topIntervalMin = 100 * time.Millisecond
	topIntervalMax = time.Hour
)

// topCommand is cim admin top.
type topCommand struct {
	*adminCommand
	interval time.Duration
	times    int // 0: until a signal
}

func newTopCommand(a *adminCommand) *cobra.Command {
	c := &topCommand{adminCommand: a}
	cmd := &cobra.Command{
		Use: "top", Short: "Show rates, queues, links and memory of the processes, again and again", Args: cobra.NoArgs,
		Long: `Shows a line for each process: processor time, resident memory, and that
divided by the sessions; logins, messages and deliveries of a second; what
waits in queues and on links. The rates are those of the last --interval. On a
terminal the lines are renewed in place until Ctrl-C; elsewhere, and with -n,
each look is a block of its own, or with --json a line.`,
		RunE: func(cmd *cobra.Command, _ []string) error { return c.run(cmd) },
	}
	a.offer(cmd)
	cmd.Flags().DurationVar(&c.interval, "interval", topInterval, "time between two looks, over which rates are taken")
	cmd.Flags().IntVarP(&c.times, "number", "n", 0, "end after this many looks; 0: never")
	return cmd
}

func (c *topCommand) run(cmd *cobra.Command) error {
	listeners, err := c.listeners(cmd)
	switch {
	case err != nil:
		return err
	case c.interval < topIntervalMin || c.interval > topIntervalMax:
		return fmt.Errorf("interval %v is not %v to %v", c.interval, topIntervalMin, topIntervalMax)
	case c.times < 0:
		return fmt.Errorf("number %d is negative", c.times)
	}
	look := topLook{listeners: listeners, before: map[string]totals{}}
	ctx, out := cmd.Context(), cmd.OutOrStdout()
	if f, ok := out.(*os.File); ok && !c.json && c.times == 0 {
		if s := openScreen(f, environment(c.program.environ, "TERM"), environment(c.program.environ, "NO_COLOR")); s != nil {
			return c.onTerminal(ctx, s, look)
		}
	}
	return c.inBlocks(ctx, out, look)
}

// onTerminal shows looks in place until a signal, the first one at once, without
// rates.
func (c *topCommand) onTerminal(ctx context.Context, s *screen, look topLook) (err error) {
	defer func() { err = errors.Join(err, failed(s.close())) }()
	err = c.each(ctx, look.take(ctx), look, func(rows []processRow) error {
		return s.draw(topLines(rows, fmt.Sprintf("cim admin top, every %v, %s; Ctrl-C ends", c.interval, time.Now().Format(time.TimeOnly))))
	})
	return err
}

// inBlocks starts with the first look that has rates.
func (c *topCommand) inBlocks(ctx context.Context, out io.Writer, look topLook) error {
	look.take(ctx)
	return c.each(ctx, nil, look, func(rows []processRow) error {
		if c.json {
			return writeLine(out, topJSON{time.Now().UTC(), rows})
		}
		_, err := fmt.Fprintf(out, "%s\n\n", strings.Join(topLines(rows, time.Now().Format(time.DateTime)), "\n"))
		return err
	})
}

// topJSON is one look.
type topJSON struct {
	Time      time.Time    `json:"time"`
	Processes []processRow `json:"processes"`
}

// each shows first, if any, and then a look after each interval. Without a number of looks, a
// signal is the normal end.
func (c *topCommand) each(ctx context.Context, first []processRow, look topLook, show func([]processRow) error) error {
	ticker := time.NewTicker(c.interval)
	defer ticker.Stop()
	rows := first
	for shown := 0; ; {
		if ctx.Err() != nil {
			if c.times == 0 {
				return nil
			}
			return orInterrupted(ctx, nil)
		}
		if rows != nil {
			if err := show(rows); err != nil {
				return failed(err)
			}
			if shown++; shown == c.times {
				return noAnswer(rows)
			}
		}
		select {
		case <-ticker.C:
			rows = look.take(ctx)
		case <-ctx.Done():
			rows = nil
		}
	}
}

// noAnswer is the error if no process has answered the last look.
func noAnswer(rows []processRow) error {
	for _, row := range rows {
		if row.Error == "" {
			return nil
		}
	}
	return failed(errNoListener)
}

// topLook asks the processes, and keeps the totals for the next time.
type topLook struct {
	listeners []adminListener
	before    map[string]totals
}

func (l topLook) take(ctx context.Context) []processRow {
	return processRows(askStates(ctx, l.listeners), l.before)
}

// topLines are the lines of one look: a title, the sum, and a table.
func topLines(rows []processRow, title string) []string {
	var text strings.Builder
	table := tabwriter.NewWriter(&text, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, topHead)
	for _, row := range rows {
		fmt.Fprintln(table, processText(row))
	}
	if err := table.Flush(); err != nil {
		panic("cim: a table in memory: " + err.Error())
	}
	lines := []string{title, totalText(rows), ""}
	return append(lines, strings.Split(strings.TrimSuffix(text.String(), "\n"), "\n")...)
}
