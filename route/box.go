package route

import (
	"context"
	"errors"
	"fmt"
	"time"

	"cim/proto"
	"cim/store"
)

const (
	// leaseTime is how long a catch-up keeps its lease after the last renewal. A route that dies in
	// a catch-up, or whose store is away, blocks other catch-ups for no longer. Two renewals are
	// leaseRenewal and one call of the store apart.
	leaseTime = 5 * time.Second
	// leaseRenewal is the time between two renewals while a catch-up waits for a slow reader.
	leaseRenewal = leaseTime / 3
	// pageTimeout is how long one frame may take to leave the server's
	// process: as long as a client may be silent.
	pageTimeout = 30 * time.Second
	// roundsMax bounds the reads of the box in one catch-up. A full box takes 128; more means that
	// the box fills as fast as the catch-up empties it. Then the next catch-up continues.
	roundsMax = 200
	// olderMax is how long a catch-up waits for an older session of its user that returns texts,
	// since those come before live messages. olderPause is the time between two looks.
	olderMax   = 5 * time.Second
	olderPause = 50 * time.Millisecond
)

// box is a user's box while this catch-up has its lease.
type box struct {
	session
	// holdState is what its server has said of the session last. Its cursor is the
	// serial of the last text that was pushed and has left the server's process.
	holdState
	store store.Offline
	lease store.Lease
	// sentKeys are texts that were sent and are still stored, at most store.PageMax. Texts that the
	// receiver will acknowledge are not in it: the server has those removed.
	sentKeys []store.TextKey
	// returning reports whether the server of an epoch still returns what an older
	// session of the user kept. It is nil once that is settled.
	olderReturning func(at proto.Epoch) bool
}

func (r *Route) openBox(ctx context.Context, s session) (*box, error) {
	b := &box{session: s, store: r.store, olderReturning: func(at proto.Epoch) bool { return r.stillReturning(s, at) }}
	err := b.withTimeout(ctx, func(ctx context.Context) (err error) {
		b.lease, err = b.store.Acquire(ctx, s.user, leaseTime)
		return err
	})
	if err == nil && b.lease == 0 {
		err = errLeaseTaken
	}
	return b, err
}

// withTimeout gives one call of the store its deadline.
func (b *box) withTimeout(ctx context.Context, call func(context.Context) error) error {
	work := newDeadlineWithin(ctx, storeTimeout)
	defer work.stop()
	return call(work)
}

// send sends all texts of the box to the held session and then resumes the session. A message that
// is stored meanwhile is either seen by the next read of the box, or its route has held the session
// once more: then the resume fails and send reads the box again. So live messages pass only after
// everything that was stored before them.
//
// While senders keep storing, send ends only because it is faster: a sender's two holds have a
// durable store between them; two reads of the box have none, except one removal per store.PageMax
// texts. If there are too many senders for that, they are still served in order, by one catch-up
// after the other, and the worst outcome is a full box.
func (b *box) send(ctx context.Context, c catchup) error {
	b.holdState = c.holdState
	if !c.held {
		if err := b.hold(ctx); err != nil {
			return err
		}
	}
	for range roundsMax {
		page, err := b.page(ctx)
		if err != nil {
			return err
		}
		done := false
		switch {
		case len(page) > 0:
			err = b.sendPage(ctx, page)
		case b.olderReturning != nil && b.older != 0:
			err = b.awaitOlder(ctx) // the next read sees the returned texts
		default:
			done, err = b.resume(ctx)
		}
		if done || err != nil {
			return err
		}
	}
	return errEndless
}

func (b *box) hold(ctx context.Context) error {
	state, err := b.session.hold(ctx)
	if err == nil {
		state.cursor = max(state.cursor, b.cursor)
		b.holdState = state
	}
	return err
}

