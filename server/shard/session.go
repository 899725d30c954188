package shard

import "cim/proto"

type state uint8

const (
	stateFree      state = iota // the slot has no connection
	stateOpen                   // connected, its login is awaited
	stateLoginRead              // its login frame has been handed out
	stateLive                   // logged in
	stateEnding                 // told why it ends; waits for the peer's end
)

// session is one connection and, from its login on, one user's session. What few
// sessions need is behind a pointer, and the order of the fields leaves no gaps: a
// server has a hundred thousand of them (sessionBytesMax).
type session struct {
	// Fixed at login.
	user       proto.UserID
	generation proto.Generation
	name       string      // "" in a session of another dialect than ours, which never sends
	limits     *SendLimits // of what it sends; nil: none
	since      Tick        // of the login
	expires    Tick        // when it must end; 0: never
	dialect    proto.Dialect

	state    state
	queued   bool // its bytes wait in the outbox's order
	reuse    uint32
	lastRead Tick // tick of the last whole frame

	unsent    int32   // handed out, not yet taken by the socket; about UnsentBytesMax at most
	partial   *[]byte // the beginning of a frame whose rest has not come, <= frame bound; nil: none
	pending   []byte  // appended for it, not yet handed out; from the outbox's buffers
	seen      uint64  // the last broadcast that it was given, or that was left out for it
	holds     uint32  // how often it was held; the first time by its login
	held      bool    // live private messages are refused with VerdictBehind
	listed    bool    // is in the shard's list of held sessions
	discarded bool    // it ended as slow, and what was pending was thrown away

	page   *awaitedPage // nil: none
	cursor uint64       // the highest serial of a page that was appended

	progressAt  Tick   // when the peer's kernel last acknowledged something
	counted     mark   // counted texts that it was given; only if it acknowledges
	acked       mark   // what of it was given is acknowledged
	handed      uint64 // bytes that the loop has been handed
	kept        *kept  // nil: nothing
	ack         bool   // its client acknowledges texts
	stuck       bool   // its peer's kernel takes nothing
	polled      bool   // NextPoll has handed it out, and Left has not come since
	watched     bool   // is in the shard's list of connections whose kernel is asked
	saidGoodbye bool   // its client said goodbye: what its kernel has, it reads
	replaced    bool   // its user's next session waits for its end: pages stay in the box
	returnDue   bool   // it has ended, and a Return follows once its connection has closed

	lag     *lag     // nil: no broadcast was left out for it
	sending *sending // nil: it has sent nothing that limits count
}

// partialFrame is the beginning of a frame whose rest has not come.
func (c *session) partialFrame() []byte {
	if c.partial == nil {
		return nil
	}
	return *c.partial
}

// waiting is how many bytes have not left the process.
func (c *session) waiting() int { return int(c.unsent) + len(c.pending) }

// Login is who a connection says it is, as the directory judged it.
type Login struct {
	User       proto.UserID
	Generation proto.Generation
	Name       string
	Dialect    proto.Dialect
	Expires    Tick // the session ends then, with ReasonExpired; 0: never
	Ack        bool // its client acknowledges texts; only of ours
	// Limits are how often it may send; nil: without a bound. The sessions of a
	// shard share it.
	Limits *SendLimits
}

// Accept makes the connection, whose login Read handed out, the session of a
// user. It begins held, unless it came without a grant: no route need know of
// it then, and what another session sends must not wait for one. A client of
// ours is told at once. The result counts its holds.
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

// Hold makes the session of ref refuse live private messages until it is
// resumed: VerdictTaken. While texts that it keeps are not in the box it is
// VerdictReturning: it is held, and what is stored now would come before them.
func (s *Shard) Hold(ref Ref) (Held, proto.Verdict) {
	c := s.find(ref)
	if c == nil {
		return Held{}, proto.VerdictAbsent
	}
	s.listHeld(ref, c)
	c.held = true
	c.holds++
	if s.refuseHeld(ref, c) == proto.VerdictReturning {
		return c.asHeld(), proto.VerdictReturning
	}
	return c.asHeld(), proto.VerdictTaken
}

