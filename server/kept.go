package server

import (
	"context"
	"time"

	"cim/proto"
	"cim/server/shard"
)

// This file forwards what shards hand out about kept texts: to the returns, to
// routes and to senders.

// forwardKept forwards the returns and receipts of the shard. It comes before the
// directory forgets an ended session: until then a message for the user finds the
// session, and from then on the returns.
func (l *loop) forwardKept() {
	l.takeReturns()
	for r, some := l.shard.NextReceipt(); some; r, some = l.shard.NextReceipt() {
		l.server.sendReceipt(l, &r.To, r.Outcome)
	}
}

// takeReturns has the returned texts of sessions put into their users' boxes.
func (l *loop) takeReturns() {
	for r, some := l.shard.NextReturn(); some; r, some = l.shard.NextReturn() {
		l.server.returnTexts(r)
		switch {
		case l.returning[r.Ref]:
			delete(l.returning, r.Ref)
			l.server.returns.arrived(r.User)
		case r.End:
			l.returning[r.Ref] = false
		}
	}
}

// forwardAcked has acknowledged texts removed from their boxes. While no link is
// up, the shard keeps them.
func (l *loop) forwardAcked() {
	if len(l.server.links.all()) == 0 && !l.draining {
		return
	}
	for a, some := l.shard.NextAcked(); some; a, some = l.shard.NextAcked() {
		l.server.sendAcked(a)
	}
}

// expectReturn marks the user of an ended session as returning, if its kept texts
// are returned only when its connection has closed.
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

func (s *Server) returnTexts(r shard.Return) {
	job := jobOf(r)
	if len(r.Late) > 0 {
		defer s.ackLate(r)
	}
	switch {
	case len(job.records) == 0 && job.end:
	case len(job.records) > 0 && s.hasBoxes(r.Generation) && s.returns.add(r.User, job):
	case job.end:
		for _, record := range job.records {
			s.settleReturned(r.User, record, false)
		}
	default:
		job.refused = true
		s.notifyFlushed(&job)
	}
}

// hasBoxes reports whether the kept texts of a session of this generation can be
// put into a box, now or later. A session without a grant may be served by routes
// of the original alone, which have none of our boxes.
func (s *Server) hasBoxes(generation proto.Generation) bool {
	return generation != 0 || len(s.links.all()) > 0
}

// ackLate removes texts that were acknowledged while their return was under way,
// after they have arrived in the box.
func (s *Server) ackLate(r shard.Return) {
	late := shard.Acked{User: r.User, Generation: r.Generation, Keys: r.Late}
	if !s.returns.wait(r.User, func(bool) { s.sendAcked(late) }) {
		s.sendAcked(late)
	}
}

// notifyFlushed reports the end of a flush to its session.
func (s *Server) notifyFlushed(job *returnJob) {
	m := letter{kind: letterReturned, ref: job.ref, value: job.through}
	if job.refused {
		m.id = 1
	}
	s.loops[job.ref.Shard].mailbox.post(m, nil)
}

// settleReturned is called when record is in user's box, or is lost for want of
// room.
func (s *Server) settleReturned(user proto.UserID, record returnRecord, stored bool) {
	outcome := proto.OutcomeStored
	if !stored {
		outcome = proto.OutcomeUnknown
		s.metrics.notReturned.Add(record.texts)
		s.logRefusal("texts that a session had kept are lost: neither the box nor kept-budget has room for them, or no route has a box", "no room",
			"user", int64(user), "texts", record.texts)
	}
	for i := range record.receipts {
		s.sendReceipt(nil, &record.receipts[i], outcome)
	}
}

// sendReceipt sends a receipt to the route or the sender that wants it. l is the
// calling loop, nil for other goroutines.
func (s *Server) sendReceipt(l *loop, to *shard.ReceiptTo, outcome proto.Outcome) {
	s.metrics.receipts[outcome].Inc()
	if link, ok := to.Link.(*linkEnd); ok {
		link.send(&proto.Record{Kind: proto.RecordReceipt, ID: to.ID, Value: uint64(outcome)})
		return
	}
	s.answerSend(l, &send{from: to.From, id: to.ID, textID: to.Text}, outcome, codeOf(outcome))
}

// codeOf is the code for the outcome of a receipt.
func codeOf(outcome proto.Outcome) proto.Code {
	switch outcome {
	case proto.OutcomeStored:
		return proto.CodeOffline
	case proto.OutcomeUnknown:
		return proto.CodeFailure
	}
	return proto.CodeSuccess
}

// sendAcked has acknowledged texts removed from their user's box.
func (s *Server) sendAcked(a shard.Acked) {
	for keys := a.Keys; len(keys) > 0; {
		n := min(len(keys), proto.TextKeysMax)
		r := proto.Record{Kind: proto.RecordAcked, User: a.User, Generation: a.Generation, Body: proto.AppendTextKeys(nil, keys[:n]...)}
		if !s.links.send(&r, 0) {
			s.metrics.ackedLost.Add(n)
		}
		keys = keys[n:]
	}
}

