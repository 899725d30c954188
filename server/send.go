package server

import (
	"math/rand/v2"
	"time"

	"cim/proto"
	"cim/server/shard"
)

// send is a SEND on its way. text is valid as long as the read or the mail that it
// came with.
type send struct {
	from   shard.Ref // the sender's session
	id     uint64    // the client's own id, which its outcome carries
	sender proto.User
	to     proto.UserID // 0: all users
	textID proto.TextID
	want   proto.Want
	at     proto.UnixMilli // when it came
	text   []byte

	byRoute bool // it must go to a route, even if the receiver has a session here

	receivers proto.Receivers // for the outcome of a group message
}

func (s *send) pair() pair { return pair{s.sender.ID, s.to} }

// send handles the SEND that the shard has just handed out: a private message goes
// to a local receiver directly, all else to a route. The local delivery needs that
// no earlier message of the pair and no group message of the sender is still with a
// route; so order holds.
func (l *loop) send(c *connection) {
	v := &l.view
	s := send{
		from: c.ref, id: v.MessageID, sender: l.shard.Sender(c.ref.Slot), to: v.Receiver,
		textID: proto.TextID(rand.Uint64()), at: proto.UnixMilli(time.Now().UnixMilli()), text: v.Text,
	}
	if c.acks {
		if id := v.TextID(); id != 0 {
			s.textID = id
		}
		if s.to != 0 { // group messages are neither kept nor counted
			s.want = v.Want
		}
	}
	switch {
	case v.Batch > 0 || v.TextIDs > 1 || s.to < 0 || !s.want.Valid():
		l.server.answerSend(l, &s, proto.OutcomeFailed, proto.CodeInvalid)
	case !l.withinLimits(&s):
		l.server.answerSend(l, &s, proto.OutcomeBusy, proto.CodeLimit)
	case s.to == 0:
		l.server.forward(l, &s)
	default:
		l.sendPrivate(s)
	}
}

// sendPrivate delivers s to the receiver's session, or gives it to a route. While
// an earlier message of the pair waits in another loop's mailbox, s follows it
// there, since that message may have to go to a route too.
func (l *loop) sendPrivate(s send) {
	ref, _, found := l.server.directory.find(s.to)
	s.byRoute = !found || s.want == proto.WantStored || l.server.inDoubt(l.pauses) || l.server.returns.blocksPush(s.to)
	to, crosses := uint16(0), false
	if s.byRoute || ref.Shard == l.number {
		to, crosses = l.server.pairs.follow(s.pair())
	} else {
		to, crosses = l.server.pairs.cross(s.pair(), ref.Shard), true
	}
	switch {
	case crosses:
		l.postSend(to, ref, s)
	case s.byRoute:
		l.server.forward(l, &s)
	default:
		l.deliverSend(ref, s)
	}
}

// postSend puts s, whose pair is counted as crossing, into another loop's mailbox.
// If that loop is blocked, s is refused: through a route it could overtake messages
// that wait there.
func (l *loop) postSend(to uint16, ref shard.Ref, s send) {
	text := s.text
	s.text = nil // it is valid for this read; the mailbox has a copy
	if other := l.server.loops[to]; !other.blocked() {
		if other.mailbox.post(letter{kind: letterSend, ref: ref, send: s, pauses: l.pauses}, text) {
			return
		}
		l.server.metrics.mailboxFull.Inc()
	}
	l.server.pairs.crossed(s.pair())
	l.server.answerSend(l, &s, proto.OutcomeBusy, proto.CodeLimit)
}

// takeSend handles a SEND from another loop.
func (l *loop) takeSend(m *letter, body []byte, late bool) {
	m.send.text = body
	if late || m.send.byRoute || m.ref.Shard != l.number {
		l.server.forward(l, &m.send)
	} else {
		l.deliverSend(m.ref, m.send)
	}
	l.server.pairs.crossed(m.send.pair()) // after the delivery: the next one need not follow it
}

// deliverSend delivers s to the session of ref, which is of this loop.
func (l *loop) deliverSend(ref shard.Ref, s send) {
	if l.server.pairs.withRoute(s.sender.ID, s.to) {
		l.server.forward(l, &s)
		return
	}
	l.body = proto.AppendSentBody(l.body[:0], s.sender.ID, s.sender.Name, s.textID, s.text)
	l.body = proto.AppendOurPart(l.body, false, s.at)
	d := shard.Delivery{Body: l.body}
	if s.want == proto.WantReceived {
		d.Receipt = shard.ReceiptTo{From: s.from, ID: s.id, Text: s.textID}
	}
	verdict, kept := l.shard.Deliver(ref, d)
	if verdict != proto.VerdictTaken {
		l.settleLost(ref)
		l.server.forward(l, &s)
		return
	}
	l.pendingWrites = append(l.pendingWrites, pendingWrite{ref: ref, send: s, kept: kept})
}

// answerSend answers a SEND; of must have from, id, textID and receivers. l is the
// calling loop, nil for other goroutines.
func (s *Server) answerSend(l *loop, of *send, outcome proto.Outcome, code proto.Code) {
	s.metrics.outcomes[outcome].Inc()
	if l != nil && of.from.Shard == l.number {
		l.shard.Outcome(of.from, of.id, of.textID, outcome, code, of.receivers)
		return
	}
	m := letter{
		kind: letterOutcome, ref: of.from, id: of.id, value: uint64(outcome), code: code,
		send: send{textID: of.textID, receivers: of.receivers},
	}
	if !s.loops[of.from.Shard].mailbox.post(m, nil) {
		// Else the client would wait for an outcome that never comes.
		s.metrics.mailboxFull.Inc()
		s.requestEnd(of.from, proto.ReasonOverload)
	}
}

// forward gives s to a route over a link. Until its outcome arrives, the pair
// counts as being with a route.
func (s *Server) forward(l *loop, m *send) {
	link := s.links.choose(m.sender.ID)
	switch {
	case link == nil:
		s.answerSend(l, m, proto.OutcomeFailed, proto.CodeFailure)
	case s.draining.Load() || !link.forwardSend(m, s.now(), nil):
		s.answerSend(l, m, proto.OutcomeBusy, proto.CodeLimit)
	}
}
