package server

import (
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"cim/proto"
	"cim/server/shard"
)

// send is a SEND on its way. text is valid as long as the read or the mail
// that it came with.
type send struct {
	from   shard.Ref // the sender's session
	id     uint64    // the client's own, which its outcome carries
	sender proto.User
	to     proto.UserID // 0: everybody
	textID proto.TextID
	want   proto.Want
	at     proto.UnixMilli // when it came
	text   []byte

	receivers proto.Receivers // of its outcome, if it was to everybody
}

// send deals with the SEND that the shard has just handed out: a private
// message goes straight to a local receiver, all else to a route. It is
// delivered here only while no earlier message of that pair, nor a group
// message of that sender, is still with a route; so order holds.
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
		if s.to != 0 { // what is for everybody is neither kept nor counted
			s.want = v.Want
		}
	}
	switch {
	case v.Batch > 0 || v.TextIDs > 1 || s.to < 0 || !s.want.Valid():
		l.server.outcome(l, &s, proto.OutcomeFailed, proto.CodeInvalid)
	case !l.withinLimits(&s):
		l.server.outcome(l, &s, proto.OutcomeBusy, proto.CodeLimit)
	case s.to == 0:
		l.server.handOver(l, &s)
	default:
		l.sendPrivate(s)
	}
}

func (l *loop) sendPrivate(s send) {
	ref, _, found := l.server.directory.find(s.to)
	switch {
	case !found || s.want == proto.WantStored || l.server.inDoubt(l.pauses) || l.server.returns.bars(s.to):
		l.server.handOver(l, &s)
	case ref.Shard == l.number:
		l.deliverSend(ref, s)
	case l.server.loops[ref.Shard].blocked():
		// With a route it could pass by those that wait for the loop.
		l.server.outcome(l, &s, proto.OutcomeBusy, proto.CodeLimit)
	default:
		text := s.text
		s.text = nil // it ends with this read; the mailbox has its copy
		if !l.server.loops[ref.Shard].mailbox.post(letter{kind: letterSend, ref: ref, send: s, pauses: l.pauses}, text) {
			l.server.metrics.mailboxFull.Inc()
			l.server.outcome(l, &s, proto.OutcomeBusy, proto.CodeLimit)
		}
	}
}

// deliverSend gives s to the session of ref, which is of this loop.
func (l *loop) deliverSend(ref shard.Ref, s send) {
	if l.server.pairs.withRoute(s.sender.ID, s.to) {
		l.server.handOver(l, &s)
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
		l.tellLost(ref)
		l.server.handOver(l, &s)
		return
	}
	l.taken = append(l.taken, taken{ref: ref, send: s, kept: kept})
}

// outcome answers a SEND, of which it needs from, id, textID and receivers. l is the loop
// that calls, nil for other goroutines.
func (s *Server) outcome(l *loop, of *send, outcome proto.Outcome, code proto.Code) {
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
		// The client must not wait for an outcome that never comes.
		s.metrics.mailboxFull.Inc()
		s.askToEnd(of.from, proto.ReasonOverload)
	}
}

// handOver gives s to a route over a link. Until its outcome is there the pair
// counts as being with a route.
func (s *Server) handOver(l *loop, m *send) {
	link := s.links.choose(m.sender.ID)
	switch {
	case link == nil:
		s.outcome(l, m, proto.OutcomeFailed, proto.CodeFailure)
	case s.draining.Load() || !link.passOn(m, s.now(), nil):
		s.outcome(l, m, proto.OutcomeBusy, proto.CodeLimit)
	}
}

// pair is a sender and a receiver, 0 for everybody.
type pair struct{ sender, receiver proto.UserID }

// pairs counts, for each pair, the messages that are with a route.
type pairs struct {
	total atomic.Int64 // of all pairs, so that the usual answer takes no lock

	mu     sync.Mutex
	counts map[pair]int
}

// withRoute reports whether a message from sender to receiver, or one from
// sender to everybody, is with a route.
func (p *pairs) withRoute(sender, receiver proto.UserID) bool {
	if p.total.Load() == 0 {
		return false
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.counts[pair{sender, receiver}] > 0 || p.counts[pair{sender, 0}] > 0
}

func (p *pairs) add(which pair) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.counts == nil {
		p.counts = make(map[pair]int)
	}
	p.counts[which]++
	p.total.Add(1)
}

func (p *pairs) remove(which pair) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.counts[which]--; p.counts[which] == 0 {
		delete(p.counts, which)
	}
	p.total.Add(-1)
}
