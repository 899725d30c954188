package route

import (
	"context"
	"errors"
	"time"

	"cim/proto"
	"cim/store"
)

// A guest is a server of another system. An adapter in this process serves its link, and does for
// each record what comes nearest to it in that system. So a guest may be slow; it cannot hold a
// session, so a live text may overtake a stored one; it takes no grant, so its logins have
// generation 0; and of some messages it is unknown whether they have arrived.

// guestTimeout is how long a guest may take to answer.
const guestTimeout = 10 * time.Second

func (s *server) guest() bool { return s.member.Guest != "" }

// guestOf returns the guest that record is about, or nil.
func (r *Route) guestOf(record store.Record) *server {
	if s := r.cluster.server(record.Place.Epoch); s != nil && s.guest() {
		return s
	}
	return nil
}

// pushToGuest pushes to a guest and waits for the answer until by; zero: for guestTimeout. The time
// for the store starts afterwards.
func (r *Route) pushToGuest(s *server, ask *proto.Record, by time.Time) pushResult {
	if by.IsZero() {
		by = time.Now().Add(guestTimeout)
	}
	switch answer := s.count(ask.Kind, s.askGuest(ask, by)); {
	case answer.err != nil:
		return pushResult{verdict: proto.VerdictAbsent, unknown: true}
	case answer.verdict == proto.VerdictTaken:
		return pushResult{verdict: proto.VerdictTaken} // without a receipt
	}
	return pushResult{verdict: proto.VerdictAbsent, slow: true}
}

// askGuest is ask until by. The error is errSilence if r may have been done; a record that was not
// sent is absent.
func (s *server) askGuest(r *proto.Record, by time.Time) reply {
	on := s.stream.Load()
	if on == nil || !time.Now().Before(by) {
		return reply{verdict: proto.VerdictAbsent}
	}
	a, err := on.start(r)
	if err != nil {
		return reply{verdict: proto.VerdictAbsent}
	}
	answer, ok := on.await(a, time.Until(by))
	if !ok {
		answer = on.giveUp(a)
	}
	if answer.err != nil || answer.verdict == proto.VerdictUnknown {
		return reply{err: errSilence}
	}
	return answer
}

// catchUpGuest sends the stored texts to a user at a guest. A guest has no holds: live messages may
// overtake stored ones, and a text that the guest took may be lost there.
func (r *Route) catchUpGuest(ctx context.Context, s session) error {
	b, err := r.openBox(ctx, s)
	if err != nil {
		return err
	}
	if err := b.sendUnheld(ctx); err != nil {
		return errors.Join(err, b.abandon(err))
	}
	return nil
}

// sendUnheld empties the box and removes each frame when the guest has taken it. If the guest does
// not answer in time, the frame may have arrived; its texts are still stored, and are sent again.
func (b *box) sendUnheld(ctx context.Context) error {
	for range roundsMax {
		page, err := b.page(ctx)
		if err != nil {
			return err
		}
		if len(page) == 0 {
			if done, err := b.releaseLease(ctx); done || err != nil {
				return err
			}
			continue
		}
		for len(page) > 0 {
			n := b.frameLength(page)
			if err := b.sendPage(ctx, page[:n]); err != nil {
				return err
			}
			if err := b.remove(ctx); err != nil {
				return err
			}
			page = page[n:]
		}
	}
	return errEndless
}