// holdBack holds a session for the shard's own reasons, and says what becomes of
// a live message now.
func (s *Shard) holdBack(ref Ref, c *session) proto.Verdict {
	if !c.held {
		s.listHeld(ref, c)
		c.held = true
		c.holds++
	}
	return s.refuseHeld(ref, c)
}

// refuseHeld is the verdict on a live message to a held session. What the session
// keeps must be in the box before anything that is newer.
func (s *Shard) refuseHeld(ref Ref, c *session) proto.Verdict {
	if !c.kept.hasLive() {
		return proto.VerdictBehind
	}
	s.flush(ref, c, c.kept.end())
	return proto.VerdictReturning
}

func (c *session) asHeld() Held {
	return Held{User: c.user, Generation: c.generation, Holds: uint64(c.holds), Cursor: c.cursor}
}

// Resume ends the hold of ref's session if it has been held holds times.
// Otherwise a message has been stored meanwhile: VerdictBehind, and the count that
// it has now. VerdictBusy: its peer's kernel takes nothing; VerdictReturning: texts
// are on their way from it to the box. It is still held then: ask again later.
func (s *Shard) Resume(ref Ref, holds uint64) (Held, proto.Verdict) {
	c := s.find(ref)
	switch {
	case c == nil:
		return Held{}, proto.VerdictAbsent
	case uint64(c.holds) != holds:
		return c.asHeld(), proto.VerdictBehind
	case c.stuck:
		return c.asHeld(), proto.VerdictBusy
	case c.kept.flushes():
		return c.asHeld(), proto.VerdictReturning
	}
	c.held = false
	return c.asHeld(), proto.VerdictTaken
}

// listHeld puts a session into the list that EachHeld walks, once.
func (s *Shard) listHeld(ref Ref, c *session) {
	if !c.listed {
		c.listed = true
		s.held = append(s.held, ref)
	}
}

// Held is a session that is held, or was until now.
type Held struct {
	User       proto.UserID
	Generation proto.Generation
	Holds      uint64 // how often it was held
	Cursor     uint64 // the highest serial of a page that it was given; 0: none
}

// EachHeld calls visit with the live sessions that wait for their catch-up.
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
		visit(c.asHeld())
	}
	s.held = kept
}

// End is a connection that the loop must end: at once, or softly, which means
// to shut its sending side down behind what was written, and to wait for the
// peer's end.
type End struct {
	Ref        Ref
	User       proto.UserID // 0 if it was not logged in
	Generation proto.Generation
	Reason     proto.Reason
	Soft       bool
	// Returning: a Return with End follows, when its connection has closed at the
	// latest. Until that is in the box, nothing may be stored for its user.
	Returning bool
}

// NextEnd hands out the next connection to end. Its slot stays taken until
// Closed.
func (s *Shard) NextEnd() (End, bool) { return s.ends.pop() }

// Ending reports whether NextEnd has something.
func (s *Shard) Ending() bool { return !s.ends.empty() }

// End ends the session of ref for reason; a client of ours is told.
func (s *Shard) End(ref Ref, reason proto.Reason) {
	if c := s.find(ref); c != nil {
		s.appendClose(ref.Slot, c, reason)
		s.end(ref.Slot, c, reason)
	}
}

// Evict ends the connection of ref at once, unless it is logged in. Nothing is
// lost with it.
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

// discardPending throws away what was pending for a session whose user may have another
// one by now.
func (s *Shard) discardPending(c *session) {
	if len(c.pending) == 0 {
		return
	}
	c.discarded = true
	s.answerPage(c, proto.VerdictAbsent)
	c.pending = c.pending[:0]
}

// appendClose appends a CLOSE frame where the client understands it and it can still
// be written.
func (s *Shard) appendClose(slot uint32, c *session, reason proto.Reason) {
	if c.state == stateLive && c.dialect == proto.DialectCIM && c.waiting() < UnsentBytesMax {
		s.out.append(slot, c, func(dst []byte) []byte { return proto.AppendClose(dst, reason) })
	}
}

// end takes the session out of its user's hands. What was appended for it is
// still written, softly, unless its reader is slow: then nothing more is, so
// that what was not taken can be stored without coming twice.
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
