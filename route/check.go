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
	// checkPauseMin is the pause before another try to compare a server's sessions with the store.
	// It doubles up to checkPauseMax while no session could be compared. Tries end only with the
	// link: the store may come back, and the server sends no more sessions before these are
	// compared.
	checkPauseMin = time.Second
	checkPauseMax = 4 * time.Second
	// checkMax bounds the sessions of one call of the store. A slow store does that many within the
	// call's deadline, and a failing call costs no more.
	checkMax = 256
	// checksAtOnce bounds these calls, over all links: after an outage all servers send all their
	// sessions, and logins need the store as well.
	checksAtOnce = 2
)

// errChunks ends a link whose server does not wait for its last chunk to be checked.
var errChunks = errors.New("route: the server sends sessions before its last chunk is checked")

// checkSessions compares a chunk of a server's sessions with the store. The link's reader calls it;
// a goroutine does the work, one at a time for each link, and ends with the link.
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

// checkAll compares all sessions and then asks the server for the next chunk. After an error it
// continues with the rest.
func (r *Route) checkAll(ctx context.Context, from *server, on *stream, id uint64, sessions []proto.Session) {
	for pause := checkPauseMin; ctx.Err() == nil; pause = min(2*pause, checkPauseMax) {
		left, err := r.checkNext(ctx, from, on, sessions)
		if err == nil {
			err = r.allowNextChunk(on, id)
		}
		if err == nil || ctx.Err() != nil {
			return
		}
		if len(left) < len(sessions) {
			sessions, pause = left, checkPauseMin
		}
		r.counters.checksFailed.Inc()
		r.notices.Say("sessions of a server not checked", "server", from.member.Name(), "error", err, "sessions", len(left), "again_in", pause)
		sleep(ctx, jittered(pause))
	}
}

// checkNext compares the sessions, checkMax at a time, until an error. It returns the rest.
func (r *Route) checkNext(ctx context.Context, from *server, on *stream, sessions []proto.Session) (left []proto.Session, err error) {
	for len(sessions) > 0 {
		some := sessions[:min(len(sessions), checkMax)]
		if err := r.checkOnce(ctx, from, on, some); err != nil {
			return sessions, err
		}
		r.counters.checked.Add(len(some))
		sessions = sessions[len(some):]
	}
	return nil, nil
}

// checkOnce ends superseded sessions and caches the others.
func (r *Route) checkOnce(ctx context.Context, from *server, on *stream, sessions []proto.Session) error {
	if on.suspect.Load() {
		return fmt.Errorf("route: end what is superseded: %w", errSilence)
	}
	restored, err := r.restore(ctx, from, sessions)
	r.catchUpRestored(from, restored.Returned) // also after an error: the next try finds these records in place
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
	return r.endSuperseded(from, on, restored.Superseded)
}

// restore compares sessions with the store, once fewer than checksAtOnce other calls do.
func (r *Route) restore(ctx context.Context, from *server, sessions []proto.Session) (store.Restored, error) {
	select {
	case r.checks <- struct{}{}:
	default:
		r.counters.checksWaited.Inc()
		select {
		case r.checks <- struct{}{}:
		case <-ctx.Done():
			return store.Restored{}, ctx.Err()
		}
	}
	defer func() { <-r.checks }()
	work, stop := context.WithTimeout(ctx, storeTimeout)
	defer stop()
	return r.store.Restore(work, from.place, sessions)
}

// catchUpRestored starts the catch-ups of sessions whose records were lost: messages to them were
// stored meanwhile.
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

// endSuperseded ends sessions at their server. It asks for all before it waits for the first
// answer. An error means that some may still live.
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

// noteSuperseded records the answer about a superseded session: nil means that the session has
// ended.
func (r *Route) noteSuperseded(from *server, s proto.Session, answer reply) error {
	err := from.failure("revoke", answer)
	if err != nil && !errors.Is(err, errNoSession) {
		return err
	}
	r.caches.forgetLogin(s.User, s.Generation)
	r.counters.superseded.Inc()
	return nil
}

// allowNextChunk lets the server send more sessions. The next chunk may come before this returns.
func (r *Route) allowNextChunk(on *stream, id uint64) error {
	on.checking.Store(false)
	if err := on.conn.Send(&proto.Record{Kind: proto.RecordChecked, ID: id}); err != nil {
		on.checking.Store(true)
		return fmt.Errorf("route: let a server send more sessions: %w", err)
	}
	return nil
}
