package model

import (
	"slices"

	"cim/proto"
	"cim/server/shard"
)

// keptBytes is small, so that schedules reach the bound of a shard's kept texts.
const keptBytes = 64 << 10

// server is a process with one shard, and the work of its loop.
type server struct {
	*shard.Shard
	now     shard.Tick
	conns   map[uint32]*conn // by slot
	returns []shard.Return   // handed out, and not known to be in a box
	acked   []shard.Acked    // handed out, and not removed from a box
}

// conn is a connection between a receiver and its server.
type conn struct {
	server     *server
	ref        shard.Ref
	user       proto.UserID
	generation proto.Generation
	wire       []byte // everything that the server wrote
	left       int    // how much of it has left the process
	stalled    bool   // its socket takes nothing
	ended      bool   // the session has left the directory
	closed     bool   // the server knows that the connection has ended
	paging     bool
}

func newServer(number uint16, now shard.Tick) *server {
	config := shard.Config{
		Number: number, HeartbeatTicks: 1 << 30, HeartbeatTicksV1: 1 << 30, Epoch: proto.Epoch(number) + 1,
		KeptBytesMax: keptBytes, StuckTicks: 100,
	}
	return &server{Shard: shard.New(config, now), now: now, conns: map[uint32]*conn{}}
}

// open logs a user in. The session begins held.
func (s *server) open(user proto.UserID, generation proto.Generation) *conn {
	c := &conn{server: s, ref: s.Open(), user: user, generation: generation}
	var view proto.View
	s.Read(c.ref.Slot, proto.AppendAckLogin(nil, proto.User{ID: user, Name: "u"}, proto.Ticket{}), &view)
	s.conns[c.ref.Slot] = c
	s.Accept(c.ref.Slot, shard.Login{User: user, Generation: generation, Name: "u", Dialect: proto.DialectCIM, Ack: true})
	return c
}

// write moves appended bytes to the sockets.
func (s *server) write() {
	s.BeginTurn()
	for {
		slot, data, some := s.NextWrite()
		if !some {
			return
		}
		c := s.conns[slot]
		c.wire = append(c.wire, data...)
		if !c.stalled {
			c.left = len(c.wire)
		}
		s.Wrote(slot, len(c.wire)-c.left)
	}
}

// progress lets a stalled socket take n bytes.
func (c *conn) progress(n int) {
	if c.closed {
		return
	}
	c.left = min(c.left+n, len(c.wire))
	c.server.Wrote(c.ref.Slot, len(c.wire)-c.left)
}

// tick is a tick of the loop.
func (s *server) tick() {
	s.now++
	s.Advance(s.now)
	for _, slot := range s.slots() {
		if c := s.conns[slot]; c.left < len(c.wire) {
			s.Wrote(slot, len(c.wire)-c.left)
		}
	}
	s.PollWatched(func(slot uint32) int { return len(s.conns[slot].wire) - s.conns[slot].left })
}

func (s *server) slots() []uint32 {
	var slots []uint32
	for slot := range s.conns {
		slots = append(slots, slot)
	}
	slices.Sort(slots)
	return slots
}

// close ends c's connection, as its server sees it.
func (s *server) close(c *conn) {
	if c.closed {
		return
	}
	c.closed, c.ended = true, true
	s.Closed(c.ref.Slot)
	delete(s.conns, c.ref.Slot)
}

// revoke ends the session of c, because of a newer login.
func (s *server) revoke(c *conn) {
	s.End(c.ref, proto.ReasonReplaced)
}

// collect takes everything that the shard hands out, except receipts.
func (s *server) collect() {
	s.write()
	for e, some := s.NextEnd(); some; e, some = s.NextEnd() {
		c := s.conns[e.Ref.Slot]
		if c == nil || c.ref != e.Ref {
			continue
		}
		c.ended = true
		if !e.Soft {
			s.close(c)
		}
	}
	for r, some := s.NextReturn(); some; r, some = s.NextReturn() {
		s.returns = append(s.returns, r)
	}
	for a, some := s.NextAnswer(); some; a, some = s.NextAnswer() {
		a.To.(*conn).paging = false
	}
}

// isReturning reports whether an ended session of user still has texts to be put
// into the box.
func (s *server) isReturning(user proto.UserID) bool {
	return slices.ContainsFunc(s.returns, func(r shard.Return) bool { return r.End && r.User == user })
}
