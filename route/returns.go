package route

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"cim/internal/link"
	"cim/proto"
	"cim/store"
)

const (
	// returnQueueMax and returnBytesMax bound the returns that wait for one worker, and the bytes
	// of all waiting returns. A refused one is busy: its server sends it again.
	returnQueueMax = 64
	returnBytesMax = 16 << 20
	// ackedQueueMax and ackedBytesMax do the same for acknowledgements of stored texts. The texts
	// of a dropped one stay in the box: they are sent again at the user's next login, and the
	// client recognises them.
	ackedQueueMax = 256
	ackedBytesMax = 8 << 20
	// removePause is between two tries of a removal while the store is away.
	removePause = 500 * time.Millisecond
)

// returnedTexts is what a session kept and its client has not acknowledged, on its
// way to the box.
type returnedTexts struct {
	server *server
	on     *stream // that the answer goes back on
	id     uint64
	session
	texts []store.Returned
}

// ackedTexts are stored texts that their receiver has acknowledged.
type ackedTexts struct {
	user proto.UserID
	keys []store.TextKey
	done chan<- struct{} // closed when all items before it have been removed; nil: not awaited
}

// onReturn queues the texts of a RecordReturn for the box. It never blocks; an
// error ends the link.
func (r *Route) onReturn(from *server, on *stream, record *proto.Record) error {
	messages, err := proto.ParseReturned(record.Body)
	if err != nil {
		return fmt.Errorf("route: texts that a server returns: %w", err)
	}
	item := returnedTexts{server: from, on: on, id: record.ID, session: session{record.User, record.Generation, from}}
	for _, message := range messages {
		item.texts = appendReturned(item.texts, message)
	}
	if !r.returns.add(item.user, item, len(record.Body)) {
		r.counters.refused.inc("return")
		r.answerReturn(item, proto.VerdictBusy)
	}
	return nil
}

// appendReturned appends the texts of a message that are not acknowledged, as
// copies.
func appendReturned(dst []store.Returned, message proto.Returned) []store.Returned {
	var view proto.View
	view.Parse(message.Body) // ParseReturned has done it once
	sender := proto.User{Name: string(view.Property(proto.PropertySenderName))}
	id, err := strconv.ParseInt(string(view.Property(proto.PropertySenderID)), 10, 64)
	if err == nil { // otherwise it came by /sendMsg, and its sender is not a user of ours
		sender.ID = proto.UserID(id)
	}
	skip := message.Skip
	view.EachReceived(func(text proto.Received) {
		if skip--; skip < 0 {
			dst = append(dst, store.Returned{Sender: sender, ID: text.ID, Sent: text.Sent, Text: string(text.Text)})
		}
	})
	return dst
}

// storeReturned puts returned texts into the box. A newer session of the user, which
// may have found the box empty, is held before the answer, as by every store.
func (r *Route) storeReturned(item returnedTexts) {
	if item.on.stale() {
		r.counters.refused.inc("stale return")
		item.on.conn.Abort(errStoodStill) // its server has asked another route by now
		return
	}
	if r.http.Draining() && r.outage.active() {
		r.answerReturn(item, proto.VerdictBusy)
		return
	}
	work := newDeadline(storeTimeout)
	defer work.stop()
	err := r.store.Return(work, item.user, item.texts)
	switch {
	case errors.Is(err, store.ErrBoxFull):
		r.notices.Say("texts of a session that has ended are lost: the box has no room for them", "user", item.user, "texts", len(item.texts))
		r.answerReturn(item, proto.VerdictRefused)
	case err != nil:
		r.storeFault("put texts back into a box", err)
		r.answerReturn(item, proto.VerdictBusy)
	default:
		r.counters.textsReturned.Add(len(item.texts))
		r.holdNewerSession(work, item.session)
		r.answerReturn(item, proto.VerdictTaken)
	}
}

