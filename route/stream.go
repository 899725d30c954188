package route

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"cim/internal/link"
	"cim/proto"
)

const (
	// asksMax bounds the records of one link that wait for their answers,
	// broadcasts not counted: 300 ms of more than ten thousand a second.
	asksMax = 4096
	// askTimeout is how long a server may take to answer. It answers from memory, so silence means
	// that the server is gone, or that its answer would come too late.
	askTimeout = 300 * time.Millisecond
	// revokeTimeout is askTimeout for the end of a session before a login or after a goodbye: the
	// server answers when the texts that the session kept are in the box. A server that hangs is
	// suspect before.
	revokeTimeout = time.Second

	// broadcastsMax and broadcastBytesMax bound the broadcasts of one link
	// that wait for their answers: a server gives a session all broadcasts
	// that it has not had yet in one write, and a session's unsent bytes are
	// bounded.
	broadcastsMax     = 256
	broadcastBytesMax = 128 << 10
)

// Why a record got no answer.
var (
	errLinkDown = errors.New("the link is down")
	errLinkFull = errors.New("the link is full")
	errSilence  = errors.New("no answer in time")
)

// noAnswer reports whether err means that the server has not answered: the record may be done, now
// or later, or never.
func noAnswer(err error) bool {
	return errors.Is(err, errSilence) || errors.Is(err, errLinkDown)
}

// reply is a server's answer to a record, or why there is none.
type reply struct {
	verdict proto.Verdict
	value   uint64
	state   holdState // of an answer that has a hold state
	via     *stream   // that it came over
	err     error
}

// outcome maps the reply to a verdict: a full link is busy, no answer is absent.
func (r reply) outcome() proto.Verdict {
	switch {
	case r.err == nil:
		return r.verdict
	case errors.Is(r.err, errLinkFull):
		return proto.VerdictBusy
	}
	return proto.VerdictAbsent
}

// name is the reply as metrics have it.
func (r reply) name() string {
	switch {
	case r.err == nil:
		return r.verdict.String()
	case errors.Is(r.err, errLinkFull):
		return "full"
	case errors.Is(r.err, errSilence):
		return "silence"
	}
	return "down"
}

// ask is one record that waits for its answer. It has one waiter, which gives
// it back by await or giveUp, or a function that is called with the answer.
type ask struct {
	id    uint64
	reply chan reply // of capacity 1; the goroutine that takes the ask out of the table sends, once
	timer *time.Timer
	then  func(reply) // in the place of reply, if not nil: called once, and must not block

	timeout time.Duration // how long then waits
}

// settle gives an ask that was taken out of the table its answer.
func (a *ask) settle(answer reply) {
	if a.then == nil {
		a.reply <- answer
		return
	}
	a.timer.Stop()
	a.then(answer)
}

func newAsk() any {
	timer := time.NewTimer(time.Hour)
	timer.Stop()
	return &ask{reply: make(chan reply, 1), timer: timer}
}

// stream is one connection of a link, with the asks that wait on it and the
// room that broadcasts have on it. A new connection is a new stream.
type stream struct {
	conn               *link.Conn
	standstill         *standstill   // nil: the server stands still together with this process
	standstillsAtStart uint64        // standstills before the stream
	timeout            time.Duration // how long an answer is waited for; 0: as timeoutOf says
	askPool            sync.Pool     // of asks
	checking           atomic.Bool   // a chunk of the server's sessions is being checked

	heard        atomic.Bool  // a record has come since the monitor's last check
	confirming   atomic.Bool  // a RecordConfirm is waiting for room or unanswered: at most one
	halted       atomic.Bool  // the server's latest answer is that one of its event loops stands still
	suspect      atomic.Bool  // the server does not answer, or is halted; changed with mu held
	suspectSince atomic.Int64 // Unix time in ns when it became suspect last

	mu             sync.Mutex
	waiting        map[uint64]*ask // by the record's id
	lastID         uint64
	broadcasts     int // reserved
	broadcastBytes int // reserved
	ended          bool
}

func newStream(conn *link.Conn) *stream {
	return &stream{conn: conn, askPool: sync.Pool{New: newAsk}, waiting: map[uint64]*ask{}}
}

// watchStandstill has the stream become stale with the next standstill.
func (s *stream) watchStandstill(stood *standstill) {
	s.standstill, s.standstillsAtStart = stood, stood.count()
}

// stale reports whether this process stood still since the stream started, while its server went on
// and may have given up what it had sent.
func (s *stream) stale() bool {
	return s.standstill != nil && s.standstill.count() != s.standstillsAtStart
}

// timeoutOf is how long the answer to r is waited for, while its server is not
// suspect.
func (s *stream) timeoutOf(r *proto.Record) time.Duration {
	if s.timeout > 0 {
		return s.timeout
	}
	if r.Kind == proto.RecordRevoke && proto.RevokeMode(r.Value) != proto.RevokeSuperseded {
		return revokeTimeout
	}
	return askTimeout
}

// ask sends r and waits for its answer.
func (s *stream) ask(r *proto.Record) reply {
	a, err := s.start(r)
	if err != nil {
		return reply{err: err}
	}
	if answer, ok := s.await(a, s.timeoutOf(r)); ok {
		return answer
	}
	return s.giveUp(a)
}

