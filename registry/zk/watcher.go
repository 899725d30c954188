package zk

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"
)

const (
	// lookEvery finds what no watch told of.
	lookEvery = 30 * time.Second
	// confirmEvery is between two reads of a node of our own.
	confirmEvery = 2 * time.Second
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
		s := openSession(r.ctx, r.config, r.refused)
		r.serve(s)
		r.outdated(context.Cause(s.ctx))
		if r.ctx.Err() != nil {
			s.close()
			return
		}
		closing.Go(s.abandon) // a second at most, so two of them at once
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
	confirm := time.NewTicker(r.confirm)
	defer confirm.Stop()
	begun := false
	for {
		select {
		case <-s.ctx.Done():
			return
		case <-s.poke:
		case <-r.asks:
		case <-look.C:
		case <-confirm.C:
			if !begun || r.confirmed(s) {
				continue
			}
		}
		switch up := s.up.Load(); {
		case up && !begun:
			begun = true
			look.Reset(r.begin(s))
		case up:
			look.Reset(r.round(s))
		}
	}
}

// begin notes a session that has begun, and returns how long to wait before
// the first read.
func (r *Registry) begin(s *session) time.Duration {
	r.sessions++
	r.config.Log.Info("connected to ZooKeeper", "session", s.conn.SessionID())
	r.authenticate(s)
	if r.sessions == 1 {
		return 0
	}
	r.keepUntil = time.Now().Add(r.config.SessionTimeout + registerMax)
	return time.Duration(rand.Int64N(int64(spreadMax)))
}

// refused notes why there is no session yet.
func (r *Registry) refused(why error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if errors.Is(r.why, errNoSession) {
		r.why = fmt.Errorf("%w: %w", errNoSession, why)
	}
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
