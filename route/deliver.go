package route

import (
	"context"
	"errors"
	"math/rand/v2"
	"strconv"
	"time"

	"cim/proto"
	"cim/route/access"
	"cim/store"
)

// private serves a private message over HTTP. The answer may be deferred.
func (r *Route) private(ctx context.Context, caller access.Caller, request *proto.PrivateRequest) answer {
	sender, err := readUser("userId", request.UserID)
	if err != nil {
		return invalid(err)
	}
	receiver, err := readUser("receiveUserId", request.ReceiveUserID)
	if err != nil {
		return invalid(err)
	}
	texts, err := proto.Texts(request.Msg, request.BatchMsg)
	if err != nil {
		return invalid(err)
	}
	id, err := chosenID(caller, sender, request.TextID)
	if err != nil {
		return invalid(err)
	}
	want, err := readWant(request.Want)
	if err != nil {
		return invalid(err)
	}
	m := message{
		sender: proto.User{ID: sender}, id: id, at: sentAt(request.Client, request.Sent), texts: texts,
		want: want, returningDeadline: time.Now().Add(returningMax),
	}
	if want == proto.WantTaken {
		return r.deliverDeferred(ctx, receiver, m, request.Client)
	}
	return r.awaitReceipt(r.deliver(ctx, receiver, m)).withID(request.Client, id, want)
}

// withID adds what a client of ours gets beside the code: the id of the first text if it was
// delivered or stored, the outcome of a message with a want, and the count of receivers.
func (a answer) withID(client proto.Number, id proto.TextID, want proto.Want) answer {
	wanted := want != proto.WantTaken
	if client == 1 && (a.code == proto.CodeSuccess || a.code == proto.CodeOffline || wanted && a.unknown) {
		sent := proto.SentBody{TextID: strconv.FormatUint(uint64(id), 10)}
		if wanted {
			sent.Outcome = a.outcome().String()
		}
		if n, known := a.receivers.Count(); known {
			sent.Receivers = &n
		}
		a.body = proto.Body(sent)
	}
	return a
}

// message is a private or group message. It keeps its id when it is tried again, and in the store.
type message struct {
	sender            proto.User
	id                proto.TextID // of the first text
	at                proto.UnixMilli
	texts             []string
	want              proto.Want
	guestDeadline     time.Time // when a guest must have answered; zero: guestTimeout from its push on
	returningDeadline time.Time // how long it may wait for a session that returns what it kept; zero: not at all
	toAll             bool
}

// sentNow is when what comes now was sent.
func sentNow() proto.UnixMilli { return proto.UnixMilli(time.Now().UnixMilli()) }

// sentAt is the time at which a message was sent: now, or earlier if a client of ours puts back a
// message that it had received.
func sentAt(client, sent proto.Number) proto.UnixMilli {
	at := sentNow()
	if client == 1 && sent > 0 {
		at = min(at, proto.UnixMilli(sent))
	}
	return at
}

// newTextID is for a message that no server has given one.
func newTextID() proto.TextID { return proto.TextID(rand.Uint64()) }

func (m message) appendBody(dst []byte) []byte {
	whole := proto.MessageFrom(proto.CommandMessage, m.sender, m.id, m.texts)
	one := [1]proto.UnixMilli{m.at} // costs no allocation
	whole.ToAll, whole.Sent = m.toAll, one[:]
	if len(m.texts) > 1 {
		whole.Sent = proto.SameTime(m.at, len(m.texts))
	}
	return proto.AppendBody(dst, whole)
}

// deliver pushes m to receiver's session or stores it. Only the id of m's sender need be set.
func (r *Route) deliver(ctx context.Context, receiver proto.UserID, m message) answer {
	sender, refused := r.accountsOf(ctx, m.sender.ID, receiver)
	if refused != nil {
		return *refused
	}
	m.sender = sender
	return r.countPrivate(r.deliverWanted(ctx, m, receiver))
}

// accountsOf looks up the accounts of a private message.
func (r *Route) accountsOf(ctx context.Context, sender, receiver proto.UserID) (proto.User, *answer) {
	from, refused := r.accountOf(ctx, "userId", sender)
	if refused == nil {
		_, refused = r.accountOf(ctx, "receiveUserId", receiver)
	}
	return from, refused
}

// countPrivate returns a.
func (r *Route) countPrivate(a answer) answer {
	if !a.returning { // otherwise it is tried again
		r.counters.private.inc(a.code)
	}
	return a
}

