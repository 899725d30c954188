package route

import (
	"context"
	"errors"
	"time"

	"cim/proto"
	"cim/store"
)

// catchUpOriginal sends what is stored to a user on a server of the original.
// There are no holds: what is sent to him meanwhile may overtake it, and what
// the server takes it may lose.
func (r *Route) catchUpOriginal(ctx context.Context, s session) error {
	b, err := r.openBox(ctx, s)
	if err != nil {
		return err
	}
	if err := b.sendOriginal(ctx); err != nil {
		return errors.Join(err, b.abandon(err))
	}
	return nil
}

func (b *box) sendOriginal(ctx context.Context) error {
	for range roundsMax {
		page, err := b.page(ctx)
		if err != nil {
			return err
		}
		if len(page) > 0 {
			if err := b.sendOriginalPage(ctx, page); err != nil {
				return err
			}
			continue
		}
		done := false
		err = b.work(ctx, func(ctx context.Context) (err error) {
			done, err = b.store.ReleaseIfEmpty(ctx, b.user, b.lease, b.cursor)
			return err
		})
		if done || err != nil {
			return err
		}
	}
	return errEndless
}

// sendOriginalPage sends a page as frames of one sender each, and removes each
// once it has been handed over.
func (b *box) sendOriginalPage(ctx context.Context, page []store.OfflineMessage) error {
	for len(page) > 0 {
		if err := b.extend(ctx); err != nil {
			return err
		}
		n := frameLength(page)
		if err := b.pushOriginal(ctx, offlineBody(page[:n])); err != nil {
			return err
		}
		b.note(page[:n])
		if err := b.remove(ctx); err != nil {
			return err
		}
		page = page[n:]
	}
	return nil
}

// pushOriginal sends a frame, keeping the lease meanwhile. If the lease is lost, or
// the server does not answer in time, the frame may arrive all the same; its
// texts are still stored, and come again.
func (b *box) pushOriginal(ctx context.Context, frame []byte) error {
	sent := make(chan error, 1)
	go func() { sent <- b.server.pusher.send(sendMsgBody(b.user, frame), time.Now().Add(pushTimeout)) }()
	renew := time.NewTicker(leaseRenewal)
	defer renew.Stop()
	var lost error
	for {
		select {
		case err := <-sent:
			return errors.Join(err, lost)
		case <-renew.C:
			if lost == nil {
				lost = b.extend(ctx)
			}
		}
	}
}

// offlineBody is the frame of stored texts of one sender.
func offlineBody(frame []store.OfflineMessage) []byte {
	texts := make([]string, len(frame))
	for i, m := range frame {
		texts[i] = m.Text
	}
	return proto.AppendBody(nil, proto.MessageFrom(proto.CommandOffline, frame[0].Sender, 0, texts))
}
