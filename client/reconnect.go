package client

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"cim/proto"
)

// The pauses before a login is tried again: a random time up to pauseMin, then
// up to twice as much each time, up to pauseMax. So the clients of a server
// that went down do not come back at once.
const (
	pauseMin = time.Second
	pauseMax = 15 * time.Second
)

// backoff is the length of the next pause at most.
type backoff struct{ next time.Duration }

// pause returns how long to wait now.
func (b *backoff) pause() time.Duration {
	most := max(b.next, pauseMin)
	b.next = min(2*most, pauseMax)
	return rand.N(most)
}

// run keeps the user logged in until Close, or until logging in again is of no
// use. It closes events last.
func (c *Client) run(s *session) {
	defer close(c.events)
	var b backoff
	for {
		began := time.Now()
		err := s.serve(c.ctx, c.tellMessage)
		c.setSession(nil)
		if c.ctx.Err() != nil {
			return
		}
		if time.Since(began) > pauseMax {
			b = backoff{} // it was up for a while: the fault is a new one
		}
		c.config.Log.Info("connection lost", "why", err)
		if !final(err) {
			c.tell(event{state: StateReconnecting, why: err})
		}
		if s, err = c.logInAgain(err, &b); err != nil {
			if c.ctx.Err() != nil {
				return
			}
			c.finish(err)
			c.tell(event{state: StateClosed, why: err})
			return
		}
		c.setSession(s)
		c.tell(event{state: StateReady})
	}
}

// setSession makes s the session that is sent over; nil: there is none.
func (c *Client) setSession(s *session) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.session = s
}

func (c *Client) tellMessage(m Message) { c.tell(event{message: m}) }

// finish notes why the client ended by itself.
func (c *Client) finish(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ctx.Err() == nil {
		c.err = err
	}
}

// logInAgain tries until it is in, or until an error is final.
func (c *Client) logInAgain(err error, b *backoff) (*session, error) {
	for {
		if final(err) {
			return nil, err
		}
		if err := wait(c.ctx, b.pause()); err != nil {
			return nil, err
		}
		var s *session
		if s, err = c.leaveAndLogIn(); err == nil {
			return s, nil
		}
		c.config.Log.Info("login failed", "why", err)
		c.routes.turn()
	}
}

// leaveAndLogIn logs in; the original's route takes no login of a user that it
// believes to be online, so it is told goodbye first.
func (c *Client) leaveAndLogIn() (*session, error) {
	if c.dialect == proto.DialectV2 {
		if err := c.routes.goodbye(c.ctx, c.user.ID, c.ticket); err != nil {
			return nil, err
		}
	}
	return c.logIn(c.ctx)
}

func wait(ctx context.Context, pause time.Duration) error {
	timer := time.NewTimer(pause)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// final reports whether err says that this user must not log in again by
// itself.
func final(err error) bool {
	var ended *Ended
	var refusal *Refusal
	switch {
	case errors.As(err, &ended):
		return !ended.Reason.Returns()
	case errors.As(err, &refusal):
		return refusal.Code == proto.CodeRepeatLogin || refusal.Code == proto.CodeAccountMismatch ||
			refusal.Code == proto.CodeInvalid
	}
	return false
}

// logIn asks a route for a server and logs in there. Only a route of ours
// gives a ticket, and only its servers know our dialect.
func (c *Client) logIn(ctx context.Context) (*session, error) {
	server, err := c.routes.login(ctx, c.user, c.ticket)
	if err != nil {
		return nil, err
	}
	if c.ticket, err = proto.ParseTicket(server.Ticket); err != nil {
		return nil, fmt.Errorf("client: %s: %w", proto.PathLogin, err)
	}
	c.dialect = proto.DialectCIM
	if c.ticket.IsZero() {
		c.dialect = proto.DialectV2
	}
	s, err := connect(ctx, server, c.user, c.dialect, c.ticket)
	if err != nil {
		return nil, err
	}
	if err := s.begin(ctx, c.tellMessage); err != nil {
		s.end()
		return nil, err
	}
	if c.dialect == proto.DialectV2 {
		c.fetchOffline(ctx)
	}
	return s, nil
}

// fetchOffline asks for what was stored: a route of the original sends it on
// request only. The login stands without it.
func (c *Client) fetchOffline(ctx context.Context) {
	if err := c.routes.fetchOffline(ctx, c.user.ID); err != nil {
		c.config.Log.Warn("stored messages not fetched", "why", err)
	}
}