// start sends r under an id of its own. A broadcast needs a reservation, which
// is its place in the table too. A suspect server is not waited for.
func (s *stream) start(r *proto.Record) (*ask, error) {
	a := s.askPool.Get().(*ask)
	if err := s.add(a, r.Kind == proto.RecordBroadcast); err != nil {
		s.askPool.Put(a)
		if errors.Is(err, errSilence) {
			s.sendOneWay(r)
		}
		return nil, err
	}
	err := s.send(r, a.id)
	if err != nil {
		s.giveUp(a)
		return nil, err
	}
	return a, nil
}

// askThen sends r, and calls then with its answer, or with errSilence after
// askTimeout: by any goroutine, this one too. then must not block.
func (s *stream) askThen(r *proto.Record, then func(reply)) {
	if _, err := s.startThen(r, askTimeout, then); err != nil {
		then(reply{err: err})
	}
}

// startThen is start with a callback: then is called once, as askThen says, with the answer or with
// errSilence after timeout. If startThen returns an error, then is not called.
func (s *stream) startThen(r *proto.Record, patience time.Duration, then func(reply)) (*ask, error) {
	a := &ask{then: then, timeout: patience}
	if err := s.add(a, r.Kind == proto.RecordBroadcast); err != nil {
		if errors.Is(err, errSilence) {
			s.sendOneWay(r)
		}
		return nil, err
	}
	if err := s.send(r, a.id); err != nil && s.remove(a.id) != nil {
		a.timer.Stop()
		return nil, err
	}
	return a, nil
}

// fail answers a by err, if it has no answer yet.
func (s *stream) fail(a *ask, err error) {
	if s.remove(a.id) != nil {
		a.settle(reply{err: err})
	}
}

// send sends r under id.
func (s *stream) send(r *proto.Record, id uint64) error {
	r.ID = id
	var err error
	if r.Kind == proto.RecordBroadcast {
		err = s.conn.SendReservedDirect(r)
	} else {
		err = s.conn.SendDirect(r)
	}
	switch {
	case err == nil:
		return nil
	case errors.Is(err, link.ErrFull):
		return errLinkFull
	}
	return errLinkDown
}

func (s *stream) add(a *ask, reserved bool) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.ended:
		return errLinkDown
	case s.suspect.Load():
		return errSilence
	case len(s.waiting) >= asksMax && !reserved:
		return errLinkFull
	}
	s.lastID++
	a.id = s.lastID
	s.waiting[a.id] = a
	if a.then != nil {
		a.timer = time.AfterFunc(a.timeout, func() { s.fail(a, errSilence) })
	}
	return nil
}

// nextID is an id for a record without an answer.
func (s *stream) nextID() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lastID++
	return s.lastID
}

// await waits for at most d. Without an answer the ask is still the waiter's.
func (s *stream) await(a *ask, d time.Duration) (answer reply, ok bool) {
	a.timer.Reset(d)
	select {
	case answer = <-a.reply:
		a.timer.Stop()
		s.askPool.Put(a)
		return answer, true
	case <-a.timer.C:
		return reply{}, false
	}
}

// giveUp ends the wait. It returns the answer if one has come meanwhile.
func (s *stream) giveUp(a *ask) reply {
	answer := reply{err: errSilence}
	if s.remove(a.id) == nil {
		answer = <-a.reply // another goroutine has taken it out and is about to send
	}
	s.askPool.Put(a)
	return answer
}

func (s *stream) remove(id uint64) *ask {
	s.mu.Lock()
	defer s.mu.Unlock()
	a := s.waiting[id]
	delete(s.waiting, id)
	return a
}

// answer passes r to its ask. waited is false if nothing waits for it any more. An error ends the
// link.
func (s *stream) answer(r *proto.Record) (waited bool, err error) {
	state, err := readHoldState(r)
	if err != nil {
		return false, fmt.Errorf("route: what an answer says of a session: %w", err)
	}
	a := s.remove(r.ID)
	if a == nil {
		return false, nil
	}
	a.settle(reply{verdict: r.Verdict, value: r.Value, state: state, via: s})
	return true, nil
}

// end answers all asks that it is over; no other will be taken.
func (s *stream) end() {
	s.mu.Lock()
	s.ended = true
	s.mu.Unlock()
	s.giveUpAll(errLinkDown)
}

// forget drops the ask of a startThen whose answer is no longer needed.
func (s *stream) forget(a *ask) {
	if s.remove(a.id) != nil {
		a.timer.Stop()
	}
}

// giveUpAll answers all asks that wait by err.
func (s *stream) giveUpAll(err error) {
	s.mu.Lock()
	waiting := s.waiting
	s.waiting = map[uint64]*ask{}
	s.mu.Unlock()
	for _, a := range waiting {
		a.settle(reply{err: err})
	}
}

// reserve takes room for one broadcast of size bytes, and reports whether
// there was any. One broadcast always has room.
func (s *stream) reserve(size int) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	room := s.broadcasts < broadcastsMax && s.broadcastBytes+size <= broadcastBytesMax
	if !room && s.broadcasts > 0 {
		return false
	}
	s.broadcasts++
	s.broadcastBytes += size
	return true
}

func (s *stream) unreserve(size int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.broadcasts--
	s.broadcastBytes -= size
}
