package route

import (
	"context"
	"errors"
	"math/rand/v2"
	"strconv"
	"time"

	"cim/proto"
	"cim/store"
)

// private is a private message over HTTP.
func (r *Route) private(ctx context.Context, request *proto.PrivateRequest) answer {
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
	id := newTextID()
	m := message{sender: proto.User{ID: sender}, id: id, at: sentAt(request.Client, request.Sent), texts: texts}
	return r.deliver(ctx, receiver, m).withID(request.Client, id)
}

// withID tells a client of ours the id of the first text, if it was delivered
// or stored.
func (a answer) withID(client proto.Number, id proto.TextID) answer {
	if client == 1 && (a.code == proto.CodeSuccess || a.code == proto.CodeOffline) {
		sent := proto.SentBody{TextID: strconv.FormatUint(uint64(id), 10)}
		if n, known := a.receivers.Count(); known {
			sent.Receivers = &n
		}
		a.body = proto.Body(sent)
	}
	return a
}

// message is what one user says to another or to everybody. It keeps its id
// however often it is tried, and where it is stored.
type message struct {
	sender proto.User
	id     proto.TextID // of the first text
	at     proto.UnixMilli
	texts  []string
	by     time.Time // when a server of the original must have answered; zero: pushTimeout from its push on
	toAll  bool
}

// now is when what comes now was sent.
func now() proto.UnixMilli { return proto.UnixMilli(time.Now().UnixMilli()) }

// sentAt is when a request says that its message was sent: now, or before if a
// client of ours puts back what it had received.
func sentAt(client, sent proto.Number) proto.UnixMilli {
	at := now()
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

// deliver brings m, whose sender's name need not be known, to receiver's session,
// or stores it.
func (r *Route) deliver(ctx context.Context, receiver proto.UserID, m message) answer {
	sender, refused := r.accountOf(ctx, "userId", m.sender.ID)
	if refused == nil {
		_, refused = r.accountOf(ctx, "receiveUserId", receiver)
	}
	if refused != nil {
		return *refused
	}
	m.sender = sender
	a := r.deliverKnown(ctx, m, receiver)
	r.counters.private.inc(a.code)
	return a
}

// behindPauses are how long a message waits before it is brought again to a
// session whose catch-up runs, and then is stored behind what the catch-up
// brings. Stored at once, each would make the catch-up look again, and with a
// store that takes as long to read as to write, a few senders could keep it
// from its end for ever: so they let it finish.
var behindPauses = [...]time.Duration{10 * time.Millisecond, 20 * time.Millisecond, 40 * time.Millisecond}

func (r *Route) deliverKnown(ctx context.Context, m message, receiver proto.UserID) answer {
	end, err := r.push(ctx, m, receiver)
	for _, pause := range behindPauses {
		if err != nil || end.verdict != proto.VerdictBehind {
			break
		}
		sleep(ctx, pause)
		end, err = r.push(ctx, m, receiver)
	}
	switch {
	case err != nil:
		return r.storeFailed("look up a receiver", err)
	case end.unknown:
		return answer{code: proto.CodeFailure, message: "the receiver's server has not answered: the message may arrive or not", unknown: true}
	case end.verdict == proto.VerdictTaken:
		return answer{code: proto.CodeSuccess}
	case end.verdict == proto.VerdictBusy:
		return answer{code: proto.CodeLimit}
	}
	if end.slow {
		work := newDeadline(storeTimeout)
		defer work.stop()
		ctx = work
	}
	return r.keep(ctx, m, receiver, end.unanswered)
}

func newBody() any { return new([]byte) }

// pushed is how a push has ended.
type pushed struct {
	verdict    proto.Verdict
	unanswered lastRecord // the session that it was meant for, if its server gave no answer
	unknown    bool       // a server of the original may have it or not
	slow       bool       // a server of the original was asked, for longer than a store may take
}

// push brings m to the session that receiver's record names, and once
// more if the record proves to be old.
func (r *Route) push(ctx context.Context, m message, receiver proto.UserID) (pushed, error) {
	record, found, err := r.lookup(ctx, receiver)
	if err != nil || !found {
		return pushed{verdict: proto.VerdictAbsent}, err
	}
	buffer := r.bodies.Get().(*[]byte)
	defer r.bodies.Put(buffer)
	*buffer = m.appendBody((*buffer)[:0])
	end := r.pushTo(record, receiver, *buffer, m.by)
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
		return pushed{verdict: proto.VerdictAbsent, unanswered: end.unanswered, slow: end.slow}, err
	}
	next := r.pushTo(again, receiver, *buffer, m.by)
	next.slow = next.slow || end.slow
	return next, nil
}

