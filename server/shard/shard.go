// Package shard is the pure core of one event loop: its sessions, their heartbeats,
// the bytes not yet written to them, and the broadcasts that go round.
//
// A Shard has one owner, the loop that made it. It starts no goroutine, takes no
// lock, reads no clock and knows no socket. Events come in as calls, with the
// present tick where time matters. Work for the outside is handed out one item at a
// time, by Read, NextWrite, NextEnd and NextAnswer, and the loop does it between
// its calls. A slice that the shard hands out is valid until the next call.
package shard

import (
	"cim/internal/wheel"
	"cim/proto"
)

// Tick is the shard's unit of time: TickMillis milliseconds.
type Tick = wheel.Tick

// TickMillis is the length of a tick. Time-outs are late by one tick at most.
const TickMillis = 100

// Bounds of one session, each with its reason.
const (
	// UnsentBytesMax bounds the bytes that wait for one slow reader. Above it the
	// session ends with ReasonSlow. With rounding of buffers, its memory stays
	// below 256 KiB.
	UnsentBytesMax = 192 << 10
	// LoginTicks is the time for a whole login frame, 5 s.
	LoginTicks Tick = 5_000 / TickMillis
	// LingerTicks is how long a session may take to read the reason of its end, 1
	// s.
	LingerTicks Tick = 1_000 / TickMillis
	// PageTicks is how long a page of a catch-up may take to leave the process, 20
	// s: less than its sender waits, so that it is never sent again while it may
	// still arrive.
	PageTicks Tick = 20_000 / TickMillis
	// LagTicks is how long the reader of a session for which broadcasts were left
	// out may take nothing before the session ends with ReasonSlow, 30 s: as long
	// as a client may be silent.
	LagTicks Tick = 30_000 / TickMillis
	// pauseTicks is a jump of the clock that means that the process stood still:
	// what clients sent meanwhile has not been read yet.
	pauseTicks Tick = 1_000 / TickMillis
)

// Config is the configuration of a shard.
type Config struct {
	Number           uint16      // of this shard, in its Refs
	HeartbeatTicks   Tick        // silence after which a session ends
	HeartbeatTicksV1 Tick        // the same for a session of dialect v1, whose clients ping rarely
	Epoch            proto.Epoch // for login answers
	// KeptBytesMax bounds the memory of all texts that the sessions keep until they
	// are acknowledged. 0: none is kept, and Accept grants no Ack.
	KeptBytesMax int
	// StuckTicks is how long the kernel of a peer that does not acknowledge texts
	// may acknowledge no byte, while bytes are outstanding, before its session is
	// held.
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
	// resumed is the last tick at which the process had stood still; silence counts
	// from there at the earliest.
	resumed Tick
	timers  *wheel.Wheel

	// Sessions lie in chunks that never move; a free slot is reused last in, first
	// out.
	chunks [][]session
	free   []uint32
	open   int // slots in use
	live   int // of them, logged in
	memory int // bytes, of all sessions

	rotor   rotor
	out     outbox
	held    []Ref // sessions that waited for their catch-up at the last check
	leaving leaving

	// Kept texts.
	keptTexts, keptBytes int
	spares               []*kept
	spareBytes           int
	lagging              []Ref // sessions for which broadcasts were left out, once each
	watched              []Ref // connections whose peer's kernel is polled, once each
	flushes              *wheel.Wheel
	relieved             uint32          // the next slot that relieve checks
	returns              fifo[returning] // at most two for each session
	receipts             fifo[Receipt]   // at most one for each kept text
	acked                fifo[Acked]     // of at most StoredKeysMax keys for each session
	removalRefs          fifo[Ref]       // sessions with removals for NextAcked
	polls                fifo[Ref]       // sessions of clients that do not acknowledge, once each, for NextPoll

	paces map[uint32]*pace // by slot: clients of dialect v1 with a page, or that had one in this tick

	ends    fifo[End]    // at most three for each open slot
	answers fifo[Answer] // at most one for each page and broadcast
	stats   Stats
}

// Stats counts since the shard was made.
type Stats struct {
	FramesIn   uint64
	Deliveries uint64 // frames handed to sessions; a batch counts once
	LeftOut    uint64 // broadcasts left out for sessions with lagging readers
	Writes     uint64
	BytesOut   uint64
}

// chunkSize is the number of sessions in a chunk, a power of two.
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

// Closed frees a slot after its connection has closed, from either side. It returns
// the user and the generation if the session was still logged in, so that the loop
// can update the directory; user 0 otherwise.
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

// leave ends the login of a session; its connection may linger.
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

// connected returns the session of ref, live or not, until its connection has
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

// Written reports whether the messages that ref's session took since the last
// NextWrite have been handed to its socket: its connection has not closed, and its
// pending bytes were not discarded.
func (s *Shard) Written(ref Ref) bool {
	c := s.at(ref.Slot)
	return c.reuse == ref.Reuse && c.state != stateFree && !c.discarded
}

// Answer answers a call that took time: To is the argument of that call.
type Answer struct {
	To      any
	Verdict proto.Verdict
	Given   int // for a broadcast: the sessions that got it
}

// NextAnswer hands out the next answer.
func (s *Shard) NextAnswer() (Answer, bool) { return s.answers.pop() }
