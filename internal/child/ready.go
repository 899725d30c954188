package child

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"
)

// readyLineMax bounds the line that a process writes when it is ready, in bytes.
const readyLineMax = 4 << 10

// ErrEnded: a process ended before it was ready.
var ErrEnded = errors.New("it ended before it was ready")

// ReadyLine collects the standard output of a process that writes one line when it
// is ready. It keeps that line and drops the rest.
type ReadyLine struct {
	line  []byte        // owned by the writer, and after whole is closed by its reader
	whole chan struct{} // closed at the line's end, or past its bound
	done  bool
}

// NewReadyLine returns a ReadyLine for one process.
func NewReadyLine() *ReadyLine { return &ReadyLine{whole: make(chan struct{})} }

// Write implements io.Writer.
func (r *ReadyLine) Write(b []byte) (int, error) {
	if r.done {
		return len(b), nil
	}
	line, _, ended := bytes.Cut(b, []byte("\n"))
	r.line = append(r.line, line...)
	if ended || len(r.line) > readyLineMax {
		r.done = true
		close(r.whole)
	}
	return len(b), nil
}

// AwaitReady waits, for most and while ctx lasts, until the process has written its
// line to r, and returns the line. The error is ErrEnded, or reports the end of the
// time, a line of more than 4 KiB, or the cause of ctx's end.
func (c *Child) AwaitReady(ctx context.Context, r *ReadyLine, most time.Duration) ([]byte, error) {
	timeout := time.NewTimer(most)
	defer timeout.Stop()
	select {
	case <-r.whole:
	case <-c.ended: // all its output has been read by then
		if !r.done {
			return nil, ErrEnded
		}
	case <-timeout.C:
		return nil, fmt.Errorf("it was not ready within %v", most)
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	if len(r.line) > readyLineMax {
		return nil, fmt.Errorf("its ready line has more than %d bytes", readyLineMax)
	}
	return r.line, nil
}