// sessionOf is the session that a record names.
func sessionOf(record store.Record) lastRecord {
	return lastRecord{record.Place.Epoch, record.Generation}
}

// pushTo passes by nobody who is missed: what was stored for him comes first.
func (r *Route) pushTo(record store.Record, receiver proto.UserID, body []byte, by time.Time) pushed {
	to := sessionOf(record)
	s := r.cluster.server(to.epoch)
	switch {
	case s == nil:
		return pushed{verdict: proto.VerdictAbsent}
	case s.pusher != nil:
		return r.pushOriginal(s, receiver, body, by)
	case !r.missed.has(receiver, to):
	case s.answers():
		return pushed{verdict: proto.VerdictBehind}
	default:
		return pushed{verdict: proto.VerdictAbsent, unanswered: to}
	}
	ask := proto.Record{Kind: proto.RecordPush, User: receiver, Generation: to.generation, Body: body}
	answer := s.ask(&ask)
	if noAnswer(answer.err) {
		return pushed{verdict: proto.VerdictAbsent, unanswered: to}
	}
	return pushed{verdict: answer.outcome()}
}

// keep stores m for receiver. Before it says so it makes sure that a
// session which receiver has meanwhile will get them before anything newer.
// The one that was unanswered is not asked again.
func (r *Route) keep(ctx context.Context, m message, receiver proto.UserID, unanswered lastRecord) answer {
	err := r.storeTexts(ctx, receiver, m)
	switch {
	case errors.Is(err, store.ErrBoxFull):
		return answer{code: proto.CodeOfflineStore, message: "the receiver's box of stored messages is full"}
	case away(err):
		return r.storeFailed("store a message", err)
	case err != nil:
		r.storeFault("store a message", err)
		return answer{code: proto.CodeOfflineStore}
	}
	r.counters.stored.Add(len(m.texts))
	if err := r.wake(ctx, receiver, unanswered); away(err) {
		r.storeFault("look up the receiver of a stored message", err)
		r.wakes.take(receiver)
	} else if err != nil {
		r.notices.say("stored message may wait for a session that lives", "user", receiver, "error", err)
	}
	return answer{code: proto.CodeOffline}
}

// wake holds receiver's session, if it has one, and starts its catch-up. Its
// record is read after the store, past the cache: a session that this misses
// begins later, and finds the message by its own catch-up. One that cannot be
// held, as its server is not live or does not answer, is missed. One that was
// missed before this was stored is held after it.
func (r *Route) wake(ctx context.Context, receiver proto.UserID, unanswered lastRecord) error {
	record, found, err := r.lookupFresh(ctx, receiver)
	if err != nil || !found {
		return err
	}
	is := sessionOf(record)
	at, live := r.session(receiver, record)
	if !live || is == unanswered || r.missed.has(receiver, is) {
		r.miss(receiver, is)
		return nil
	}
	holds, err := at.hold(ctx)
	switch {
	case errors.Is(err, errNoSession):
		return nil
	case noAnswer(err):
		r.miss(receiver, is)
		return nil
	}
	r.startCatchup(catchup{session: at, held: err == nil, holds: holds})
	return err
}
