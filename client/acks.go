package client

import (
	"errors"
	"sync"
	"time"
)

// When a session acknowledges: after so many texts, so many bytes of texts, or
// so long behind the first that is not acknowledged.
const (
	ackTexts = 32
	ackBytes = 32 << 10
	ackPause = 100 * time.Millisecond
)

// countedMax bounds the counted texts of one session that are not done: far more
// than a server keeps of one (256, and 4,096 that are stored).
const countedMax = 8192

// errCounted ends a session whose server goes on without acknowledgements.
var errCounted = errors.New("the server sent more texts than it may without an acknowledgement")

// acks counts the texts of one session that its server keeps until they are
// acknowledged: the counted texts. One is done when the application's function
// for it has returned; functions of different senders run side by side, so texts
// may be done in any order, and only those in front of the first that is not
// done are acknowledged.
type acks struct {
	write func(n uint64) error // sends that n texts are acknowledged
	fail  func()               // ends the session: write has failed

	writing sync.Mutex // who holds it takes and writes: the last ACK has been written when flush returns

	mu    sync.Mutex
	texts []countedText // behind the first done ones, in wire order; <= countedMax
	done  uint64        // texts 1 to done are done
	acked uint64        // and 1 to acked are acknowledged; <= done
	bytes int           // of the texts acked+1 to done
	timer *time.Timer   // nil until something has been done
	armed bool          // the timer runs
	ended bool          // nothing is written any more
}

// newAcks writes by write, and ends the session by fail if that fails.
func newAcks(write func(n uint64) error, fail func()) *acks { return &acks{write: write, fail: fail} }

// countedText is one that waits to be acknowledged.
type countedText struct {
	bytes int
	done  bool
}

// mark names a counted text: the nth of a session. The zero mark is a text that
// does not count.
type mark struct {
	acks *acks
	n    uint64
}

// isDone says that the application's function for the text has returned.
func (m mark) isDone() {
	if m.acks != nil {
		m.acks.finish(m.n)
	}
}

func (m mark) counts() bool { return m.acks != nil }

// count counts one more text, of so many bytes.
func (a *acks) count(bytes int) (mark, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.texts) >= countedMax {
		return mark{}, errCounted
	}
	a.texts = append(a.texts, countedText{bytes: bytes})
	return mark{a, a.done + uint64(len(a.texts))}, nil
}

// finish says that the nth text is done. Only the first time counts.
func (a *acks) finish(n uint64) {
	if due := a.note(n); due {
		a.flush()
	}
}

// note reports whether an ACK is due at once; if it is due later, the timer
// runs.
func (a *acks) note(n uint64) (due bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if n <= a.done {
		return false
	}
	a.texts[n-a.done-1].done = true
	for len(a.texts) > 0 && a.texts[0].done {
		a.bytes += a.texts[0].bytes
		a.texts = a.texts[1:]
		a.done++
	}
	switch {
	case a.ended || a.done == a.acked:
		return false
	case a.done-a.acked >= ackTexts || a.bytes >= ackBytes:
		return true
	}
	a.arm()
	return false
}

// arm has the timer flush, ackPause behind the first text that is done and not
// acknowledged. The caller holds mu.
func (a *acks) arm() {
	switch {
	case a.armed:
		return
	case a.timer == nil:
		a.timer = time.AfterFunc(ackPause, a.flush)
	default:
		a.timer.Reset(ackPause)
	}
	a.armed = true
}

// flush acknowledges what is done.
func (a *acks) flush() {
	a.writing.Lock()
	defer a.writing.Unlock()
	n, due := a.take()
	if due && a.write(n) != nil {
		a.fail() // the session's reader says why it ended
	}
}

// take returns how many texts are to be acknowledged, if there is something
// new. They count as acknowledged then.
func (a *acks) take() (n uint64, due bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.armed {
		a.timer.Stop()
		a.armed = false
	}
	if a.ended || a.done == a.acked {
		return 0, false
	}
	a.acked, a.bytes = a.done, 0
	return a.acked, true
}

// sent is how many texts are acknowledged.
func (a *acks) sent() uint64 {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.acked
}

// end writes nothing from now on.
func (a *acks) end() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.ended = true
	if a.armed {
		a.timer.Stop()
		a.armed = false
	}
}
