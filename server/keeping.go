package server

import (
	"context"
	"time"

	"cim/proto"
	"cim/server/shard"
)

// What sessions keep until it is acknowledged, as the loops hand it on: to the
// returns, to routes and to senders.

// forwardKept hands on what the shard has to say of texts that were kept. It comes
// before the directory forgets a session that has ended: until then what is sent
// to its user finds the session, and from then on the returns.
func (l *loop) forwardKept() {
	l.takeReturns()
	for r, some := l.shard.NextReceipt(); some; r, some = l.shard.NextReceipt() {
		l.server.receipt(l, &r.To, r.Outcome)
	}
}

// takeReturns has what sessions kept put into their users' boxes.
func (l *loop) takeReturns() {
	for r, some := l.shard.NextReturn(); some; r, some = l.shard.NextReturn() {
		l.server.giveBack(r)
		switch {
		case l.returning[r.Ref]:
			delete(l.returning, r.Ref)
			l.server.returns.arrived(r.User)
		case r.End:
			l.returning[r.Ref] = false
		}
	}
}

// forwardAcked has texts that are acknowledged removed from their boxes. Without a
// link they stay owed until there is one.
func (l *loop) forwardAcked() {
	if len(l.server.links.all()) == 0 && !l.draining {
		return
	}
	for a, some := l.shard.NextAcked(); some; a, some = l.shard.NextAcked() {
		l.server.acked(a)
	}
}

// expectReturn has the user of a session that has ended count as returning, if
// what it kept comes when its connection has closed.
func (l *loop) expectReturn(e shard.End) {
	if !e.Returning {
		return
	}
	if _, came := l.returning[e.Ref]; came {
		delete(l.returning, e.Ref)
		return
	}
	l.returning[e.Ref] = true
	l.server.returns.expect(e.User)
}

func (s *Server) giveBack(r shard.Return) {
	job := jobOf(r)
	if len(r.Late) > 0 {
		defer s.ackLate(r)
	}
	switch {
	case len(job.records) == 0 && job.end:
	case len(job.records) > 0 && s.hasBoxes(r.Generation) && s.returns.add(r.User, job):
	case job.end:
		for _, record := range job.records {
			s.returnSettled(r.User, record, false)
		}
	default:
		job.refused = true
		s.flushOver(&job)
	}
}

// hasBoxes reports whether what a session of this generation kept can be put into
// a box, now or later. One that logged in without a grant may be served by routes
// of the original alone, which have none of ours.
func (s *Server) hasBoxes(generation proto.Generation) bool {
	return generation != 0 || len(s.links.all()) > 0
}

// ackLate has those texts removed from the box that were acknowledged while they
// were on their way there, once they have arrived.
func (s *Server) ackLate(r shard.Return) {
	late := shard.Acked{User: r.User, Generation: r.Generation, Keys: r.Late}
	if !s.returns.wait(r.User, func(bool) { s.acked(late) }) {
		s.acked(late)
	}
}

// flushOver tells a session of the end of its flush.
func (s *Server) flushOver(job *returnJob) {
	m := letter{kind: letterReturned, ref: job.ref, value: job.through}
	if job.refused {
		m.id = 1
	}
	s.loops[job.ref.Shard].mailbox.post(m, nil)
}

// returnSettled is called when record is in user's box, or is lost since there
// was no room.
func (s *Server) returnSettled(user proto.UserID, record returnRecord, stored bool) {
	outcome := proto.OutcomeStored
	if !stored {
		outcome = proto.OutcomeUnknown
		s.metrics.notReturned.Add(record.texts)
		s.refusal("texts that a session had kept are lost: neither the box nor kept-budget has room for them, or no route has a box", "no room",
			"user", int64(user), "texts", record.texts)
	}
	for i := range record.receipts {
		s.receipt(nil, &record.receipts[i], outcome)
	}
}

// receipt settles what a route or a sender wished to know of a text. l is the
// loop that calls, nil for other goroutines.
func (s *Server) receipt(l *loop, to *shard.ReceiptTo, outcome proto.Outcome) {
	s.metrics.receipts[outcome].Inc()
	if link, ok := to.Link.(*linkEnd); ok {
		link.send(&proto.Record{Kind: proto.RecordReceipt, ID: to.ID, Value: uint64(outcome)})
		return
	}
	s.outcome(l, &send{from: to.From, id: to.ID, textID: to.Text}, outcome, codeOf(outcome))
}

