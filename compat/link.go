package compat

import (
	"context"
	"errors"
	"sync"
	"time"

	"cim/internal/link"
	"cim/proto"
)

// Dial connects to the link of a server of ours, or makes one to a server of the
// original and serves its far end.
func (a *Adapter) Dial(ctx context.Context, m proto.Member) (*link.Conn, error) {
	if m.Guest != Guest {
		return a.dial(ctx, m)
	}
	near, far := link.Pair(link.WaitingMaxDefault)
	a.runs.Go(func() { a.serve(m, far) })
	return near, nil
}

// farEnd is that of one link to a server of the original. Records come in
// the order of the route's calls, by its goroutines, so nothing here waits: what
// takes its time has a goroutine, as many as the route has records without an answer
// on a link.
type farEnd struct {
	adapter *Adapter
	member  proto.Member
	conn    *link.Conn
	pusher  *pusher
	groups  *groupQueue
	ctx     context.Context // ends with the link

	mu    sync.Mutex
	ended bool // no further work begins
	work  sync.WaitGroup
}

// serve serves one link until it ends.
func (a *Adapter) serve(m proto.Member, conn *link.Conn) {
	a.log.Info("server of the original", "server", m.Name())
	s := &farEnd{adapter: a, member: m, conn: conn, pusher: newPusher(m, a.counters)}
	ctx, stop := context.WithCancel(a.ctx)
	s.ctx, s.groups = ctx, newGroupQueue(s)
	s.begin(s.groups.run)
	_ = conn.RunDirect(ctx, s.take) // it ends when the route has no more use for it
	stop()
	s.pusher.close()
	s.mu.Lock()
	s.ended = true
	s.mu.Unlock()
	s.work.Wait()
	a.log.Info("server of the original is gone", "server", m.Name())
}

// begin has work done beside the link, if that has not ended.
func (s *farEnd) begin(work func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.ended {
		s.work.Go(work)
	}
}

// take takes one record. It does not wait.
func (s *farEnd) take(r *proto.Record) error {
	switch r.Kind {
	case proto.RecordConfirm:
		s.answer(r.ID, proto.VerdictTaken, 0)
	case proto.RecordPush:
		s.takePush(r)
	case proto.RecordBroadcast:
		s.groups.take(r)
	case proto.RecordGrant:
		s.takeGrant(r.ID)
	case proto.RecordRevoke:
		s.takeRevoke(r)
	case proto.RecordHold, proto.RecordResume, proto.RecordReturning, proto.RecordJoin:
		s.answer(r.ID, proto.VerdictAbsent, 0) // there is nothing of the kind
	}
	return nil
}

func (s *farEnd) answer(id uint64, verdict proto.Verdict, value uint64) {
	// An error is the end of the link, which ends the wait for the answer too.
	_ = s.conn.Send(&proto.Record{Kind: proto.RecordAnswer, ID: id, Verdict: verdict, Value: value})
}

// takePush posts a message, or a page of stored texts, to one user.
func (s *farEnd) takePush(r *proto.Record) {
	id, body, page := r.ID, sendMsgBody(r.User, r.Body), r.Flags&proto.FlagOffline != 0
	by := time.Now().Add(pushTimeout)
	s.begin(func() {
		err := s.pusher.send(body, by)
		if errors.Is(err, errUnknown) && !page {
			s.adapter.notices.Say("a message to a server of the original may arrive or not", "error", err)
		}
		s.answer(id, pushVerdict(err, page), 0)
	})
}

// pushVerdict is how a push has ended. That a page was refused is no word that its
// user is not there.
func pushVerdict(err error, page bool) proto.Verdict {
	switch {
	case err == nil:
		return proto.VerdictTaken
	case page:
		return proto.VerdictRefused
	case errors.Is(err, errUnknown):
		return proto.VerdictUnknown
	}
	return proto.VerdictAbsent
}

// takeGrant looks whether clients can connect.
func (s *farEnd) takeGrant(id uint64) {
	s.begin(func() {
		verdict := proto.VerdictRefused
		if reachable(s.ctx, s.member) {
			verdict = proto.VerdictTaken
		}
		s.answer(id, verdict, 0)
	})
}

// takeRevoke answers a login what may be known of the one before it: that the user
// counts as logged in. It ends none.
func (s *farEnd) takeRevoke(r *proto.Record) {
	id, user := r.ID, r.User
	switch proto.RevokeMode(r.Value) {
	case proto.RevokeGrant, proto.RevokeTicket, proto.RevokeReplace, proto.RevokeMove:
	default:
		s.answer(id, proto.VerdictAbsent, 0)
		return
	}
	s.begin(func() {
		work, stop := context.WithTimeout(s.ctx, storeTimeout)
		defer stop()
		in, err := s.adapter.store.LoggedIn(work, user)
		switch {
		case err != nil:
			s.adapter.notices.Say("whether a user is logged in at a server of the original is not known", "user", user, "error", err)
			s.answer(id, proto.VerdictUnknown, 0)
		case in:
			s.answer(id, proto.VerdictLives, 0)
		default:
			s.answer(id, proto.VerdictAbsent, 0)
		}
	})
}
