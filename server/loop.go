package server

import (
	"sync/atomic"

	"github.com/panjf2000/gnet/v2"

	"cim/internal/admission"
	"cim/proto"
	"cim/server/shard"
)

// loop is one event loop of gnet with its shard.
type loop struct {
	// Shared: the mailbox and the gauge guard themselves, the rest is fixed.
	server   *Server
	number   uint16
	mailbox  mailbox
	shedding atomic.Bool // it has been asked to, and the gauges do not show it yet
	gauge    loopGauge
	probe    probe
	events   gnet.EventLoop // fixed before clients are let in
	waiting  waiting

	// Guarded by the client port.
	connections int          // of clients, those that gnet is enrolling too
	enrolling   []enrollment // oldest first; <= enrollingMax

	// The event loop's goroutine only.
	shard         *shard.Shard
	conns         []*connection  // by slot; nil where the slot is free
	backlogged    []*connection  // some of their bytes the socket has not taken
	pendingWrites []pendingWrite // verdicts that wait for the write
	// Sessions that have ended: whether what they return is still to come (true), or
	// has come before their end was handed out.
	returning map[shard.Ref]bool
	// Servers whose session of the same user may still return what it kept, by the
	// session here that must wait for it. Few have one.
	older     map[shard.Ref]proto.Epoch
	pages     pageWait
	mail      mail
	view      proto.View
	body      []byte     // of the SEND that is being delivered
	pauses    uint64     // as of this visit
	losses    uint64     // of the lease, those that it has heeded
	ticked    shard.Tick // the last tick that was looked at
	announced shard.Tick // when sessions without their catch-up were last announced
	turn      uint64     // how often they were
	published shard.Stats
	hasShed   bool // since the gauges were renewed
	unwritten int  // bytes that were read, or brought by the mail, since the last write
	again     bool // the mail is to be answered once the present events are dealt with
	draining  bool
}

// connection is the context of a gnet connection. The order of its fields leaves
// no gaps, and what few connections need is behind a pointer or in a map of the
// loop: a server has a hundred thousand of them (connectionBytesMax).
type connection struct {
	loop       *loop
	conn       gnet.Conn // nil until gnet has enrolled it
	backlog    *[]byte   // of what the socket has not taken, the last bytes; < blockBytes. nil: none
	ip         [16]byte  // its peer's address, since gnet's has none (see address.go)
	unwritten  int32     // bytes whose write failed, or came too late
	ref        shard.Ref
	own        bool // it comes from this machine, by another address than loopback
	backlogged bool // is in the loop's list
	ending     bool // its sending side is shut down once all has been sent
	shut       bool // its sending side is shut down
	acks       bool // its session acknowledges texts
	refused    bool // its login was, and has been logged

	// Guarded by the client port.
	isOpen  bool // ref is valid
	evicted bool
	place   *admission.Place[*connection] // nil once it has left
}

// pendingWrite is a message that a session took and whose bytes are on their way to
// the socket. Whoever sent it learns the verdict when they are there.
type pendingWrite struct {
	ref       shard.Ref
	requester requester // nil: it is a SEND
	id        uint64
	send      send
	written   bool            // its bytes have been handed to the socket
	kept      bool            // the session keeps it until it is acknowledged
	receipt   shard.ReceiptTo // that is wanted of a push
}

// onOpen gives a new connection its slot.
func (l *loop) onOpen(c *connection, g gnet.Conn) {
	l.answerProbe()
	c.conn, c.ref = g, l.shard.Open()
	for uint32(len(l.conns)) <= c.ref.Slot {
		l.conns = append(l.conns, nil)
	}
	l.conns[c.ref.Slot] = c
	l.waiting.onOpened(c)
}

