package peer

import "sync"

// answers are the messages of one sender that have no answer yet. A protocol that answers in the
// order of the messages need not name them. Sending and receiving goroutines share it.
type answers struct {
	mu    sync.Mutex
	ids   []uint64 // of messages, from first on
	first int
	sent  uint64 // messages so far
}

// add notes that a message leaves, and returns how many did before it.
func (a *answers) add(id uint64) (before uint64) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.first > len(a.ids)/2 {
		a.ids, a.first = append(a.ids[:0], a.ids[a.first:]...), 0
	}
	a.ids = append(a.ids, id)
	a.sent++
	return a.sent - 1
}

// next is the message of the next answer, and how many were sent before it; false: no answer is
// due.
func (a *answers) next() (id, before uint64, ok bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.first == len(a.ids) {
		return 0, 0, false
	}
	id = a.ids[a.first]
	before = a.sent - uint64(len(a.ids)-a.first)
	a.first++
	return id, before, true
}
