// Package shard is the pure core of one event loop: its sessions, their
// heartbeats, the bytes not yet written to them, and the broadcasts that go
// round.
//
// A Shard has one owner, the loop that made it. It starts no goroutine, takes
// no lock, reads no clock and knows no socket. What happens comes in as a call,
// with the present tick where time matters; what must happen outside is handed
// out one at a time, by Read, NextWrite, NextEnd and NextAnswer, and the loop
// does it between its calls. A slice that the shard hands out is valid until
// the next call.
package shard

import (
	"cim/internal/wheel"
	"cim/proto"
)

// Tick is the shard's unit of time: TickMillis milliseconds.
type Tick = wheel.Tick

// TickMillis is how long a tick lasts. Time-outs are late by one at most.
const TickMillis = 100

// Bounds of one session, each with its reason.
const (
	// UnsentBytesMax bounds what waits for one slow reader. Past it the session
	// ends with ReasonSlow. The memory that this takes is more, by what buffers
	// are rounded up: it stays below 256 KiB.
	UnsentBytesMax = 192 << 10
	// LoginTicks is the time for a whole login frame, 5 s.
	LoginTicks Tick = 5_000 / TickMillis
	// LingerTicks is how long a session that was told why it ends may take to
	// read that, 1 s.
	LingerTicks Tick = 1_000 / TickMillis
	// PageTicks is how long a page of a catch-up may take to leave the
	// process, 20 s: less than whoever sent it waits, so that it is never sent
	// again while it may still arrive.
	PageTicks Tick = 20_000 / TickMillis
	// LagTicks is how long a session for which broadcasts were left out may take
	// nothing of what waits for it before it ends with ReasonSlow, 30 s: as long as a
	// client may be silent.
	LagTicks Tick = 30_000 / TickMillis
	// pauseTicks is a jump of the clock that means that the process stood
	// still: what clients sent meanwhile has not been read yet.
	pauseTicks Tick = 1_000 / TickMillis
)

// Config is what a shard is told once.
type Config struct {
	Number           uint16      // of this shard, in its Refs
	HeartbeatTicks   Tick        // silence after which a session ends
	HeartbeatTicksV1 Tick        // the same of a session of dialect v1, whose clients ping seldom
	Epoch            proto.Epoch // for login answers
	// KeptBytesMax bounds the memory of the texts that the sessions keep together
	// until they are acknowledged. 0: none is kept, and Accept grants no Ack.
	KeptBytesMax int
	// StuckTicks is how long a peer that does not acknowledge texts may leave
	// bytes unacknowledged in the kernel, none moving, before its session is held.
	StuckTicks Tick
}

// Ref names a session across goroutines. Reuse grows each time a slot is
// reused, so a Ref kept too long finds nothing instead of finding a stranger.
// The zero Ref finds nothing.
type Ref struct {
	Shard       uint16
	Slot, Reuse uint32
}

// Shard is the state of one event loop.
type Shard struct {
	config Config
	now    Tick
	// resumed is the last tick at which the process had stood still; silence
	// counts from there at the earliest.
	resumed Tick
	timers  *wheel.Wheel

	// Sessions lie in chunks that never move; a free slot is reused last in,
	// first out.
	chunks [][]session
	free   []uint32
	open   int // slots in use
	live   int // of them, logged in
	memory int // bytes, of all sessions

	rotor   rotor
	out     outbox
	held    []Ref // sessions that waited for their catch-up when last looked at
	leaving leaving

	// What sessions keep until it is acknowledged.
	keptTexts, keptBytes int
	spares               []*kept
	spareBytes           int
	lagging              []Ref // sessions for which broadcasts were left out, once each
	watched              []Ref // connections whose peer's kernel is asked, once each
	flushes              *wheel.Wheel
	relieved             uint32          // the slot that relieve looks at next
	returns              fifo[returning] // at most two for each session
	receipts             fifo[Receipt]   // at most one for each kept text
	acked                fifo[Acked]     // of at most StoredKeysMax keys for each session
	removalRefs          fifo[Ref]       // sessions whose keys wait for NextAcked
	polls                fifo[Ref]       // sessions of clients that do not acknowledge, once each

	paces map[uint32]*pace // by slot: of clients of dialect v1 that have a page, or had one in this tick

	ends    fifo[End]    // at most three for each open slot
	answers fifo[Answer] // at most one for each page and broadcast
	stats   Stats
}