// endSession ends a session, whose return is expected. The return, or the End that
// announces it, is handed out later in this visit, so the answer is left to the
// next one.
func (l *loop) endSession(m *letter) {
	if c := l.connOf(m.ref); c != nil {
		l.shard.SetUnacked(m.ref.Slot, c.unacknowledged())
	}
	l.shard.End(m.ref, proto.Reason(m.value))
	if m.user != 0 {
		l.mailbox.post(letter{kind: letterEnded, user: m.user, requester: m.requester, id: m.id}, nil)
	}
}

// answerEnded answers the requester of an end after the session's kept texts are in
// the box.
func (l *loop) answerEnded(m *letter) {
	if m.requester != nil {
		l.server.answerReturned(m.user, m.requester, m.id, proto.VerdictTaken)
	}
	l.server.returns.arrived(m.user)
}

// noHolds is more than any session has: a resume with it changes nothing.
const noHolds = ^uint64(0)

// hold holds a session. While texts are on their way into its user's box the
// verdict is VerdictReturning.
func (l *loop) hold(m *letter) {
	held, verdict := l.holdNow(m.ref)
	l.answerHeld(m, held, verdict)
}

// holdNow reports to the shard what the peer's kernel has acknowledged, and holds
// the session.
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

// answerHeld answers a hold or a resume, with what the route needs for the
// catch-up.
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
	addHeld(&r, held, l.connOf(m.ref))
	if held.Full {
		r.Flags |= proto.FlagFull
	}
	link.send(&r)
}

// addHeld adds to r what a route must know about c's held session.
func addHeld(r *proto.Record, h shard.Held, c *connection) {
	r.Value, r.Text = h.Holds, proto.TextID(h.Cursor)
	if c == nil {
		return
	}
	r.Body = proto.AppendEpoch(nil, c.loop.older[c.ref])
	r.Flags |= proto.FlagAck // also for a client that does not acknowledge: its kernel does in its place
}

// sendUpAgain announces a session that still waits for its catch-up.
func (l *loop) sendUpAgain(h shard.Held) {
	ref, _, _ := l.server.directory.find(h.User)
	l.server.sendUp(h, l.connOf(ref), l.turn)
}

// connOf returns the connection of ref's session; nil if another loop has it, or it
// has closed.
func (l *loop) connOf(ref shard.Ref) *connection {
	if ref.Shard != l.number || ref.Slot >= uint32(len(l.conns)) {
		return nil
	}
	if c := l.conns[ref.Slot]; c != nil && c.ref == ref {
		return c
	}
	return nil
}

// returningIfAbsent is the verdict for a session that the directory had a moment
// ago. If the session has ended since, it may return texts: the route asks again,
// and then finds the user among the returns.
func returningIfAbsent(verdict proto.Verdict) proto.Verdict {
	if verdict == proto.VerdictAbsent {
		return proto.VerdictReturning
	}
	return verdict
}

// refusePush answers a push that must be stored, not delivered, once the session's
// kept texts are in the box.
func (l *loop) refusePush(m *letter) {
	verdict := proto.VerdictAbsent
	if !m.page && !m.pass {
		if _, held := l.holdNow(m.ref); held != proto.VerdictTaken {
			verdict = proto.VerdictReturning
		}
	}
	m.requester.answer(m.id, verdict, 0)
}

// holdMoving holds a session whose client moves, and answers after its kept texts
// are in the box: the client's next session may begin at another server. Only the
// shard knows when that is: a flush may take several records, one after the other,
// and one of them may be answered before this function checks the returns.
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

// movingTurnsMax bounds how often holdMoving checks: more than the records that a
// session's texts take. If it is reached, the session has been caught up and given
// new texts again and again, and the revoke is answered VerdictReturning.
const movingTurnsMax = 16

// holdMovingAgain repeats m after the letter that ends the present flush.
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

// answerReturned answers a revoke when no text of user is on its way into the box:
// at once if none is. VerdictReturning: the texts could not be put there.
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

// onReturning answers whether an older session of the user still returns texts.
func (l *linkEnd) onReturning(r *proto.Record) {
	verdict := proto.VerdictAbsent
	if l.server.returns.returning(r.User, r.Generation) {
		verdict = proto.VerdictTaken
	}
	l.answer(r.ID, verdict, 0)
}

// waitForReturns waits until the texts of ended sessions are in boxes, no link is
// up, or ctx ends.
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

// reportNotReturned is called when all connections have closed: kept texts that are
// not in boxes are lost with the process.
func (s *Server) reportNotReturned() {
	users, texts := s.returns.outstanding()
	if users == 0 {
		return
	}
	s.metrics.notReturned.Add(texts)
	s.log.Error("going down with texts that sessions had kept and that no route could store: those that their clients have not read are lost",
		"texts", texts, "users", users)
}