// codeOf is the code of the outcome that a receipt is.
func codeOf(outcome proto.Outcome) proto.Code {
	switch outcome {
	case proto.OutcomeStored:
		return proto.CodeOffline
	case proto.OutcomeUnknown:
		return proto.CodeFailure
	}
	return proto.CodeSuccess
}

// acked has acknowledged texts removed from their user's box.
func (s *Server) acked(a shard.Acked) {
	for keys := a.Keys; len(keys) > 0; {
		n := min(len(keys), proto.TextKeysMax)
		r := proto.Record{Kind: proto.RecordAcked, User: a.User, Generation: a.Generation, Body: proto.AppendTextKeys(nil, keys[:n]...)}
		if !s.links.send(&r, 0) {
			s.metrics.ackedLost.Add(n)
		}
		keys = keys[n:]
	}
}

// endFor ends a session, which returns expects. What it returns comes now or when
// its connection has closed, as its end says, which is handed out in this visit: so
// the rest is done in the next one.
func (l *loop) endFor(m *letter) {
	if c := l.connOf(m.ref); c != nil {
		l.shard.SetUnacked(m.ref.Slot, c.unacknowledged())
	}
	l.shard.End(m.ref, proto.Reason(m.value))
	if m.user != 0 {
		l.mailbox.post(letter{kind: letterEnded, user: m.user, requester: m.requester, id: m.id}, nil)
	}
}

// endedFor answers, when what the session kept is in the box, whoever wanted its
// end.
func (l *loop) endedFor(m *letter) {
	if m.requester != nil {
		l.server.answerReturned(m.user, m.requester, m.id, proto.VerdictTaken)
	}
	l.server.returns.arrived(m.user)
}

// noHolds is more than any session has: a Resume with it changes nothing.
const noHolds = ^uint64(0)

// hold holds a session. While texts are on their way into its user's box the
// answer is VerdictReturning.
func (l *loop) hold(m *letter) {
	held, verdict := l.holdNow(m.ref)
	l.answerHeld(m, held, verdict)
}

// holdNow has the shard know what the peer's kernel has, and holds the session.
func (l *loop) holdNow(ref shard.Ref) (shard.Held, proto.Verdict) {
	if c := l.connOf(ref); c != nil {
		l.shard.SetUnacked(ref.Slot, c.unacknowledged())
	}
	held, verdict := l.shard.Hold(ref)
	l.takeReturns()
	return held, verdict
}

// resume ends a hold, unless texts are on their way into the box.
func (l *loop) resume(m *letter) {
	holds := m.value
	if l.server.returns.has(m.user) {
		holds = noHolds
	}
	held, verdict := l.shard.Resume(m.ref, holds)
	if verdict == proto.VerdictTaken {
		delete(l.older, m.ref)
	}
	l.answerHeld(m, held, verdict)
}

// answerHeld answers a hold or a resume, with what the route must know to catch
// the session up.
func (l *loop) answerHeld(m *letter, held shard.Held, verdict proto.Verdict) {
	if verdict = returningIfAbsent(verdict); verdict != proto.VerdictBusy && l.server.returns.has(m.user) {
		verdict = proto.VerdictReturning
	}
	link, ok := m.requester.(*linkEnd)
	if !ok {
		m.requester.answer(m.id, verdict, held.Holds)
		return
	}
	r := proto.Record{Kind: proto.RecordAnswer, ID: m.id, Verdict: verdict}
	withHeld(&r, held, l.connOf(m.ref))
	link.send(&r)
}

// withHeld puts into r what a route must know of c's session, which is held.
func withHeld(r *proto.Record, h shard.Held, c *connection) {
	r.Value, r.Text = h.Holds, proto.TextID(h.Cursor)
	if c == nil {
		return
	}
	r.Body = proto.AppendEpoch(nil, c.loop.older[c.ref])
	r.Flags |= proto.FlagAck // also of a client that does not acknowledge: the shard judges by its kernel
}