// awaitOlder waits until no older session of the user returns texts, for at most olderMax. After
// olderMax, returned texts may arrive behind newer ones.
func (b *box) awaitOlder(ctx context.Context) error {
	began, extended := time.Now(), time.Now()
	for b.olderReturning(b.older) && time.Since(began) < olderMax {
		if time.Since(extended) >= leaseRenewal {
			extended = time.Now()
			if err := b.extendLease(ctx); err != nil {
				return err
			}
		}
		if sleep(ctx, olderPause); ctx.Err() != nil {
			return ctx.Err()
		}
	}
	b.olderReturning = nil
	return nil
}

// stillReturning asks the server of epoch at whether a session of the user older than s still
// returns texts. A server that does not answer may have ended; the catch-up does not wait for it.
func (r *Route) stillReturning(s session, at proto.Epoch) bool {
	older := r.cluster.server(at)
	if older == nil || s.generation == 0 {
		return false
	}
	ask := session{s.user, s.generation - 1, older}.record(proto.RecordReturning)
	answer := older.ask(&ask)
	return answer.err == nil && answer.verdict == proto.VerdictTaken
}

func (b *box) page(ctx context.Context) (page []store.OfflineMessage, err error) {
	err = b.withTimeout(ctx, func(ctx context.Context) error {
		page, err = b.store.Page(ctx, b.user, b.cursor)
		return err
	})
	return page, err
}

// resume ends the hold of a session if the box is empty behind the cursor, and releases the lease
// if the box is still empty then. If a message was stored in between, by a route that found the
// lease taken, resume holds the session again and done is false.
func (b *box) resume(ctx context.Context) (done bool, err error) {
	ask := b.record(proto.RecordResume)
	ask.Value = b.holds
	answer := b.server.ask(&ask)
	switch {
	case answer.err == nil && answer.verdict == proto.VerdictBehind:
		b.holds = answer.state.holds
		return false, nil
	case answer.err == nil && answer.verdict == proto.VerdictReturning:
		sleep(ctx, returningPauseMax) // the next read sees the returned texts
		return false, b.extendLease(ctx)
	}
	if err := b.server.failure("resume", answer); err != nil {
		return false, err
	}
	if err := b.remove(ctx); err != nil {
		return false, err
	}
	if done, err = b.releaseLease(ctx); done || err != nil {
		return done, err
	}
	return false, b.hold(ctx)
}

// releaseLease releases the lease if the box is empty behind the cursor.
func (b *box) releaseLease(ctx context.Context) (done bool, err error) {
	err = b.withTimeout(ctx, func(ctx context.Context) error {
		done, err = b.store.ReleaseIfEmpty(ctx, b.user, b.lease, b.cursor)
		return err
	})
	return done, err
}

// sendPage sends a page as frames, each after the server has taken the one before. A removal takes
// as long as a store: one after each frame would give senders time to store more, and the session
// would stay held for as long as they continue.
func (b *box) sendPage(ctx context.Context, page []store.OfflineMessage) error {
	for len(page) > 0 {
		n := b.frameLength(page)
		if len(b.sentKeys)+n > store.PageMax {
			if err := b.remove(ctx); err != nil {
				return err
			}
		}
		if err := b.sendFrame(ctx, page[:n]); err != nil {
			return err
		}
		b.noteSent(page[:n])
		page = page[n:]
	}
	return nil
}

// noteSent is called when texts have left.
func (b *box) noteSent(frame []store.OfflineMessage) {
	b.cursor = frame[len(frame)-1].Serial
	if b.removedByServer(frame) {
		return
	}
	for _, m := range frame {
		b.sentKeys = append(b.sentKeys, m.Key())
	}
}

// removedByServer reports whether the session's server has the texts of a frame
// removed, once its client has acknowledged them.
func (b *box) removedByServer(frame []store.OfflineMessage) bool { return b.ack && frame[0].ID != 0 }

// remove removes the sent texts from the store. If the route is killed before, the next catch-up
// sends them again: at most store.PageMax texts.
func (b *box) remove(ctx context.Context) error {
	if len(b.sentKeys) == 0 {
		return nil
	}
	err := b.withTimeout(ctx, func(ctx context.Context) error { return b.store.Remove(ctx, b.user, b.sentKeys) })
	if err == nil {
		b.sentKeys = b.sentKeys[:0]
	}
	return err
}

