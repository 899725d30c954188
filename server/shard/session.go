package shard

import "cim/proto"

type state uint8

const (
	stateFree      state = iota // the slot has no connection
	stateOpen                   // connected, before its login
	stateLoginRead              // its login frame has been handed out
	stateLive                   // logged in
	stateEnding                 // has its reason; waits for the peer's close
)

// session is one connection and, after its login, one user's session. What few
// sessions need is behind a pointer, and the order of the fields leaves no gaps: a
// server has a hundred thousand sessions (sessionBytesMax).
type session struct {
	// Fixed at login.
	user       proto.UserID
	generation proto.Generation
	name       string      // "" in a session of another dialect than ours, which never sends
	limits     *SendLimits // of its messages; nil: no limit
	since      Tick        // of the login
	expires    Tick        // when it must end; 0: never
	dialect    proto.Dialect

	state    state
	queued   bool // its bytes wait in the outbox's order
	reuse    uint32
	lastRead Tick // tick of the last whole frame

	unsent    int32   // handed out, not taken by the socket; about UnsentBytesMax at most
	partial   *[]byte // the received part of an incomplete frame, <= frame bound; nil: none
	pending   []byte  // appended, not handed out; from the outbox's buffers
	seen      uint64  // the last broadcast that it got, or that was left out for it
	holds     uint32  // how often it was held; the first time by its login
	held      bool    // live private messages are refused with VerdictBehind
	listed    bool    // in the shard's list of held sessions
	discarded bool    // it ended as slow, and its pending bytes were discarded

	page   *awaitedPage // nil: none
	cursor uint64       // the highest serial of a page that was appended

	progressAt  Tick   // when the peer's kernel last acknowledged bytes
	counted     mark   // counted texts that it was given; only if it acknowledges
	acked       mark   // up to here it has acknowledged
	handed      uint64 // bytes that the loop has been handed
	kept        *kept  // nil: nothing
	ack         bool   // its client acknowledges texts
	stuck       bool   // the peer's kernel takes nothing
	polled      bool   // NextPoll has handed it out, and SetUnacked has not come since
	watched     bool   // in the shard's list of watched connections
	saidGoodbye bool   // its client said goodbye, and reads what its kernel has
	replaced    bool   // a newer session of its user waits for its end: pages stay in the box
	returnDue   bool   // it has ended, and a Return follows when its connection has closed

	lag     *lag     // nil: no broadcast was left out for it
	sending *sending // nil: it has sent no message that limits count
}

// partialFrame is the received part of an incomplete frame.
func (c *session) partialFrame() []byte {
	if c.partial == nil {
		return nil
	}
	return *c.partial
}

// waiting is how many bytes have not left the process.
func (c *session) waiting() int { return int(c.unsent) + len(c.pending) }

// Login is the login of a connection, as the directory judged it.
type Login struct {
	User       proto.UserID
	Generation proto.Generation
	Name       string
	Dialect    proto.Dialect
	Expires    Tick // the session ends then, with ReasonExpired; 0: never
	Ack        bool // its client acknowledges texts; only of ours
	// Limits bound how often it may send; nil: no limit. The sessions of a shard
	// share it.
	Limits *SendLimits
}

// Accept makes the connection, whose login Read handed out, the session of a user.
// The session begins held, unless it has no grant: then no route need know of it,
// and messages from other sessions must not wait for one. A client of ours gets its
// answer at once. The result counts the session's holds.
func (s *Shard) Accept(slot uint32, login Login) uint64 {
	c := s.at(slot)
	if c.state != stateLoginRead {
		panic("shard: accept of a connection that did not ask")
	}
	c.state, c.user, c.generation, c.dialect = stateLive, login.User, login.Generation, login.Dialect
	c.expires, c.limits = login.Expires, login.Limits
	c.ack = login.Ack && s.keepsTexts() && login.Generation != 0 && login.Dialect == proto.DialectCIM
	c.lastRead, c.since = s.now, s.now
	c.held, c.holds = login.Generation != 0, 1
	c.seen = s.rotor.last
	s.live++
	s.setDeadline(slot, c, s.now+s.heartbeat(c))
	if c.held {
		s.listHeld(Ref{s.config.Number, slot, c.reuse}, c)
	}
	if c.dialect == proto.DialectCIM {
		c.name = login.Name
		s.out.append(slot, c, func(dst []byte) []byte {
			return proto.AppendLoginAnswer(dst, proto.LoginAnswer{
				User: c.user, Generation: c.generation, Epoch: s.config.Epoch,
				Heartbeat: int(s.config.HeartbeatTicks) * TickMillis / 1000, Ack: c.ack,
			})
		})
	}
	return uint64(c.holds)
}