// onClosed takes the slot back, whoever closed the connection. endOfFile: a read has
// said that the peer has closed its end, which a reset may look like too.
func (l *loop) onClosed(c *connection, endOfFile bool) {
	l.answerProbe()
	if l.shard.NeedsUnacked(c.ref.Slot) {
		l.shard.SetUnacked(c.ref.Slot, c.unacknowledged())
		if endOfFile && finishedByPeer(c.conn.Fd(), c.shut) {
			l.shard.PeerFinished(c.ref.Slot)
		}
	}
	l.discard(c)
	l.conns[c.ref.Slot] = nil
	delete(l.older, c.ref)
	l.waiting.onClosed(c)
	user, generation := l.shard.Closed(c.ref.Slot)
	l.forwardAcked()
	l.forwardKept()
	if user != 0 {
		delete(l.returning, c.ref) // its end is not handed out
		l.server.metrics.ends[proto.ReasonNone].Inc()
		l.server.forget(user, generation, c.ref)
	}
	l.sendAnswers()
}

// onTraffic reads what came in on a connection. The bytes are a view into gnet's
// buffer and end with this call.
func (l *loop) onTraffic(c *connection, data []byte) {
	l.handleData(c, data)
	l.write()
}

// handleData is traffic whose answers are not written yet.
func (l *loop) handleData(c *connection, data []byte) {
	l.advance()
	for {
		var request shard.Request
		request, data = l.shard.Read(c.ref.Slot, data, &l.view)
		switch request {
		case shard.RequestLogin:
			l.login(c)
		case shard.RequestSend:
			l.send(c)
		default:
			if l.shard.Ending() {
				l.again = true // never close a connection while gnet reads from one
			}
			return
		}
	}
}

func (l *loop) login(c *connection) {
	view := &l.view
	dialect, user := view.LoginDialect(), proto.UserID(view.ID)
	claimed, refused := claim{}, refusal{reason: proto.ReasonFull} // it has been evicted
	l.server.returns.expect(user)
	if l.server.clients.use(c) {
		claimed, refused = l.server.admit(user, view, c.ref, origin{addr: c.addr(), own: c.own})
	}
	reason := refused.reason
	l.server.metrics.logins[reason].Inc()
	if reason != proto.ReasonNone {
		l.server.returns.arrived(user)
		l.server.loginRefused(user, refused, c.address())
		c.refused = true
		l.shard.Refuse(c.ref.Slot, dialect, reason)
		return
	}
	l.server.requestEndOf(user, claimed.replaced, proto.ReasonReplaced)
	c.acks = dialect == proto.DialectCIM && view.Ack != 0 && claimed.generation != 0 // without a grant there is no catch-up
	if claimed.older != 0 {
		l.older[c.ref] = claimed.older
	}
	login := shard.Login{User: user, Generation: claimed.generation, Dialect: dialect, Ack: c.acks, Expires: claimed.expires, Limits: l.server.limits.of(c.addr())}
	if dialect == proto.DialectCIM {
		if login.Name = claimed.name; login.Name == "" {
			login.Name = string(view.Text)
		}
	}
	holds := l.shard.Accept(c.ref.Slot, login)
	l.server.sendUp(shard.Held{User: user, Generation: claimed.generation, Holds: holds}, c, 0)
	if claimed.left != 0 {
		l.server.sendOvertaken(user, claimed.generation, claimed.left)
	}
}

// advance comes before all work of a visit. Sessions of a lease that was lost end
// before anything else reaches them.
func (l *loop) advance() {
	var now shard.Tick
	l.answerProbe()
	now, l.pauses = l.server.checkStall()
	if losses := l.server.lease.losses.Load(); losses != l.losses {
		l.losses = losses
		l.shard.EndAll(proto.ReasonLease)
	}
	l.shard.Advance(now)
}

// answerMail does what the mailbox brought, and what time brought.
func (l *loop) answerMail() {
	l.advance()
	l.mail = l.mailbox.take(l.mail)
	for i := range l.mail.letters {
		m := &l.mail.letters[i]
		l.answerProbe()
		l.handle(m)
		l.writeIfDue(int(m.end - m.start))
	}
	l.unwritten = 0
	l.shard.BeginTurn()
	l.write()
	l.shedOwn()
	l.endConnections()
	if now := l.server.now(); now != l.ticked {
		l.ticked = now
		l.tick(now)
	}
	switch {
	case l.shard.Turning():
		l.again = true // other connections first
		yield()
	case l.draining:
		l.drain()
	}
}

