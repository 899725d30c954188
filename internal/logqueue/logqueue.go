// Package logqueue decouples a process from the reader of its log. A write to
// standard error takes as long as its reader likes: a pipe that is not read, a
// stopped terminal or a hanging disk would block each goroutine that logs. So lines
// go into a bounded queue, and one goroutine writes them.
package logqueue

import (
	"io"
	"sync"
	"time"
)

const (
	// linesMax and bytesMax bound the queue: a few minutes of log of a busy server.
	linesMax = 4096
	bytesMax = 1 << 20
)

// Config is the configuration of a queue.
type Config struct {
	To io.Writer
	// Gap writes to w a line that reports the number of dropped lines at its place.
	// It must not write to the queue.
	Gap func(w io.Writer, lines uint64) error

	// For tests; 0 are the defaults.
	linesMax, bytesMax int
}

// Queue takes lines and writes them, in order, on a goroutine of its own. When it
// is full it drops its oldest lines, so that the last ones before a process ends
// are kept. Any goroutine may call the methods.
type Queue struct {
	config Config
	wake   chan struct{} // of 1: there is something to do
	ended  chan struct{} // closed when the goroutine has ended

	mu      sync.Mutex
	lines   [][]byte // that wait, the oldest first
	bytes   int      // of these
	closed  bool
	dropped uint64 // since the start
	gap     uint64 // dropped since the last line was written

	partial bool // owned by the goroutine: the last line was written in part
}

// New starts a queue. Close ends it.
func New(config Config) *Queue {
	if config.linesMax == 0 {
		config.linesMax = linesMax
	}
	if config.bytesMax == 0 {
		config.bytesMax = bytesMax
	}
	q := &Queue{config: config, wake: make(chan struct{}, 1), ended: make(chan struct{})}
	go q.run()
	return q
}

// Write takes a copy of p, one or more lines, and never waits for the writer.
// Dropped lines are counted and are no error.
func (q *Queue) Write(p []byte) (int, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed || len(p) > q.config.bytesMax {
		q.drop(1)
		return len(p), nil
	}
	q.lines = append(q.lines, append([]byte(nil), p...))
	q.bytes += len(p)
	for len(q.lines) > q.config.linesMax || q.bytes > q.config.bytesMax {
		q.takeOldest()
		q.drop(1)
	}
	q.ring()
	return len(p), nil
}

// Dropped returns the number of dropped lines since the start, because the queue
// was full or the writer failed.
func (q *Queue) Dropped() uint64 {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.dropped
}

// Close takes no more lines and waits until all queued lines have been written, at
// most for limit. It reports whether they were. A write that hangs lasts until the
// process ends.
func (q *Queue) Close(limit time.Duration) bool {
	timeout := time.NewTimer(limit)
	defer timeout.Stop()
	q.mu.Lock()
	q.closed = true
	q.ring()
	q.mu.Unlock()
	select {
	case <-q.ended:
		return true
	case <-timeout.C:
		return false
	}
}

// drop counts lines as dropped. The caller holds the lock.
func (q *Queue) drop(lines uint64) {
	q.dropped += lines
	q.gap += lines
}

// takeOldest removes the oldest line. The caller holds the lock.
func (q *Queue) takeOldest() []byte {
	line := q.lines[0]
	q.lines[0] = nil
	q.lines = q.lines[1:]
	q.bytes -= len(line)
	return line
}

func (q *Queue) ring() {
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

// run writes lines until the queue is closed and empty. If a line cannot be written
// it is dropped, and the next one is tried: a full disk may have room again, and a
// try costs no more than a write to a working log.
func (q *Queue) run() {
	defer close(q.ended)
	for {
		line, gap, closed := q.next()
		if line == nil && !closed {
			<-q.wake
			continue
		}
		var err error
		if gap > 0 {
			if err = q.config.Gap(whole{q}, gap); err == nil {
				q.closeGap(gap)
			}
		}
		if line == nil {
			return
		}
		if err == nil {
			_, err = whole{q}.Write(line)
		}
		if err != nil {
			q.lost()
		}
	}
}

// next returns the oldest line, nil if there is none, and the number of lines
// dropped before it.
func (q *Queue) next() (line []byte, gap uint64, closed bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.lines) > 0 {
		line = q.takeOldest()
	}
	return line, q.gap, q.closed
}

// closeGap is called when the log has reported that many dropped lines. More may
// have been dropped meanwhile.
func (q *Queue) closeGap(lines uint64) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.gap -= lines
}

// lost counts the line that could not be written.
func (q *Queue) lost() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.drop(1)
}

// whole writes whole lines: after a line that was written in part, as on a full
// disk, it ends that line first.
type whole struct{ q *Queue }

func (w whole) Write(p []byte) (int, error) {
	if w.q.partial {
		if _, err := w.q.config.To.Write([]byte{'\n'}); err != nil {
			return 0, err
		}
		w.q.partial = false
	}
	n, err := w.q.config.To.Write(p)
	w.q.partial = n > 0 && n < len(p)
	return n, err
}