// sendUpAgain announces a session that still waits for its catch-up.
func (l *loop) sendUpAgain(h shard.Held) {
	ref, _, _ := l.server.directory.find(h.User)
	l.server.sendUp(h, l.connOf(ref), l.turn)
}

// connOf is the connection of ref's session, or nil: its loop is another one, or
// it has closed.
func (l *loop) connOf(ref shard.Ref) *connection {
	if ref.Shard != l.number || ref.Slot >= uint32(len(l.conns)) {
		return nil
	}
	if c := l.conns[ref.Slot]; c != nil && c.ref == ref {
		return c
	}
	return nil
}

// returningIfAbsent is the answer to what was for a session that the directory had a moment
// ago. If it has ended since, it may return what it kept: the route asks again,
// and the directory knows.
func returningIfAbsent(verdict proto.Verdict) proto.Verdict {
	if verdict == proto.VerdictAbsent {
		return proto.VerdictReturning
	}
	return verdict
}

// refusePush has a push stored that must not be delivered, once what the session
// keeps is in the box.
func (l *loop) refusePush(m *letter) {
	verdict := proto.VerdictAbsent
	if !m.page && !m.pass {
		if _, held := l.holdNow(m.ref); held != proto.VerdictTaken {
			verdict = proto.VerdictReturning
		}
	}
	m.requester.answer(m.id, verdict, 0)
}

// holdMoving holds a session whose client moves, and answers when what it kept is
// in the box: the client's next session may begin at another server. The shard
// alone knows that: a flush may be several records, one after the other, and the
// answer to one may come before this looks at the returns.
func (l *loop) holdMoving(m *letter) {
	_, verdict := l.holdNow(m.ref)
	switch {
	case verdict != proto.VerdictReturning:
		l.server.answerReturned(m.user, m.requester, m.id, proto.VerdictTaken)
	case l.shard.FlushIsUnderWay(m.ref) && m.value < movingTurnsMax:
		l.holdMovingAgain(*m)
	default: // the flush has failed, and is tried again in a moment
		m.requester.answer(m.id, verdict, 0)
	}
}

// movingTurnsMax bounds how often holdMoving looks again: more than the records that
// a session's texts take. Beyond, the session has been caught up and given new
// texts meanwhile, again and again, and the revoke is answered VerdictReturning.
const movingTurnsMax = 16

// holdMovingAgain has m looked at again behind the letter that ends the flush which
// is under way.
func (l *loop) holdMovingAgain(m letter) {
	m.value++
	again := func(bool) {
		if !l.mailbox.post(m, nil) {
			m.requester.answer(m.id, proto.VerdictReturning, 0)
		}
	}
	if !l.server.returns.wait(m.user, again) {
		again(true)
	}
}

// answerReturned answers a revoke when nothing of user is on its way into his
// box: at once if nothing is. VerdictReturning says that it could not be put
// there.
func (s *Server) answerReturned(user proto.UserID, requester requester, id uint64, verdict proto.Verdict) {
	answer := func(returned bool) {
		if !returned {
			verdict = proto.VerdictReturning
		}
		requester.answer(id, verdict, 0)
	}
	if !s.returns.wait(user, answer) {
		answer(true)
	}
}

// onReturning answers whether an older session of the user returns what it kept.
func (l *linkEnd) onReturning(r *proto.Record) {
	verdict := proto.VerdictAbsent
	if l.server.returns.returning(r.User, r.Generation) {
		verdict = proto.VerdictTaken
	}
	l.answer(r.ID, verdict, 0)
}

// waitForReturns waits until what sessions had kept is in boxes, no link is left,
// or ctx ends.
func (s *Server) waitForReturns(ctx context.Context) {
	ticker := time.NewTicker(drainPoll)
	defer ticker.Stop()
	for users, _ := s.returns.outstanding(); users > 0 && len(s.links.all()) > 0; users, _ = s.returns.outstanding() {
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return
		}
	}
}

// reportNotReturned is called when all connections have closed: what sessions had
// kept and is not in boxes is lost with the process.
func (s *Server) reportNotReturned() {
	users, texts := s.returns.outstanding()
	if users == 0 {
		return
	}
	s.metrics.notReturned.Add(texts)
	s.log.Error("going down with texts that sessions had kept and that no route could store: those that their clients have not read are lost",
		"texts", texts, "users", users)
}
