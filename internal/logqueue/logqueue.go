// Package logqueue keeps a process from waiting for the reader of its log. A
// write to standard error takes as long as its reader likes: a pipe that is
// not read, a terminal that is stopped or a disk that hangs would stop each
// goroutine that logs. So lines go into a bounded queue, and one goroutine
// writes them.
package logqueue

import (
	"io"
	"sync"
	"time"
)

const (
	// linesMax and bytesMax bound what waits: a burst of what a busy server
	// logs in minutes.
	linesMax = 4096
	bytesMax = 1 << 20
)

// Config says where a queue writes to.
type Config struct {
	To io.Writer
	// Gap writes to w a line that says how many lines are missing in its place.
	// It must not write to the queue.
	Gap func(w io.Writer, lines uint64) error

	// For tests; 0 are the real ones.
	linesMax, bytesMax int
}

// Queue takes lines and writes them, in order, on a goroutine of its own.
// When it is full it drops its oldest lines, so that the last ones before a
// process ends are kept. Any goroutine may call its methods.
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

	torn bool // the goroutine only: the last line has been written in part
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

// Write takes a copy of p, which is one line or several, and never waits for
// the writer behind the queue. What is dropped is counted and is no error.
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

// Dropped returns how many lines have been dropped since the start, because
// the queue was full or the writer failed.
func (q *Queue) Dropped() uint64 {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.dropped
}

// Close takes no more lines and waits until those that are there have been
// written, at most for limit. It reports whether nothing was left. A write
// that hangs is left to the end of the process.
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

// run writes lines until the queue is closed and empty. A line that cannot be
// written is dropped, and the next one is tried: a disk that was full may have
// room again, and a try costs no more than a write to a working log.
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

// next returns the oldest line, nil if none waits, and how many lines were
// dropped before it.
func (q *Queue) next() (line []byte, gap uint64, closed bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.lines) > 0 {
		line = q.takeOldest()
	}
	return line, q.gap, q.closed
}

// closeGap is called when the log says that so many lines are missing. More may
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

// whole writes lines that begin where a line begins: behind one that was
// written in part, as on a disk that became full, it ends that line first.
type whole struct{ q *Queue }

func (w whole) Write(p []byte) (int, error) {
	if w.q.torn {
		if _, err := w.q.config.To.Write([]byte{'\n'}); err != nil {
			return 0, err
		}
		w.q.torn = false
	}
	n, err := w.q.config.To.Write(p)
	w.q.torn = n > 0 && n < len(p)
	return n, err
}
