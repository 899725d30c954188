package route

import (
	"context"
	"errors"
	"fmt"
	"time"

	"cim/proto"
)

// checkPause is between two tries to compare a server's sessions with the
// store. There is no last try: while the link is up the store may come back,
// and a server tells no more sessions before these are compared.
const checkPause = time.Second

// errChunks ends a link whose server does not wait with its sessions.
var errChunks = errors.New("route: the server tells of sessions before those before are checked")

// checkSessions compares the sessions that a server tells of, when its link has come
// up, with the store. It is called by the link's reader; a goroutine does the
// work, one at a time for each link, and ends with it.
func (r *Route) checkSessions(ctx context.Context, from *server, on *stream, record *proto.Record) error {
	sessions, err := proto.ParseSessions(record.Body)
	if err != nil {
		return err
	}
	if !on.checking.CompareAndSwap(false, true) {
		return errChunks
	}
	id := record.ID
	r.running.Go(func() { r.checkAll(ctx, from, on, id, sessions) })
	return nil
}

func (r *Route) checkAll(ctx context.Context, from *server, on *stream, id uint64, sessions []proto.Session) {
	for ctx.Err() == nil {
		err := r.checkOnce(ctx, from, on, sessions)
		if err == nil {
			r.counters.checked.Add(len(sessions))
			err = r.allowNextChunk(on, id)
		}
		if err == nil {
			return
		}
		r.counters.checksFailed.Inc()
		r.notices.Say("sessions of a server not checked", "server", from.member.Name(), "error", err, "again_in", checkPause)
		sleep(ctx, jittered(checkPause))
	}
}

// checkOnce ends the sessions that are superseded and remembers the others.
func (r *Route) checkOnce(ctx context.Context, from *server, on *stream, sessions []proto.Session) error {
	if on.suspect.Load() {
		return fmt.Errorf("route: end what is superseded: %w", errSilence)
	}
	work, stop := context.WithTimeout(ctx, storeTimeout)
	defer stop()
	restored, err := r.store.Restore(work, from.place, sessions)
	if err != nil {
		return fmt.Errorf("route: restore %d sessions: %w", len(sessions), err)
	}
	over := make(map[proto.Session]bool, len(restored.Superseded))
	for _, s := range restored.Superseded {
		over[s] = true
	}
	for _, s := range sessions {
		if !over[s] {
			r.caches.noteLogin(s.User, from.member.Epoch, s.Generation)
			r.noteUngranted(from, s.User, s.Generation)
		}
	}
	r.catchUpRestored(from, restored.Returned)
	return r.endSuperseded(from, on, restored.Superseded)
}

// catchUpRestored has those sessions caught up whose records were lost: what was sent
// to them meanwhile is stored.
func (r *Route) catchUpRestored(from *server, sessions []proto.Session) {
	if len(sessions) == 0 {
		return
	}
	r.counters.returned.Add(len(sessions))
	r.notices.Say("records that the store had lost are back", "server", from.member.Name(), "users", len(sessions))
	for _, s := range sessions {
		r.holdLater(s.User, sessionKey{from.member.Epoch, s.Generation})
	}
}

// endSuperseded ends sessions at their server; all are asked for before the
// first is waited for. Its error says that some may live.
func (r *Route) endSuperseded(from *server, on *stream, sessions []proto.Session) error {
	asks := make([]*ask, len(sessions))
	var faults error
	for i, s := range sessions {
		record := session{s.User, s.Generation, from}.record(proto.RecordRevoke)
		record.Value = uint64(proto.RevokeSuperseded)
		var err error
		if asks[i], err = on.start(&record); err != nil {
			faults = from.failure("revoke", from.count(proto.RecordRevoke, reply{err: err}))
		}
	}
	deadline := time.Now().Add(askTimeout)
	for i, a := range asks {
		if a == nil {
			continue
		}
		answer, ok := on.await(a, time.Until(deadline))
		if !ok {
			answer = on.giveUp(a)
		}
		if err := r.noteSuperseded(from, sessions[i], from.count(proto.RecordRevoke, answer)); err != nil {
			faults = err
		}
	}
	return faults
}

// noteSuperseded is what became of a superseded session: nil if it is gone.
func (r *Route) noteSuperseded(from *server, s proto.Session, answer reply) error {
	err := from.failure("revoke", answer)
	if err != nil && !errors.Is(err, errNoSession) {
		return err
	}
	r.caches.forgetLogin(s.User, s.Generation)
	r.counters.superseded.Inc()
	return nil
}

// allowNextChunk lets the server tell more. The next chunk may come before this
// returns.
func (r *Route) allowNextChunk(on *stream, id uint64) error {
	on.checking.Store(false)
	if err := on.conn.Send(&proto.Record{Kind: proto.RecordChecked, ID: id}); err != nil {
		on.checking.Store(true)
		return fmt.Errorf("route: let a server tell more sessions: %w", err)
	}
	return nil
}
