package route

import (
	"context"
	"errors"
	"math/rand/v2"
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
	return r.deliver(ctx, sender, receiver, newTextID(), texts)
}

// message is what one user says to another or to everybody. It keeps its id
// however often it is tried, and where it is stored.
type message struct {
	sender proto.User
	id     proto.TextID // of the first text
	texts  []string
}

// newTextID is for a message that no server has given one.
func newTextID() proto.TextID { return proto.TextID(rand.Uint64()) }

func (m message) appendBody(dst []byte) []byte {
	return proto.AppendBody(dst, proto.MessageFrom(proto.CommandMessage, m.sender, m.id, m.texts))
}

// deliver brings texts, of which the first is called id, to receiver's session,
// or stores them.
func (r *Route) deliver(ctx context.Context, senderID, receiver proto.UserID, id proto.TextID, texts []string) answer {
	sender, refused := r.accountOf(ctx, "userId", senderID)
	if refused == nil {
		_, refused = r.accountOf(ctx, "receiveUserId", receiver)
	}
	if refused != nil {
		return *refused
	}
	a := r.deliverKnown(ctx, message{sender, id, texts}, receiver)
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
	verdict, err := r.push(ctx, m, receiver)
	for _, pause := range behindPauses {
		if err != nil || verdict != proto.VerdictBehind {
			break
		}
		sleep(ctx, pause)
		verdict, err = r.push(ctx, m, receiver)
	}
	switch {
	case err != nil:
		return r.storeFailed("look up a receiver", err)
	case verdict == proto.VerdictTaken:
		return answer{code: proto.CodeSuccess}
	case verdict == proto.VerdictBusy:
		return answer{code: proto.CodeLimit}
	}
	return r.keep(ctx, m, receiver)
}

func newBody() any { return new([]byte) }

// push brings m to the session that receiver's record names, and once
// more if the record proves to be old.
func (r *Route) push(ctx context.Context, m message, receiver proto.UserID) (proto.Verdict, error) {
	record, found, err := r.lookup(ctx, receiver)
	if err != nil || !found {
		return proto.VerdictAbsent, err
	}
	buffer := r.bodies.Get().(*[]byte)
	defer r.bodies.Put(buffer)
	*buffer = m.appendBody((*buffer)[:0])
	verdict := r.pushTo(record, receiver, *buffer)
	if verdict != proto.VerdictAbsent && verdict != proto.VerdictStale {
		return verdict, nil
	}
	again, found, err := r.lookupFresh(ctx, receiver)
	if err != nil || !found || samePlace(again, record) {
		return proto.VerdictAbsent, err
	}
	return r.pushTo(again, receiver, *buffer), nil
}

func samePlace(a, b store.Record) bool {
	return a.Generation == b.Generation && a.Place.Epoch == b.Place.Epoch
}

func (r *Route) pushTo(record store.Record, receiver proto.UserID, body []byte) proto.Verdict {
	s := r.cluster.server(record.Place.Epoch)
	if s == nil {
		return proto.VerdictAbsent
	}
	ask := proto.Record{Kind: proto.RecordPush, User: receiver, Generation: record.Generation, Body: body}
	return s.ask(&ask).outcome()
}

// keep stores m for receiver. Before it says so it makes sure that a
// session which receiver has meanwhile will get them before anything newer.
func (r *Route) keep(ctx context.Context, m message, receiver proto.UserID) answer {
	err := r.store.Append(ctx, receiver, m.sender, m.id, m.texts)
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
	if err := r.wake(ctx, receiver); away(err) {
		r.storeFault("look up the receiver of a stored message", err)
		r.wakes.take(receiver)
	} else if err != nil {
		r.notices.say("stored message may wait for a session that lives", "user", receiver, "error", err)
	}
	return answer{code: proto.CodeOffline}
}

// wake holds receiver's session, if it has one, and starts its catch-up. Its
// record is read after the store, past the cache: a session that this misses
// begins later, and finds the message by its own catch-up. One whose server is
// not live may live all the same, and is caught up if its server comes back.
func (r *Route) wake(ctx context.Context, receiver proto.UserID) error {
	record, found, err := r.lookupFresh(ctx, receiver)
	if err != nil || !found {
		return err
	}
	at, live := r.session(receiver, record)
	if !live {
		r.miss(record.Place.Epoch, receiver, record.Generation)
		return nil
	}
	holds, err := at.hold(ctx)
	if errors.Is(err, errNoSession) {
		return nil
	}
	r.startCatchup(catchup{session: at, held: err == nil, holds: holds})
	return err
}
