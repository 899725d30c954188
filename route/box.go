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
	// leaseTime is how long a catch-up keeps its lease after it last said so:
	// a route that ended in the middle, or whose store went away, stands in
	// nobody's way for longer. Between two times lie leaseRenewal and a call of
	// the store.
	leaseTime = 5 * time.Second
	// leaseRenewal is how often it says so while it waits for a slow reader.
	leaseRenewal = leaseTime / 3
	// pageTimeout is how long one frame may take to leave the server's
	// process: as long as a client may be silent.
	pageTimeout = 30 * time.Second
	// roundsMax bounds the looks at the box of one catch-up. A full box takes 128
	// at most; more means that it fills as fast as it empties, and then another
	// catch-up goes on.
	roundsMax = 200
	// olderMax is how long a catch-up waits for an older session of its user,
	// which returns what it kept: that comes before anything live. olderPause is
	// between two looks.
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
	// left are the texts that have left and are still stored, at most
	// store.PageMax. Those that their receiver will acknowledge are not among
	// them: its server has them removed.
	left []store.TextKey
	// returning reports whether the server of an epoch still returns what an older
	// session of the user kept. It is nil once that is settled.
	returning func(at proto.Epoch) bool
}

func (r *Route) openBox(ctx context.Context, s session) (*box, error) {
	b := &box{session: s, store: r.store, returning: func(at proto.Epoch) bool { return r.stillReturning(s, at) }}
	err := b.work(ctx, func(ctx context.Context) (err error) {
		b.lease, err = b.store.Acquire(ctx, s.user, leaseTime)
		return err
	})
	if err == nil && b.lease == 0 {
		err = errLeaseTaken
	}
	return b, err
}

// work gives one call of the store its deadline.
func (b *box) work(ctx context.Context, call func(context.Context) error) error {
	work := newDeadlineWithin(ctx, storeTimeout)
	defer work.stop()
	return call(work)
}

// send empties the box into the held session, and then ends the hold. A
// message that is stored meanwhile either is seen by a look at the box, or its
// storer has counted up the holds: then the resume fails and there is another
// look. So live messages pass only when all that was stored before has left.
//
// Only speed brings it to its end while senders store on: between two holds of
// a sender there is a durable store, between two looks at the box none, but
// for one removal in store.PageMax texts. So the holds of all that stored
// together come together, and the next ones come after a look and a resume.
// Senders so many that this fails are still served in order, by one catch-up
// after the other, and by nothing worse than a full box.
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
		case b.returning != nil && b.older != 0:
			err = b.awaitOlder(ctx) // what that brings is seen by the next look
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

// awaitOlder waits until no older session of the user returns what it kept, or for
// olderMax: then what it returns may come behind newer texts.
func (b *box) awaitOlder(ctx context.Context) error {
	began, extended := time.Now(), time.Now()
	for b.returning(b.older) && time.Since(began) < olderMax {
		if time.Since(extended) >= leaseRenewal {
			extended = time.Now()
			if err := b.extend(ctx); err != nil {
				return err
			}
		}
		if sleep(ctx, olderPause); ctx.Err() != nil {
			return ctx.Err()
		}
	}
	b.returning = nil
	return nil
}

// stillReturning asks the server of an epoch whether it still returns what a
// session of the user before s kept. One that does not answer may have ended: it
// is not waited for.
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
	err = b.work(ctx, func(ctx context.Context) error {
		page, err = b.store.Page(ctx, b.user, b.cursor)
		return err
	})
	return page, err
}