// drain ends all connections once everything that was queued has been handed
// to them.
func (l *loop) drain() {
	l.shard.EndAll(proto.ReasonDraining)
	l.write()
	l.endConnections()
}

func (l *loop) tick(now shard.Tick) {
	l.flushBacklogs()
	if now-l.announced >= announceTicks {
		l.announced = now
		l.turn++
		l.shard.EachHeld(l.sendUpAgain)
	}
	l.pollKernels()
	l.publish()
}

func (l *loop) handle(m *letter) {
	body := l.mail.body(m)
	if l.refuseLate(m, body) {
		return
	}
	switch m.kind {
	case letterPush:
		l.push(m, body)
	case letterBroadcast:
		l.broadcast(m.fanout)
	case letterHold:
		l.hold(m)
	case letterResume:
		l.resume(m)
	case letterEnd:
		l.endFor(m)
	case letterEnded:
		l.endedFor(m)
	case letterMoving:
		l.holdMoving(m)
	case letterReturned:
		l.shard.Returned(m.ref, m.value, m.id == 0)
	case letterSend:
		l.takeSend(m, body, false)
	case letterOutcome:
		l.shard.Outcome(m.ref, m.id, m.send.textID, proto.Outcome(m.value), m.code, m.send.receivers)
	case letterDrain:
		l.draining = true
	case letterMove:
		m.requester.answer(0, proto.VerdictTaken, uint64(l.shard.Move(int(m.value))))
	case letterList:
		m.requester.(*listing).fill(l)
	case letterShed:
		l.shed(int(m.value), int(m.id))
	case letterEvict:
		l.shard.Evict(m.ref)
	case letterKick:
		m.requester.answer(m.id, l.kick(m.ref), 0)
	case letterEndOld:
		m.requester.answer(0, proto.VerdictTaken, uint64(l.shard.EndOld(int(m.value), proto.ReasonDraining)))
	}
}

// broadcast takes no more while the loop drains: it would never have an end.
func (l *loop) broadcast(f *fanout) {
	if l.draining {
		f.done(proto.VerdictBusy, 0)
		return
	}
	l.shard.Broadcast(f.body, f.except, f)
}

func (l *loop) push(m *letter, body []byte) {
	if m.page {
		if c := l.connOf(m.ref); c != nil && !c.acks {
			l.awaitPage(m.ref)
		}
		l.shard.DeliverPage(m.ref, body, m.value, catchupPage{m.requester, m.id, m.ref})
		return
	}
	if m.doubt {
		l.refusePush(m)
		return
	}
	d := shard.Delivery{Body: body, Pass: m.pass}
	if m.value != 0 {
		d.Receipt = shard.ReceiptTo{Link: m.requester, ID: m.value}
	}
	verdict, kept := l.shard.Deliver(m.ref, d)
	if verdict == proto.VerdictTaken {
		l.pendingWrites = append(l.pendingWrites, pendingWrite{ref: m.ref, requester: m.requester, id: m.id, kept: kept, receipt: d.Receipt})
		return
	}
	m.requester.answer(m.id, returningIfAbsent(verdict), 0)
}

// catchupPage is who asked for a page of a catch-up.
type catchupPage struct {
	requester requester
	id        uint64
	ref       shard.Ref // the session that it is for
}

// write writes what the shard has for its connections, then tells what became
// of it. Verdicts may make new bytes, as the outcome of a SEND does, and none
// of those makes another verdict.
func (l *loop) write() {
	l.writeOut()
	l.pollFull()
	l.pollPages()
	l.settleWrites()
	l.sendAnswers()
	l.forwardKept()
	l.writeOut()
	l.noteHeld()
}

// writeOut looks before each write: the process may stand still between two
// writes of one turn, and what is left of the turn is then too late.
func (l *loop) writeOut() {
	for l.shard.HasWrites() {
		l.advance()
		slot, data, some := l.shard.NextWrite()
		if !some {
			return
		}
		c := l.conns[slot]
		if c == nil {
			continue
		}
		if c.ending && c.unsent() == 0 {
			c.unwritten += int32(len(data))
			continue
		}
		c.write(data)
		if l.conns[slot] == c {
			l.onWritten(c)
		}
	}
}