// deliverWanted does what m wants. While some process would not keep the text's id, a
// text that is stored first could not be removed by it.
func (r *Route) deliverWanted(ctx context.Context, m message, receiver proto.UserID) answer {
	switch {
	case m.want == proto.WantStored && r.canAcknowledge():
		return r.storeFirst(ctx, m, receiver)
	case m.want != proto.WantReceived:
		return r.deliverOrStore(ctx, m, receiver, 0, nil)
	}
	receipt := r.receipts.start()
	if receipt == 0 {
		r.counters.refused.inc("receipt")
		return answer{code: proto.CodeLimit}
	}
	a := r.deliverOrStore(ctx, m, receiver, receipt, nil)
	if a.receipt == 0 {
		r.receipts.forget(receipt)
	}
	return a
}

// behindPauses are the pauses between pushes to a session whose catch-up runs. After the last one
// the message is stored behind the others. If each message were stored at once, the catch-up would
// have to look again for each, and with a store that reads no faster than it writes, a few senders
// could keep it from ever ending.
var behindPauses = [...]time.Duration{10 * time.Millisecond, 20 * time.Millisecond, 40 * time.Millisecond}

// deliverOrStore pushes m to receiver's session or stores it. If the session took it and a receipt
// is due, the answer has the receipt's number; receipt 0: none is wanted. first makes the first
// push; nil: push.
func (r *Route) deliverOrStore(ctx context.Context, m message, receiver proto.UserID, receipt uint64, first pushFunc) answer {
	p := returningWait{until: m.returningDeadline}
	end, err := r.pushUntilSettled(ctx, m, receiver, receipt, first, &p)
	switch {
	case err != nil:
		return r.storeFailed("look up a receiver", err)
	case end.unknown:
		return answer{code: proto.CodeFailure, message: "the receiver's server has not answered: the message may arrive or not", unknown: true}
	case end.verdict == proto.VerdictTaken && end.via != nil:
		return answer{code: proto.CodeSuccess, receipt: receipt, via: end.via}
	case end.verdict == proto.VerdictTaken:
		return answer{code: proto.CodeSuccess}
	case end.verdict == proto.VerdictBusy:
		return answer{code: proto.CodeLimit}
	case end.verdict == proto.VerdictReturning:
		return p.busyAnswer()
	}
	if end.slow || p.pause > 0 {
		work := newDeadline(storeTimeout)
		defer work.stop()
		ctx = work
	}
	return r.storeMessage(ctx, m, receiver, end.target)
}

// pushUntilSettled pushes m until its verdict is more than that it has to wait.
func (r *Route) pushUntilSettled(ctx context.Context, m message, receiver proto.UserID, receipt uint64, first pushFunc, p *returningWait) (pushResult, error) {
	behind := 0 // pauses so far for the end of a catch-up
	push := first
	if push == nil {
		push = r.push
	}
	for ; ; push = r.push {
		end, err := push(ctx, m, receiver, receipt)
		switch {
		case err != nil:
			return end, err
		case end.verdict == proto.VerdictBehind && behind == len(behindPauses):
			r.backoffs.start(receiver)
			return end, nil
		case end.verdict == proto.VerdictBehind && !r.backoffs.active(receiver):
			sleep(ctx, behindPauses[behind])
			behind++
		case end.verdict != proto.VerdictReturning || !p.wait():
			return end, nil
		}
	}
}

// pushFunc makes one push.
type pushFunc func(ctx context.Context, m message, receiver proto.UserID, receipt uint64) (pushResult, error)

func newBody() any { return new([]byte) }

// pushResult is how a push has ended.
type pushResult struct {
	verdict proto.Verdict
	target  pushTarget
	unknown bool    // a guest may have it or not
	slow    bool    // a guest was asked, for longer than a store may take
	via     *stream // that it was taken over; nil: it was taken by a guest
}

// pushTarget is the session that the failed push of a message was for, if it may still live.
type pushTarget struct {
	session sessionKey // zero: none
	silent  bool       // its server gave no answer
}

// push sends m to the session of receiver's record, and once more if the record was outdated.
func (r *Route) push(ctx context.Context, m message, receiver proto.UserID, receipt uint64) (pushResult, error) {
	record, found, err := r.lookup(ctx, receiver)
	if err != nil || !found {
		return pushResult{verdict: proto.VerdictAbsent}, err
	}
	return r.pushToRecord(ctx, m, receiver, receipt, record)
}