// Refuse ends the connection whose login Read handed out.
func (s *Shard) Refuse(slot uint32, dialect proto.Dialect, reason proto.Reason) {
	c := s.at(slot)
	if dialect == proto.DialectCIM {
		s.out.append(slot, c, func(dst []byte) []byte {
			return proto.AppendLoginAnswer(dst, proto.LoginAnswer{Reason: reason})
		})
	}
	s.end(slot, c, reason)
}

// Hold makes the session of ref refuse live private messages until it is resumed:
// VerdictTaken. VerdictReturning: it is held, but some of its kept texts are not in
// the box, and a message stored now would come before them.
func (s *Shard) Hold(ref Ref) (Held, proto.Verdict) {
	c := s.find(ref)
	if c == nil {
		return Held{}, proto.VerdictAbsent
	}
	s.listHeld(ref, c)
	c.held = true
	c.holds++
	if s.refuseHeld(ref, c) == proto.VerdictReturning {
		return s.asHeld(c), proto.VerdictReturning
	}
	return s.asHeld(c), proto.VerdictTaken
}

// holdBack holds a session for the shard's own reasons, and returns the verdict on
// a live message.
func (s *Shard) holdBack(ref Ref, c *session) proto.Verdict {
	if !c.held {
		s.listHeld(ref, c)
		c.held = true
		c.holds++
	}
	return s.refuseHeld(ref, c)
}

// refuseHeld is the verdict on a live message to a held session. The kept texts of
// the session must be in the box before any newer message.
func (s *Shard) refuseHeld(ref Ref, c *session) proto.Verdict {
	if !c.kept.hasLive() {
		return proto.VerdictBehind
	}
	s.flush(ref, c, c.kept.end())
	return proto.VerdictReturning
}

func (s *Shard) asHeld(c *session) Held {
	return Held{User: c.user, Generation: c.generation, Holds: uint64(c.holds), Cursor: c.cursor, Full: !s.hasRoomForPage(c)}
}

// Resume ends the hold of ref's session if its count of holds is holds.
// VerdictBehind: it is not, since a message has been stored meanwhile, and the
// result has the present count. VerdictBusy: the peer's kernel takes nothing.
// VerdictReturning: texts are on their way from the session to the box. After these
// the session is still held: ask again later.
func (s *Shard) Resume(ref Ref, holds uint64) (Held, proto.Verdict) {
	c := s.find(ref)
	switch {
	case c == nil:
		return Held{}, proto.VerdictAbsent
	case uint64(c.holds) != holds:
		return s.asHeld(c), proto.VerdictBehind
	case c.stuck:
		return s.asHeld(c), proto.VerdictBusy
	case c.kept.flushPending():
		return s.asHeld(c), proto.VerdictReturning
	}
	c.held = false
	return s.asHeld(c), proto.VerdictTaken
}

// listHeld adds a session to the list that EachHeld walks, once.
func (s *Shard) listHeld(ref Ref, c *session) {
	if !c.listed {
		c.listed = true
		s.held = append(s.held, ref)
	}
}

// Held describes a session that is held, or was until now.
type Held struct {
	User       proto.UserID
	Generation proto.Generation
	Holds      uint64 // count of holds
	Cursor     uint64 // the highest serial of a page that it was given; 0: none
	Full       bool   // it has no room for a page
}

// EachHeld calls visit with the live sessions that wait for their catch-up and
// have room for a page of it. The route of a session without room would read a page
// from the store in vain, as often as it is asked to.
func (s *Shard) EachHeld(visit func(Held)) {
	kept := s.held[:0]
	for _, ref := range s.held {
		c := s.find(ref)
		if c == nil {
			continue
		}
		if !c.held {
			c.listed = false
			continue
		}
		kept = append(kept, ref)
		if held := s.asHeld(c); !held.Full {
			visit(held)
		}
	}
	s.held = kept
}