// settleWrites answers for the messages whose bytes have been handed to a socket,
// or could not be.
func (l *loop) settleWrites() {
	// All are judged first: an outcome that is told may end a session as slow.
	for i := range l.pendingWrites {
		l.pendingWrites[i].written = l.shard.Written(l.pendingWrites[i].ref)
	}
	for i := range l.pendingWrites {
		l.settleWrite(&l.pendingWrites[i])
	}
	clear(l.pendingWrites)
	l.pendingWrites = l.pendingWrites[:0]
}

func (l *loop) settleWrite(t *pendingWrite) {
	switch {
	case t.requester == nil && t.kept && t.send.want == proto.WantReceived: // its receipt comes
	case t.requester == nil && (t.kept || t.written):
		l.server.outcome(l, &t.send, proto.OutcomeDelivered, proto.CodeSuccess)
	case t.requester == nil:
		l.server.forward(l, &t.send)
	case t.kept:
		t.requester.answer(t.id, proto.VerdictTaken, 0)
	case t.written:
		t.requester.answer(t.id, proto.VerdictTaken, 0)
		if t.receipt.Link != nil {
			l.server.receipt(l, &t.receipt, proto.OutcomeDelivered)
		}
	default:
		t.requester.answer(t.id, proto.VerdictReturning, 0)
	}
}

// settleLost answers for what ref's session took and lost with its end, before
// anything that comes behind it is answered: so order holds.
func (l *loop) settleLost(ref shard.Ref) {
	if l.shard.Written(ref) {
		return
	}
	kept := l.pendingWrites[:0]
	for i := range l.pendingWrites {
		if t := l.pendingWrites[i]; t.ref == ref {
			l.settleWrite(&t)
		} else {
			kept = append(kept, t)
		}
	}
	clear(l.pendingWrites[len(kept):])
	l.pendingWrites = kept
}

func (l *loop) sendAnswers() {
	for {
		a, some := l.shard.NextAnswer()
		if !some {
			return
		}
		switch to := a.To.(type) {
		case *fanout:
			to.done(a.Verdict, a.Given)
		case catchupPage:
			l.pageAnswered(to.ref)
			to.requester.answer(to.id, a.Verdict, 0)
		}
	}
}

// endConnections ends what the shard says must end. A soft end shuts the
// sending side down behind what was written; the peer's end closes it, or the
// shard's second word.
func (l *loop) endConnections() {
	for {
		e, some := l.shard.NextEnd()
		if !some {
			return
		}
		l.answerProbe()
		l.expectReturn(e) // before the directory forgets the session
		l.takeReturns()
		l.forwardAcked()
		if e.Reason != proto.ReasonNone {
			l.server.onEnded(e) // the peer may have closed meanwhile: its user is still in the directory
		}
		c := l.conns[e.Ref.Slot]
		if c == nil || c.ref != e.Ref {
			continue
		}
		if e.Reason != proto.ReasonNone && !c.refused {
			l.server.refusal("connection ended", e.Reason.String(), "user", int64(e.User), "from", c.address().String())
		}
		if !e.Soft {
			l.close(c)
			continue
		}
		l.server.clients.idle(c)
		c.ending = true
		if !c.backlogged {
			l.shutSending(c)
			l.pollEnding(c)
		}
	}
}

// pollEnding lets the shard know what the peer's kernel has of a session that has
// just ended: all, mostly. Then nothing waits until the peer has closed.
func (l *loop) pollEnding(c *connection) {
	if l.connOf(c.ref) != c {
		return // the peer was gone
	}
	l.shard.SetUnacked(c.ref.Slot, c.unacknowledged())
	l.forwardAcked()
	l.takeReturns()
}

func (l *loop) close(c *connection) {
	if err := l.events.Close(c.conn); err != nil {
		l.server.log.Warn("closing a connection", "error", err)
	}
}

// announceTicks is how often sessions that still wait for their catch-up are
// announced again: whoever was told may have been lost.
const announceTicks shard.Tick = 1_000 / shard.TickMillis