// frameLength is how many texts of a page go into its first frame: those of
// one sender, within the bounds of a frame, to a session that acknowledges either
// with ids or without.
func (b *box) frameLength(page []store.OfflineMessage) int {
	n := frameLength(page)
	for i := 1; i < n && b.ack; i++ {
		if (page[i].ID == 0) != (page[0].ID == 0) {
			return i
		}
	}
	return n
}

// frameLength is how many texts of a page go into its first frame: those of
// one sender, within the bounds of a frame.
func frameLength(page []store.OfflineMessage) int {
	size := len(page[0].Text)
	for n := 1; n < min(len(page), proto.OfflineBatchMax); n++ {
		size += len(page[n].Text)
		if page[n].Sender != page[0].Sender || size > proto.MessageBytesMax {
			return n
		}
	}
	return min(len(page), proto.OfflineBatchMax)
}

func (b *box) sendFrame(ctx context.Context, frame []store.OfflineMessage) error {
	if err := b.extendLease(ctx); err != nil {
		return err
	}
	texts, ids, sent := make([]string, len(frame)), make([]proto.TextID, len(frame)), make([]proto.UnixMilli, len(frame))
	for i, m := range frame {
		texts[i], ids[i], sent[i] = m.Text, m.ID, m.SentAt()
	}
	page := proto.MessageFrom(proto.CommandOffline, frame[0].Sender, 0, texts)
	page.IDs, page.Sent = ids, sent
	ask := b.record(proto.RecordPush)
	ask.Flags, ask.Value = proto.FlagOffline, frame[len(frame)-1].Serial
	ask.Body = proto.AppendBody(nil, page)
	answer, err := b.push(ctx, &ask, b.removedByServer(frame))
	if err != nil {
		return err
	}
	return b.server.failure("offline push", answer)
}

// push sends a frame, and renews the lease until the server has answered. If the
// server has the frame's texts removed, push waits for leaseRenewal only, and its error
// is errSlow: the server announces the session again once the frame has left, and
// meanwhile the worker is free for other users.
func (b *box) push(ctx context.Context, ask *proto.Record, removedByServer bool) (reply, error) {
	on := b.server.stream.Load()
	if on == nil {
		return reply{err: errLinkDown}, nil
	}
	a, err := on.start(ask)
	if err != nil {
		return reply{err: err}, nil
	}
	for waited := time.Duration(0); waited < pageTimeout; waited += leaseRenewal {
		if answer, ok := on.await(a, leaseRenewal); ok {
			return answer, nil
		}
		if removedByServer {
			on.giveUp(a)
			return reply{}, errSlow
		}
		if err := b.extendLease(ctx); err != nil {
			on.giveUp(a)
			return reply{}, err
		}
	}
	return on.giveUp(a), nil
}

func (b *box) extendLease(ctx context.Context) error {
	kept := false
	err := b.withTimeout(ctx, func(ctx context.Context) (err error) {
		kept, err = b.store.Extend(ctx, b.user, b.lease, leaseTime)
		return err
	})
	if err == nil && !kept {
		err = errLeaseLost
	}
	return err
}

// abandon removes the sent texts and then releases the lease, so that the next catch-up finds only
// unsent texts. It has deadlines of its own, so it also runs after the drain has cancelled the
// catch-up. If the session has ended, its client may not have read what its kernel had: those texts
// are not removed, and are sent again. If the removal fails, the lease is released all the same,
// and the sent texts are sent again.
func (b *box) abandon(why error) error {
	if errors.Is(why, errNoSession) {
		return b.abandonLease()
	}
	err := b.remove(context.Background())
	if err != nil {
		err = fmt.Errorf("route: remove what user %d was sent: %w", b.user, err)
	}
	return errors.Join(err, b.abandonLease())
}

func (b *box) abandonLease() error {
	work := newDeadline(storeTimeout)
	defer work.stop()
	if err := b.store.Abandon(work, b.user, b.lease); err != nil {
		return fmt.Errorf("route: abandon the box of user %d: %w", b.user, err)
	}
	return nil
}