// Stats counts since the shard was made.
type Stats struct {
	FramesIn   uint64
	Deliveries uint64 // frames handed to sessions; a batch counts once
	LeftOut    uint64 // broadcasts that were not given to a session whose reader lags
	Writes     uint64
	BytesOut   uint64
}

// chunkSize is the sessions of a chunk, a power of two.
const chunkSize = 256

// New returns a shard without sessions whose time is now.
func New(config Config, now Tick) *Shard {
	return &Shard{config: config, now: now, resumed: now, timers: wheel.New(now), flushes: wheel.New(now), paces: make(map[uint32]*pace)}
}

// Open takes a slot for a new connection and starts its time to log in.
func (s *Shard) Open() Ref {
	if len(s.free) == 0 {
		s.grow()
	}
	slot := s.free[len(s.free)-1]
	s.free = s.free[:len(s.free)-1]
	c := s.at(slot)
	reuse := c.reuse + 1
	*c = session{reuse: reuse, state: stateOpen}
	s.open++
	s.timers.Set(slot, s.now+LoginTicks)
	return Ref{Shard: s.config.Number, Slot: slot, Reuse: reuse}
}

func (s *Shard) grow() {
	first := uint32(len(s.chunks)) * chunkSize
	s.chunks = append(s.chunks, make([]session, chunkSize))
	for i := range uint32(chunkSize) {
		s.free = append(s.free, first+chunkSize-1-i)
	}
}

// Closed gives a slot back after its connection has closed, whoever closed it.
// It returns the session's user and generation if it was still logged in, so
// that the loop can tell the directory; user 0 otherwise.
func (s *Shard) Closed(slot uint32) (proto.UserID, proto.Generation) {
	c := s.at(slot)
	user, generation := s.leave(c)
	s.answerPage(c, proto.VerdictAbsent)
	s.timers.Cancel(slot)
	s.setPartial(c, nil)
	s.setUnsent(c, 0)
	s.out.drop(c)
	s.closeKept(slot, c, user != 0)
	*c = session{reuse: c.reuse}
	s.free = append(s.free, slot)
	s.open--
	return user, generation
}

// leave ends a session's being logged in; its connection may linger.
func (s *Shard) leave(c *session) (proto.UserID, proto.Generation) {
	if c.state != stateLive {
		return 0, 0
	}
	c.state = stateEnding
	s.live--
	return c.user, c.generation
}

// Sessions returns how many connections are open, and how many of them are
// logged in.
func (s *Shard) Sessions() (open, live int) { return s.open, s.live }

// Stats returns the counts so far.
func (s *Shard) Stats() Stats { return s.stats }

func (s *Shard) at(slot uint32) *session {
	return &s.chunks[slot/chunkSize][slot%chunkSize]
}

// find returns the live session that ref names, or nil.
func (s *Shard) find(ref Ref) *session {
	if c := s.connected(ref); c != nil && c.state == stateLive {
		return c
	}
	return nil
}

// connected returns the session that ref names, live or not, until its connection has
// closed; else nil.
func (s *Shard) connected(ref Ref) *session {
	if ref.Slot/chunkSize >= uint32(len(s.chunks)) {
		return nil
	}
	c := s.at(ref.Slot)
	if c.reuse != ref.Reuse || c.state == stateFree {
		return nil
	}
	return c
}

// Written reports whether what Deliver took for ref's session since the last
// NextWrite has been handed to its socket: its connection has not closed, and
// nothing that was pending for it was thrown away.
func (s *Shard) Written(ref Ref) bool {
	c := s.at(ref.Slot)
	return c.reuse == ref.Reuse && c.state != stateFree && !c.discarded
}

// Answer goes to whoever asked for something that took time: To is what came
// with the question.
type Answer struct {
	To      any
	Verdict proto.Verdict
	Given   int // of a broadcast: the sessions that were given it
}

// NextAnswer hands out the next answer that is due.
func (s *Shard) NextAnswer() (Answer, bool) { return s.answers.pop() }
