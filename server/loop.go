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
	shedding atomic.Bool // a letterShed waits, or the gauges do not show its effect yet
	gauge    loopGauge
	probe    probe
	events   gnet.EventLoop // fixed before clients are let in
	waiting  waiting

	// Guarded by the client port.
	connections int          // of clients, including those that gnet is enrolling
	enrolling   []enrollment // oldest first; <= enrollingMax

	// The event loop's goroutine only.
	shard         *shard.Shard
	conns         []*connection  // by slot; nil where the slot is free
	backlogged    []*connection  // their sockets have not taken all their bytes
	pendingWrites []pendingWrite // verdicts due after the write
	// Ended sessions: true if their Return is still to come, false if it came
	// before their end was handed out.
	returning map[shard.Ref]bool
	// By a session here that must wait: the server whose older session of the same
	// user may still return texts. Few sessions have one.
	older     map[shard.Ref]proto.Epoch
	pages     pageWait
	mail      mail
	view      proto.View
	body      []byte     // of the SEND that is being delivered
	pauses    uint64     // of this visit
	losses    uint64     // losses of the lease that this loop has handled
	ticked    shard.Tick // the last tick that was handled
	announced shard.Tick // when sessions without a catch-up were last announced
	turn      uint64     // how often they were announced
	published shard.Stats
	hasShed   bool // since the gauges were last published
	unwritten int  // bytes read, or brought by the mail, since the last write
	again     bool // read the mail after the present events
	draining  bool
}

// connection is the context of a gnet connection. The order of its fields leaves no
// gaps, and what few connections need is behind a pointer or in a map of the loop:
// a server has a hundred thousand connections (connectionBytesMax).
type connection struct {
	loop       *loop
	conn       gnet.Conn // nil until gnet has enrolled it
	backlog    *[]byte   // the incomplete block at the end of the backlog; < blockBytes. nil: none
	ip         [16]byte  // the peer's address, since gnet's copy is dropped (see address.go)
	unwritten  int32     // bytes whose write failed, or came too late
	ref        shard.Ref
	own        bool // the peer is this machine, by another address than loopback
	backlogged bool // in the loop's list of backlogs
	ending     bool // its sending side is shut down once all has been sent
	shut       bool // its sending side is shut down
	acks       bool // its session acknowledges texts
	refused    bool // its login was refused, and that has been logged

	// Guarded by the client port.
	isOpen  bool // ref is valid
	evicted bool
	place   *admission.Place[*connection] // nil after the connection has left
}

// pendingWrite is a message that a session has taken and whose bytes are on their
// way to the socket. Its sender gets the verdict when the socket or the backlog has
// them.
type pendingWrite struct {
	ref       shard.Ref
	requester requester // nil: it is a SEND
	id        uint64
	send      send
	written   bool            // its bytes have been handed to the socket
	kept      bool            // the session keeps it until it is acknowledged
	receipt   shard.ReceiptTo // for a push that wants a receipt
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

// onClosed frees the slot of a connection that either side has closed. endOfFile: a
// read has reported that the peer has closed its end; a reset may look the same.
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

// onTraffic handles what came in on a connection. data points into gnet's buffer
// and is valid during this call.
func (l *loop) onTraffic(c *connection, data []byte) {
	l.handleData(c, data)
	l.write()
}

// handleData is onTraffic without the write of the answers.
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

// advance comes before all work of a visit. If the lease was lost, all sessions end
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

// answerMail handles the letters of the mailbox, and what is due by time.
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

// drain ends all connections after all queued bytes have been handed to them.
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
		l.endSession(m)
	case letterEnded:
		l.answerEnded(m)
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

// broadcast refuses broadcasts while the loop drains, since the drain would never
// end otherwise.
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

// catchupPage names the requester of a catch-up page.
type catchupPage struct {
	requester requester
	id        uint64
	ref       shard.Ref // the session that receives it
}

// write writes what the shard has for its connections, then reports the results.
// Verdicts may produce new bytes, as the outcome of a SEND does; those bytes
// produce no further verdicts.
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

// writeOut checks for a pause before each write: the process may stand still
// between two writes of one turn, and the rest of the turn is too late then.
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
	// All are checked first: sending an outcome may end a session as slow.
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
		l.server.answerSend(l, &t.send, proto.OutcomeDelivered, proto.CodeSuccess)
	case t.requester == nil:
		l.server.forward(l, &t.send)
	case t.kept:
		t.requester.answer(t.id, proto.VerdictTaken, 0)
	case t.written:
		t.requester.answer(t.id, proto.VerdictTaken, 0)
		if t.receipt.Link != nil {
			l.server.sendReceipt(l, &t.receipt, proto.OutcomeDelivered)
		}
	default:
		t.requester.answer(t.id, proto.VerdictReturning, 0)
	}
}

// settleLost answers for messages that ref's session took and lost with its end,
// before anything behind them is answered. So order holds.
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

// endConnections closes the connections that the shard has ended. A soft end shuts
// the sending side down after the last write; the connection closes when the peer
// closes it, or when the shard hands out a second, hard end.
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
			l.server.logRefusal("connection ended", e.Reason.String(), "user", int64(e.User), "from", c.address().String())
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

// pollEnding reports to the shard what the peer's kernel has acknowledged for a
// session that has just ended: mostly everything. Then nothing waits until the peer
// has closed.
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

// announceTicks is how often sessions that wait for their catch-up are announced
// again: the route that got the last announcement may be gone.
const announceTicks shard.Tick = 1_000 / shard.TickMillis