// End is a connection that the loop must close: at once, or softly, which means to
// shut its sending side down after the last write and to wait until the peer
// closes.
type End struct {
	Ref        Ref
	User       proto.UserID // 0 if it was not logged in
	Generation proto.Generation
	Reason     proto.Reason
	Soft       bool
	// Returning: a Return with End follows, at the latest when the connection has
	// closed. Until that is in the box, nothing may be stored for the user.
	Returning bool
}

// NextEnd hands out the next connection to close. Its slot stays taken until
// Closed.
func (s *Shard) NextEnd() (End, bool) { return s.ends.pop() }

// Ending reports whether NextEnd has something.
func (s *Shard) Ending() bool { return !s.ends.empty() }

// End ends the session of ref for reason; a client of ours gets a CLOSE.
func (s *Shard) End(ref Ref, reason proto.Reason) {
	if c := s.find(ref); c != nil {
		s.appendClose(ref.Slot, c, reason)
		s.end(ref.Slot, c, reason)
	}
}

// Evict ends the connection of ref at once, unless it is logged in. Nothing is lost
// with it.
func (s *Shard) Evict(ref Ref) {
	if ref.Slot/chunkSize >= uint32(len(s.chunks)) {
		return
	}
	c := s.at(ref.Slot)
	switch {
	case c.reuse != ref.Reuse || c.state == stateFree || c.state == stateLive:
	case c.state == stateEnding:
		s.ends.push(End{Ref: ref, Reason: proto.ReasonNone})
	default:
		s.end(ref.Slot, c, proto.ReasonFull)
		s.ends.push(End{Ref: ref, Reason: proto.ReasonNone})
	}
}

// EndAll ends every connection, for reason.
func (s *Shard) EndAll(reason proto.Reason) {
	for slot := range uint32(len(s.chunks)) * chunkSize {
		c := s.at(slot)
		if c.state == stateFree || c.state == stateEnding {
			continue
		}
		if reason == proto.ReasonLease {
			s.discardPending(c)
		}
		s.appendClose(slot, c, reason)
		s.end(slot, c, reason)
	}
}

// discardPending discards the pending bytes of a session whose user may have a
// newer session by now.
func (s *Shard) discardPending(c *session) {
	if len(c.pending) == 0 {
		return
	}
	c.discarded = true
	s.answerPage(c, proto.VerdictAbsent)
	c.pending = c.pending[:0]
}

// appendClose appends a CLOSE frame if the client understands it and it can still
// be written.
func (s *Shard) appendClose(slot uint32, c *session, reason proto.Reason) {
	if c.state == stateLive && c.dialect == proto.DialectCIM && c.waiting() < UnsentBytesMax {
		s.out.append(slot, c, func(dst []byte) []byte { return proto.AppendClose(dst, reason) })
	}
}

// end ends the session. Bytes that were appended before are still written, and the
// end is soft. If the reader is slow, nothing more is written, so that untaken
// messages can be stored without coming twice.
func (s *Shard) end(slot uint32, c *session, reason proto.Reason) {
	ref := Ref{s.config.Number, slot, c.reuse}
	user, generation := s.leave(c)
	c.state = stateEnding
	s.setPartial(c, nil)
	slow := reason == proto.ReasonSlow || reason == proto.ReasonMemory
	c.saidGoodbye = reason == proto.ReasonEnded // else its connection may be about to be reset
	c.replaced = reason == proto.ReasonReplaced
	if !c.pageComplete() {
		s.answerPage(c, proto.VerdictAbsent) // the rest of it never comes
	}
	if slow {
		c.discarded = len(c.pending) > 0
		s.answerPage(c, proto.VerdictAbsent)
		s.out.drop(c)
	}
	s.timers.Set(slot, s.now+LingerTicks)
	s.ends.push(End{Ref: ref, User: user, Generation: generation, Reason: reason, Soft: !slow, Returning: s.endKept(slot, c)})
}