// holdNewerSession holds the user's present session, if it is another one than the one that
// returned texts, and starts its catch-up.
func (r *Route) holdNewerSession(ctx context.Context, from session) {
	old := sessionKey{from.server.member.Epoch, from.generation}
	record, found, err := r.lookupFresh(ctx, from.user)
	switch known, _ := r.caches.presenceOf(from.user); {
	case err != nil && known != old:
		err = errors.Join(err, r.holdCached(ctx, from.user, pushTarget{}))
	case err == nil && found && sessionOf(record) != old:
		err = r.holdSession(ctx, from.user, record, pushTarget{})
	}
	r.settleHold(from.user, err)
}

func (r *Route) answerReturn(item returnedTexts, verdict proto.Verdict) {
	r.counters.returns.inc(verdict.String())
	err := item.on.conn.Send(&proto.Record{Kind: proto.RecordReturned, ID: item.id, User: item.user, Verdict: verdict})
	if err != nil && !errors.Is(err, link.ErrClosed) {
		r.counters.refused.inc("returned")
		r.notices.Say("answer to a return lost: its server asks again", "server", item.server.member.Name(), "error", err)
	}
}

// onAcked queues the removal of texts that are acknowledged. It never blocks;
// an error ends the link.
func (r *Route) onAcked(record *proto.Record) error {
	keys, err := proto.ParseTextKeys(record.Body)
	if err != nil {
		return fmt.Errorf("route: keys of acknowledged texts: %w", err)
	}
	item := ackedTexts{user: record.User}
	for _, key := range keys {
		item.keys = append(item.keys, store.TextKey(key))
	}
	if !r.acks.add(item.user, item, len(record.Body)) {
		r.giveUpRemoval(item)
	}
	return nil
}

// awaitAcked waits until the texts that user's sessions have acknowledged so far are removed from
// the box: the next session needs none of them, and might not recognise them.
func (r *Route) awaitAcked(ctx context.Context, user proto.UserID) {
	if r.acks.idle() {
		return // true at most logins; only acknowledgements have bytes
	}
	ctx, stop := context.WithTimeout(ctx, storeTimeout)
	defer stop()
	done := make(chan struct{})
	if !r.acks.add(user, ackedTexts{user: user, done: done}, 0) {
		return // it may come again
	}
	select {
	case <-done:
	case <-ctx.Done():
	}
}

// removeAcked removes acknowledged texts from their box. While the store is away it retries, and
// later items wait: a text that stays in the box is sent again, and a client that has restarted
// since does not recognise it.
func (r *Route) removeAcked(item ackedTexts) {
	if item.done != nil {
		close(item.done)
		return
	}
	for {
		if r.http.Draining() && r.outage.active() {
			r.giveUpRemoval(item)
			return
		}
		err := r.tryRemove(item)
		if err == nil {
			r.counters.textsAcked.Add(len(item.keys))
			return
		}
		r.storeFault("remove acknowledged texts", err)
		if !storeAway(err) || r.http.Draining() { // a drain waits for one try, not for the store
			r.giveUpRemoval(item)
			return
		}
		time.Sleep(removePause)
	}
}

func (r *Route) tryRemove(item ackedTexts) error {
	work := newDeadline(storeTimeout)
	defer work.stop()
	return r.store.Remove(work, item.user, item.keys)
}

// giveUpRemoval gives up a removal.
func (r *Route) giveUpRemoval(item ackedTexts) {
	r.counters.refused.inc("acked")
	r.notices.Say("acknowledged texts stay in the box and come again", "user", item.user, "texts", len(item.keys))
}

// onReceipt settles the message whose receipt number the server sent.
func (r *Route) onReceipt(record *proto.Record) {
	outcome := proto.Outcome(record.Value)
	switch outcome {
	case proto.OutcomeReceived, proto.OutcomeStored, proto.OutcomeDelivered:
	default:
		outcome = proto.OutcomeUnknown
	}
	r.counters.receipts.inc(outcome.String())
	if !r.receipts.settle(record.ID, outcome) {
		r.counters.late.Inc()
	}
}
