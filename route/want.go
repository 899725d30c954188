package route

import (
	"context"
	"errors"
	"strconv"
	"time"

	"cim/proto"
	"cim/route/access"
	"cim/store"
)

const (
	// returningMax is how long a message waits for a session that returns texts: if it were stored
	// before those are in the box, it would come first. After it the message is refused as busy.
	returningMax = 1500 * time.Millisecond
	// returningPauseMin and returningPauseMax are between two looks. Each pause is
	// twice as long as the one before.
	returningPauseMin = 10 * time.Millisecond
	returningPauseMax = 160 * time.Millisecond
)

// returningWait is a message's wait for a session that returns texts.
type returningWait struct {
	until time.Time // zero: not at all
	pause time.Duration
}

// wait pauses, and reports false if the time is over.
func (p *returningWait) wait() bool {
	p.pause = min(max(2*p.pause, returningPauseMin), returningPauseMax)
	if time.Until(p.until) < p.pause {
		return false
	}
	time.Sleep(p.pause)
	return true
}

// busyAnswer is the answer to a message whose receiver's session still returns texts. The message
// was neither pushed nor stored.
func (p *returningWait) busyAnswer() answer {
	return answer{code: proto.CodeLimit, returning: p.until.IsZero()}
}

// chosenID is the id of a message's first text: the sender's choice if the caller has proved to be
// the sender. Without that proof a caller could reuse the ids of another user's texts, and have
// those dropped as duplicates.
func chosenID(caller access.Caller, sender proto.UserID, text string) (proto.TextID, error) {
	id, err := proto.ParseTextID(text)
	if err != nil {
		return 0, err
	}
	if id == 0 || !caller.Is(sender) {
		id = newTextID()
	}
	return id, nil
}

// readWant reads the want of a request.
func readWant(n proto.Number) (proto.Want, error) {
	if n < 0 || n > proto.Number(proto.WantStored) {
		return 0, errors.New("want is " + strconv.FormatInt(int64(n), 10) + ", want 0, 1 or 2")
	}
	return proto.Want(n), nil
}

// canAcknowledge reports whether texts may be acknowledged: every process that may
// have to read a box removes texts one by one, and keeps their ids.
func (r *Route) canAcknowledge() bool {
	return !r.cluster.servers().olderLinks && (r.ungranted == nil || r.ungranted.KeepsIDs())
}

// storeFirst stores m before it is pushed. Texts that a session of the receiver has kept come
// before m, so the session is held, and storeFirst waits until they are in the box.
func (r *Route) storeFirst(ctx context.Context, m message, receiver proto.UserID) answer {
	p := returningWait{until: m.returningDeadline}
	verdict, before, err := r.holdBefore(ctx, receiver)
	for err == nil && verdict == proto.VerdictReturning {
		if !p.wait() {
			return p.busyAnswer()
		}
		verdict, before, err = r.holdBefore(ctx, receiver)
	}
	if err == nil && verdict == proto.VerdictBusy {
		return answer{code: proto.CodeLimit}
	}
	if err != nil {
		failed := r.storeFailed("look up a receiver", err)
		failed.unknown = true // the sender tries again, under the same id
		return failed
	}
	if p.pause > 0 {
		work := newDeadline(storeTimeout)
		defer work.stop()
		ctx = work
	}
	stored := r.storeMessage(ctx, m, receiver, before)
	switch stored.code {
	case proto.CodeFailure:
		stored.unknown = true
	case proto.CodeOffline:
		stored.message = "the message was stored, and is brought from there"
	}
	return stored
}

// holdBefore holds receiver's session before a text is stored for it. VerdictReturning means that
// the session is still returning texts to the box, VerdictTaken that it has done so, and
// VerdictAbsent that no session can be asked.
func (r *Route) holdBefore(ctx context.Context, receiver proto.UserID) (verdict proto.Verdict, before pushTarget, err error) {
	record, found, err := r.lookup(ctx, receiver)
	if err != nil || !found {
		return proto.VerdictAbsent, pushTarget{}, err
	}
	response := r.askHold(record, receiver)
	if response.err == nil && (response.verdict == proto.VerdictAbsent || response.verdict == proto.VerdictStale) {
		again, found, err := r.lookupFresh(ctx, receiver)
		if err != nil || !found || sessionOf(again) == sessionOf(record) {
			return proto.VerdictAbsent, pushTarget{}, err
		}
		record, response = again, r.askHold(again, receiver)
	}
	if response.err == nil && (response.verdict == proto.VerdictAbsent || response.verdict == proto.VerdictStale) {
		return response.verdict, pushTarget{}, nil
	}
	return response.outcome(), pushTarget{sessionOf(record), noAnswer(response.err)}, nil
}

// askHold asks the server of record to hold the session there.
func (r *Route) askHold(record store.Record, receiver proto.UserID) reply {
	at, live := r.session(receiver, record)
	if !live {
		return reply{verdict: proto.VerdictAbsent}
	}
	ask := at.record(proto.RecordHold)
	return at.server.ask(&ask)
}

// withOutcome is the answer to a taken message once its receipt has arrived.
func (a answer) withOutcome(outcome proto.Outcome) answer {
	a.receipt, a.via = 0, nil
	switch outcome {
	case proto.OutcomeReceived:
		a.received = true
	case proto.OutcomeStored:
		a.code = proto.CodeOffline
	case proto.OutcomeDelivered:
	default:
		a.code, a.unknown = proto.CodeFailure, true
		a.message = "the receiver's server has not response that the message was received: it may have been or not"
	}
	return a
}

// outcome is the outcome that the sender gets.
func (a answer) outcome() proto.Outcome {
	switch {
	case a.unknown:
		return proto.OutcomeUnknown
	case a.received:
		return proto.OutcomeReceived
	}
	return proto.OutcomeOf(a.code)
}

// awaitReceipt waits for the receipt of a message over HTTP, if one is due, for receiptTimeout at
// most.
func (r *Route) awaitReceipt(a answer) answer {
	if a.receipt == 0 {
		return a
	}
	came := make(chan proto.Outcome, 1)
	r.receipts.await(a.receipt, a.via, func(outcome proto.Outcome) { came <- outcome })
	return a.withOutcome(<-came)
}
