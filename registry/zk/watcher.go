package zk

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"time"
)

const (
	// lookEvery finds what no watch told of.
	lookEvery = 30 * time.Second
	// retryAfter is between a read that failed and the next.
	retryAfter = time.Second
	// sessionEvery is the least time between the starts of two sessions.
	sessionEvery = time.Second
	// spreadMax spreads what all processes ask of a ZooKeeper that is back.
	spreadMax = 100 * time.Millisecond
	// registerMax is in what time a server registers after its session has
	// come back.
	registerMax = 2 * time.Second
)

var (
	errNoSession = errors.New("no session with ZooKeeper yet")
	errAway      = errors.New("the connection to ZooKeeper is lost")
	errLost      = errors.New("the connection to ZooKeeper is lost for too long")
	errReplaced  = errors.New("the name has been registered anew")
)

// watch is the watcher: it keeps a session and, while that lives, reads the
// members and settles the claims. It ends with r.ctx.
func (r *Registry) watch() {
	defer close(r.done)
	var closing sync.WaitGroup
	defer closing.Wait()
	next := time.NewTicker(sessionEvery)
	defer next.Stop()
	for {
		s := openSession(r.ctx, r.config)
		r.ups, r.lost = 0, time.Time{}
		r.serve(s)
		r.outdated(context.Cause(s.ctx))
		closing.Go(s.close) // a second at most, so two of them at once
		select {
		case <-next.C:
		case <-r.ctx.Done():
			return
		}
	}
}

// serve works through what happens to one session until it is over.
func (r *Registry) serve(s *session) {
	look := time.NewTimer(0)
	defer look.Stop()
	for {
		select {
		case <-s.ctx.Done():
			return
		case <-s.poke:
			if wait := r.noteConnection(s); wait > 0 {
				look.Reset(wait)
				continue
			}
		case <-r.asks:
		case <-look.C:
		}
		switch {
		case s.up.Load():
			look.Reset(r.round(s))
		case r.ups > 0:
			look.Reset(r.giveUpLater(s))
		}
	}
}

// giveUpLater ends a session that is lost for twice its time-out, and returns
// when that will be. By then ZooKeeper has ended it too; but a ZooKeeper that
// lost its data would refuse a client that has seen a later state, for ever.
func (r *Registry) giveUpLater(s *session) time.Duration {
	left := time.Until(r.lost.Add(2 * r.config.SessionTimeout))
	if left <= 0 {
		s.end(errLost)
	}
	return max(0, left)
}

// noteConnection notes whether the session has been lost, or has come back:
// then it says how long to wait before the first read.
func (r *Registry) noteConnection(s *session) time.Duration {
	if !s.up.Load() {
		if r.ups > 0 && r.lost.IsZero() {
			r.lost = time.Now()
			r.outdated(errAway)
		}
		return 0
	}
	ups := s.ups.Load()
	if ups == r.ups {
		return 0
	}
	r.ups, r.lost = ups, time.Time{}
	r.sessions++
	r.config.Log.Info("connected to ZooKeeper", "session", s.conn.SessionID())
	if r.sessions == 1 {
		return 0
	}
	r.keepUntil = time.Now().Add(r.config.SessionTimeout + registerMax)
	return time.Duration(rand.Int64N(int64(spreadMax))) + 1
}

// round reads the members, publishes them and settles the claims. It returns
// when to do so again if nothing happens before.
func (r *Registry) round(s *session) time.Duration {
	found, err := r.read(s)
	if err != nil {
		r.outdated(err)
		return retryAfter
	}
	r.adopt(found)
	wait := min(r.every, r.settle(s, found))
	if until := time.Until(r.keepUntil); until > 0 {
		wait = min(wait, until)
	}
	return wait
}

// outdated notes why the snapshot may be out of date from now on.
func (r *Registry) outdated(why error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.stale.IsZero() {
		r.stale = time.Now()
	}
	if r.ctx.Err() != nil {
		why = errClosed
	} else if !sameText(why, r.why) {
		r.config.Log.Warn("the members may be out of date", "since", r.stale, "error", why)
	}
	r.why = why
}
