package httpserve

import (
	"bytes"
	"sync"
	"syscall"
	"time"

	"cim/internal/nowait"
)

const (
	// owedMax bounds the answers that a connection owes. The next request waits
	// until there is room.
	owedMax = 64
	// owedBytes is what an owed answer behind another one counts in the memory of
	// the listener, besides its request's body.
	owedBytes = 1 << 10
)

// stage is what fasthttp does with a connection.
type stage uint8

const (
	stageServing stage = iota // a handler runs, or the connection ends
	stageReading              // a request comes in
	stageIdle                 // waits for the first byte of a request
)

// answerQueue has the answers that a connection owes, in the order of their
// requests. A response is written when it is complete and all before it are
// written; several complete ones are one write. While the queue owes or writes any,
// the connection counts as serving.
//
// Only the connection's own goroutine, which is fasthttp's, adds answers and waits.
type answerQueue struct {
	conn *httpConn
	raw  syscall.RawConn // nil: the connection has none
	note func(uintptr)   // writes once; one function for all answers

	mu      sync.Mutex
	changed sync.Cond // an answer has left owed, or writing has ended
	owed    []*Later  // <= owedMax, oldest first
	open    *Later    // its head is being written by fasthttp; nil: none
	holding bool      // fasthttp writes a response that stands for an answer
	spare   *Later    // for the next answer
	stage   stage
	writing bool

	// Owned by the writer while writing is true.
	whole []byte // responses
	wrote int    // bytes of whole
}

func (q *answerQueue) init(conn *httpConn) {
	q.conn, q.changed.L = conn, &q.mu
	q.note = func(fd uintptr) { q.wrote = nowait.Write(fd, q.whole) }
	if system, ok := conn.Conn.(syscall.Conn); ok {
		q.raw, _ = system.SyscallConn() // without it a goroutine writes
	}
}

// settled reports whether no answer is owed or being written. The caller holds mu.
func (q *answerQueue) settled() bool { return len(q.owed) == 0 && !q.writing }

// wait waits until no answer is owed or being written, and reports whether any was.
func (q *answerQueue) wait() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.settled() {
		return false
	}
	for !q.settled() {
		q.changed.Wait()
	}
	return true
}

// owes reports whether any answer is owed.
func (q *answerQueue) owes() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.owed) > 0
}

// onFirstByte handles the first byte of a request: it waits for room for its answer.
func (q *answerQueue) onFirstByte() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.stage, q.holding = stageReading, false // before the wait: after the last answer this request is under way
	for len(q.owed) >= owedMax {
		q.changed.Wait()
	}
	if q.settled() {
		q.conn.conns.begin(q.conn.occupant)
	}
}

// onRequest handles a complete request: it waits until it may begin beside the requests
// whose answers are owed. key is its OverlapKey.
func (q *answerQueue) onRequest(key func() OverlapKey) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.stage = stageServing
	if len(q.owed) == 0 {
		return
	}
	for own := key(); q.mustWait(own); {
		q.changed.Wait()
	}
}

// mustWait reports whether a request with this key has to wait. The caller holds
// mu.
func (q *answerQueue) mustWait(key OverlapKey) bool {
	for _, l := range q.owed {
		if !key.beside(l.key) {
			return true
		}
	}
	return false
}

// onResponse is called when fasthttp is done with a request.
func (q *answerQueue) onResponse() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.stage, q.holding = stageIdle, false
	if q.settled() {
		q.conn.conns.restOrEnd(q.conn)
	}
}

// push adds an owed answer.
func (q *answerQueue) push(key OverlapKey, memory int64) *Later {
	q.mu.Lock()
	defer q.mu.Unlock()
	l := q.spare
	if q.spare = nil; l == nil {
		l = &Later{queue: q}
	}
	l.key, l.memory = key, memory
	q.owed = append(q.owed, l)
	q.open, q.holding = l, true
	return l
}

// hold keeps what fasthttp writes for an owed answer, and reports whether it did.
func (q *answerQueue) hold(response []byte) bool {
	q.mu.Lock()
	if !q.holding {
		q.mu.Unlock()
		return false
	}
	due := false
	if l := q.open; l != nil {
		l.head = append(l.head, bytes.TrimSuffix(response, standIn)...)
		if l.headWhole() {
			q.open, due = nil, q.take()
		}
	}
	q.mu.Unlock()
	if due {
		q.write()
	}
	return true
}

// give sets the answer of l.
func (q *answerQueue) give(l *Later, body []byte) {
	q.mu.Lock()
	l.body = body
	due := q.take()
	q.mu.Unlock()
	if due {
		q.write()
	}
}

// take puts the responses that are due into one write, and reports whether there
// are any: then the caller is the writer. The caller holds mu.
func (q *answerQueue) take() bool {
	if q.writing {
		return false // the writer takes them
	}
	n := 0
	q.whole = q.whole[:0]
	for ; n < len(q.owed) && q.owed[n].complete(); n++ {
		l := q.owed[n]
		q.whole = l.appendTo(q.whole)
		q.conn.conns.memory.give(l.memory)
		l.head, l.body = l.head[:0], nil
		q.spare = l
	}
	if n == 0 {
		return false
	}
	rest := copy(q.owed, q.owed[n:])
	clear(q.owed[rest:])
	if q.owed = q.owed[:rest]; rest == 0 && cap(q.owed) > 1 {
		q.owed = nil // an idle connection keeps room for one only
	}
	q.writing, q.wrote = true, 0
	q.changed.Signal()
	return true
}

// write writes what take has collected, and what becomes due meanwhile. It does not
// wait: what the socket does not take at once, a goroutine writes.
func (q *answerQueue) write() {
	for range owedMax { // an event loop may be the caller
		if gone := q.raw != nil && q.raw.Control(q.note) != nil; !gone && q.wrote < len(q.whole) {
			break
		}
		if !q.written() {
			return
		}
	}
	go q.writeSlowly()
}

func (q *answerQueue) writeSlowly() {
	for more := true; more; more = q.written() {
		err := q.conn.SetWriteDeadline(time.Now().Add(SendTimeout))
		if err == nil {
			_, err = q.conn.Conn.Write(q.whole[q.wrote:])
		}
		if err != nil {
			q.conn.conns.end(q.conn.Conn) // half a response must be the last bytes
		}
	}
}

// written ends a write, and reports whether there is another one.
func (q *answerQueue) written() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if cap(q.whole) > smallBytes {
		q.whole = nil
	}
	if q.writing = false; q.take() {
		return true
	}
	q.changed.Signal()
	if !q.settled() {
		return false
	}
	switch q.stage {
	case stageIdle:
		q.conn.conns.restOrEnd(q.conn)
	case stageReading:
		q.conn.conns.begin(q.conn.occupant)
	case stageServing:
	}
	return false
}
