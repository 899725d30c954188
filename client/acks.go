package client

import (
	"sync"
	"time"

	"cim/internal/received"
)

// ackPause is how long behind the first text that is done and not acknowledged an
// ACK is sent, if none is due before.
const ackPause = 100 * time.Millisecond

// acks acknowledges the counted texts of one session.
type acks struct {
	write func(n uint64) error // sends that n texts are acknowledged
	fail  func()               // ends the session: write has failed

	writing sync.Mutex // held from take to write: when flush returns, the latest ACK has been written

	mu    sync.Mutex
	texts received.Count
	timer *time.Timer // nil until something has been done
	armed bool        // the timer runs
	ended bool        // no ACK is written after this
}

// newAcks writes by write, and ends the session by fail if that fails.
func newAcks(write func(n uint64) error, fail func()) *acks { return &acks{write: write, fail: fail} }

// ackMark names a counted text: the nth of a session. The zero mark is a text that
// does not count.
type ackMark struct {
	acks *acks
	n    uint64
}

// done says that the application's function for the text has returned.
func (m ackMark) done() {
	if m.acks != nil {
		m.acks.finish(m.n)
	}
}

func (m ackMark) isCounted() bool { return m.acks != nil }

// count counts one more text of that many bytes.
func (a *acks) count(bytes int) (ackMark, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	n, err := a.texts.Add(bytes)
	if err != nil {
		return ackMark{}, err
	}
	return ackMark{a, n}, nil
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
	switch when := a.texts.Finish(n); {
	case a.ended || when == received.NotDue:
		return false
	case when == received.DueNow:
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

// flush acknowledges the finished texts.
func (a *acks) flush() {
	a.writing.Lock()
	defer a.writing.Unlock()
	n, due := a.take()
	if due && a.write(n) != nil {
		a.fail() // the session's reader says why it ended
	}
}

// take returns how many texts to acknowledge, if there are new ones, and counts them as
// acknowledged.
func (a *acks) take() (n uint64, due bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.armed {
		a.timer.Stop()
		a.armed = false
	}
	if a.ended {
		return 0, false
	}
	return a.texts.Take()
}

// sent is how many texts are acknowledged.
func (a *acks) sent() uint64 {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.texts.Acked()
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
