package link

import (
	"errors"
	"sync"
	"time"
)

// ErrMemory ends an end that held most of the memory of all connections of its
// process.
var ErrMemory = errors.New("link: memory: of all connections this link holds the most that its other end does not take")

const (
	// untakenLooks is the number of checks in a row during which bytes must have
	// waited until the other end counts as not taking them. They are counted, not
	// timed: a process that stood still has missed the checks too.
	untakenLooks = 4
	// lookMin is the time after a check until the next one counts. The budget
	// checks every 100 ms, and more often while connections grow.
	lookMin = 50 * time.Millisecond
)

// Holders are the link ends of one part of a process, as a keeper of its budget.
// All bytes queued on them count as held; those that the other end may still take
// count as fresh.
//
// An end is closed only if its other end has not taken bytes for untakenLooks
// checks, 0.4 s, and it counts with those bytes: a link carries the messages of a
// whole server, so it must not end for a burst while slow readers hold the rest. It
// is aborted, so that its memory is freed at once, and none of its queued records
// arrives after the outcomes that its owner sends at its end. The end of a link
// within the process is never closed: its reader is this process, and will read
// what waits.
//
// The zero Holders has no ends.
type Holders struct {
	mu     sync.Mutex // never taken by a sender or a reader
	ends   map[*Conn]*holding
	looked time.Time // the last check that counted
}

// holding is what one end holds. Holders' lock guards it.
type holding struct {
	shed  func() // called when it is closed for memory
	ended bool   // it has been closed
	looks int    // checks that counted, since newer was last moved
	// The bytes that had entered by untakenLooks checks ago, and later.
	older, newer int64
}

// Add counts what is queued at c until remove is called. shed is called when c is
// closed for memory, and must not block.
func (h *Holders) Add(c *Conn, shed func()) (remove func()) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.ends == nil {
		h.ends = map[*Conn]*holding{}
	}
	h.ends[c] = &holding{shed: shed}
	return func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		delete(h.ends, c)
	}
}

// Held implements budget.Keeper. It takes no lock of senders.
func (h *Holders) Held() (sum, fresh, largest int64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	now := time.Now()
	counts := now.Sub(h.looked) >= lookMin
	if counts {
		h.looked = now
	}
	for c, e := range h.ends {
		if e.ended {
			continue
		}
		left := c.out.left.Load() // read before entered, so that it is never larger
		entered := c.out.entered.Load()
		all := entered - left + c.out.spare.Load()
		if counts {
			e.look(entered)
		}
		untaken := e.untaken(c)
		sum += all
		fresh += max(all-untaken, 0)
		largest = max(largest, untaken)
	}
	return sum, fresh, largest
}

func (e *holding) look(entered int64) {
	if e.looks++; e.looks >= untakenLooks {
		e.looks, e.older, e.newer = 0, e.newer, entered
	}
}

// untaken is how many bytes the other end has not taken for untakenLooks checks.
func (e *holding) untaken(c *Conn) int64 {
	if e.ended || c.InProcess() {
		return 0
	}
	return max(e.older-c.out.left.Load(), 0)
}

// Shed implements budget.Keeper.
func (h *Holders) Shed(bytes, floor int64) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	for first := true; bytes > 0; first = false {
		worst, size := h.worst()
		if size == 0 || !first && size < floor {
			return !first
		}
		e := h.ends[worst]
		e.ended = true
		bytes -= size
		e.shed()
		worst.Abort(ErrMemory)
	}
	return true
}

// worst is the end to be closed first. The caller holds the lock.
func (h *Holders) worst() (worst *Conn, size int64) {
	for c, e := range h.ends {
		if untaken := e.untaken(c); untaken > size {
			worst, size = c, untaken
		}
	}
	return worst, size
}
