package link

import (
	"errors"
	"sync"
	"time"
)

// ErrMemory is why an end ends that held most of what the connections of its
// process may hold in memory.
var ErrMemory = errors.New("link: memory: of all connections this link holds the most that its other end does not take")

const (
	// untakenLooks is for how many looks in a row bytes must have waited until the
	// other end counts as one that does not take them. They are counted, not
	// timed: a process that stood still has missed the looks too.
	untakenLooks = 4
	// lookMin is the time after a look from which the next counts. The budget
	// looks each 100 ms, and oftener while connections grow.
	lookMin = 50 * time.Millisecond
)

// Holders are the ends of links of one part of a process, as a keeper of its
// budget. All bytes that wait on them count as held; those count as fresh that the
// other end may still take.
//
// An end gives way if its other end has not taken bytes for untakenLooks, 0.4 s,
// and by those: a link carries the messages of a whole server, so it must not end
// for a burst while peers that do not read hold the rest. It is aborted, so that
// its memory is free at once, and that nothing of what waits on it arrives behind
// the outcomes that its owner names at its end. The end of a link within the
// process never gives way: its reader is this process, and what waits would still
// be read.
//
// The zero Holders has no ends.
type Holders struct {
	mu     sync.Mutex // of no sender and no reader
	ends   map[*Conn]*holding
	looked time.Time // the last look that counted
}

// holding is what one end holds. Holders' lock guards it.
type holding struct {
	shed  func() // called when it gives way
	ended bool   // it has
	looks int    // that counted, since newer
	// The bytes that had entered untakenLooks ago or before, and later.
	older, newer int64
}

// Add has what waits at c's end count until remove is called. shed is called when
// it gives way, and must not block.
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

// Held implements budget.Keeper. It takes no lock of those who send.
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
		left := c.out.left.Load() // before what has entered: it is never more
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

// untaken is how many bytes the other end has not taken for untakenLooks.
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

// worst is the end that gives way first. The caller holds the lock.
func (h *Holders) worst() (worst *Conn, size int64) {
	for c, e := range h.ends {
		if untaken := e.untaken(c); untaken > size {
			worst, size = c, untaken
		}
	}
	return worst, size
}