// pushToRecord is push to the session of record, which was looked up before.
func (r *Route) pushToRecord(ctx context.Context, m message, receiver proto.UserID, receipt uint64, record store.Record) (pushResult, error) {
	buffer := r.bodies.Get().(*[]byte)
	defer r.bodies.Put(buffer)
	*buffer = m.appendBody((*buffer)[:0])
	return r.retryPush(ctx, m, receiver, receipt, record, r.pushToSession(record, receiver, *buffer, m.guestDeadline, receipt))
}

// retryPush returns end, how the push to the session of record has ended, or the end
// of the next one if that record proves to be old.
func (r *Route) retryPush(ctx context.Context, m message, receiver proto.UserID, receipt uint64, record store.Record, end pushResult) (pushResult, error) {
	if end.unknown || end.verdict != proto.VerdictAbsent && end.verdict != proto.VerdictStale {
		return end, nil
	}
	if end.slow {
		work := newDeadline(storeTimeout)
		defer work.stop()
		ctx = work
	}
	again, found, err := r.lookupFresh(ctx, receiver)
	if err != nil || !found || sessionOf(again) == sessionOf(record) {
		return pushResult{verdict: proto.VerdictAbsent, target: end.target, slow: end.slow}, err
	}
	buffer := r.bodies.Get().(*[]byte)
	defer r.bodies.Put(buffer)
	*buffer = m.appendBody((*buffer)[:0])
	next := r.pushToSession(again, receiver, *buffer, m.guestDeadline, receipt)
	next.slow = next.slow || end.slow
	return next, nil
}

// sessionOf is the session that a record names.
func sessionOf(record store.Record) sessionKey {
	return sessionKey{record.Place.Epoch, record.Generation}
}

// pushToSession pushes to the session of record. A session with a pending hold gets no live
// message, since stored ones come first; it is held instead. So the texts that it kept are in the
// box before anything is stored behind them.
func (r *Route) pushToSession(record store.Record, receiver proto.UserID, body []byte, by time.Time, receipt uint64) pushResult {
	to := sessionOf(record)
	s := r.cluster.server(to.epoch)
	ask := proto.Record{Kind: proto.RecordPush, User: receiver, Generation: to.generation, Value: receipt, Body: body}
	pending := false
	switch {
	case s == nil:
		return pushResult{verdict: proto.VerdictAbsent, target: pushTarget{session: to}}
	case s.guest():
		return r.pushToGuest(s, &ask, by)
	case !r.pendingHolds.contains(receiver, to):
	case s.responsive():
		pending = true
		ask = session{receiver, to.generation, s}.record(proto.RecordHold)
	default:
		return pushResult{verdict: proto.VerdictAbsent, target: pushTarget{to, true}}
	}
	answer := s.ask(&ask)
	if pending && answer.err == nil && answer.verdict == proto.VerdictTaken {
		answer.verdict = proto.VerdictBehind
	}
	return pushResultOf(answer, to)
}

// pushResultOf is the result of a push to the session to, from its answer.
func pushResultOf(answer reply, to sessionKey) pushResult {
	if noAnswer(answer.err) {
		return pushResult{verdict: proto.VerdictAbsent, target: pushTarget{to, true}}
	}
	verdict := answer.outcome()
	if verdict != proto.VerdictBehind {
		to = sessionKey{} // it has ended, or nothing is stored
	}
	return pushResult{verdict: verdict, target: pushTarget{session: to}, via: answer.via}
}

// storeMessage stores m for receiver. Before it returns it holds the session that receiver has by
// then, so that nothing newer reaches that session first.
func (r *Route) storeMessage(ctx context.Context, m message, receiver proto.UserID, before pushTarget) answer {
	err := r.store.Append(ctx, receiver, m.sender, m.id, m.at, m.texts)
	switch {
	case errors.Is(err, store.ErrShareFull):
		r.counters.boxFull.inc("share")
		return answer{code: proto.CodeOfflineStore, message: "this sender's share of the receiver's box of stored messages is full"}
	case errors.Is(err, store.ErrBoxFull):
		r.counters.boxFull.inc("box")
		return answer{code: proto.CodeOfflineStore, message: "the receiver's box of stored messages is full"}
	case storeAway(err):
		return r.storeFailed("store a message", err)
	case err != nil:
		r.storeFault("store a message", err)
		return answer{code: proto.CodeOfflineStore}
	}
	r.counters.stored.Add(len(m.texts))
	r.holdAfterStore(ctx, receiver, before)
	return answer{code: proto.CodeOffline}
}