// resume ends the hold of a session in whose box nothing was found behind the
// cursor, and gives the lease back if that is still so. If not, a message has come
// whose storer found the lease taken: the session is held again, and done is
// false.
func (b *box) resume(ctx context.Context) (done bool, err error) {
	ask := b.record(proto.RecordResume)
	ask.Value = b.holds
	answer := b.server.ask(&ask)
	switch {
	case answer.err == nil && answer.verdict == proto.VerdictBehind:
		b.holds = answer.state.holds
		return false, nil
	case answer.err == nil && answer.verdict == proto.VerdictReturning:
		sleep(ctx, returningPauseMax) // what it returns is seen by the next look
		return false, b.extend(ctx)
	}
	if err := b.server.failure("resume", answer); err != nil {
		return false, err
	}
	if err := b.remove(ctx); err != nil {
		return false, err
	}
	if done, err = b.release(ctx); done || err != nil {
		return done, err
	}
	return false, b.hold(ctx)
}

// release gives the lease back if nothing is behind the cursor.
func (b *box) release(ctx context.Context) (done bool, err error) {
	err = b.work(ctx, func(ctx context.Context) error {
		done, err = b.store.ReleaseIfEmpty(ctx, b.user, b.lease, b.cursor)
		return err
	})
	return done, err
}

// sendPage sends a page as frames, each after the one before has left the
// server's process. A removal lasts as long as a store: after each frame it
// would give senders the time to store more, and the session would stay held
// for as long as they go on.
func (b *box) sendPage(ctx context.Context, page []store.OfflineMessage) error {
	for len(page) > 0 {
		n := b.frameLength(page)
		if len(b.left)+n > store.PageMax {
			if err := b.remove(ctx); err != nil {
				return err
			}
		}
		if err := b.sendFrame(ctx, page[:n]); err != nil {
			return err
		}
		b.note(page[:n])
		page = page[n:]
	}
	return nil
}

// note is called when texts have left.
func (b *box) note(frame []store.OfflineMessage) {
	b.cursor = frame[len(frame)-1].Serial
	if b.ack && frame[0].ID != 0 {
		return
	}
	for _, m := range frame {
		b.left = append(b.left, m.Key())
	}
}

// remove takes out of the store what has left. What a kill of the route comes
// before is sent again by the next catch-up: at most store.PageMax texts.
func (b *box) remove(ctx context.Context) error {
	if len(b.left) == 0 {
		return nil
	}
	err := b.work(ctx, func(ctx context.Context) error { return b.store.Remove(ctx, b.user, b.left) })
	if err == nil {
		b.left = b.left[:0]
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
	if err := b.extend(ctx); err != nil {
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
	answer, err := b.push(ctx, &ask)
	if err != nil {
		return err
	}
	return b.server.failure("offline push", answer)
}

// push sends a frame and waits until it has left, keeping the lease meanwhile.
func (b *box) push(ctx context.Context, ask *proto.Record) (reply, error) {
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
		if err := b.extend(ctx); err != nil {
			on.giveUp(a)
			return reply{}, err
		}
	}
	return on.giveUp(a), nil
}

func (b *box) extend(ctx context.Context) error {
	kept := false
	err := b.work(ctx, func(ctx context.Context) (err error) {
		kept, err = b.store.Extend(ctx, b.user, b.lease, leaseTime)
		return err
	})
	if err == nil && !kept {
		err = errLeaseLost
	}
	return err
}

// abandon removes what has left and gives the lease back, in this order: who
// has the lease next finds only what has not left. It has deadlines of its
// own: a catch-up that the drain ended still does both. A session that has ended
// in the middle may not have read what its kernel had: that comes again. If the removal fails
// the lease is given back all the same, and what has left is sent again.
func (b *box) abandon(why error) error {
	if errors.Is(why, errNoSession) {
		return b.giveBack()
	}
	err := b.remove(context.Background())
	if err != nil {
		err = fmt.Errorf("route: remove what user %d was sent: %w", b.user, err)
	}
	return errors.Join(err, b.giveBack())
}

func (b *box) giveBack() error {
	work := newDeadline(storeTimeout)
	defer work.stop()
	if err := b.store.Abandon(work, b.user, b.lease); err != nil {
		return fmt.Errorf("route: abandon the box of user %d: %w", b.user, err)
	}
	return nil
}
