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
		next, err := c.serve(s)
		if next != nil {
			c.setSession(next) // moved: that is no state of its own
			s = next
			continue
		}
		c.setSession(nil)
		if c.ctx.Err() != nil {
			return
		}
		if time.Since(began) > pauseMax {
			b = backoff{} // it was up for a while: the fault is a new one
		}
		if s, err = c.reconnect(err, &b); err != nil {
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

// serve reads s to its end and returns why it ended, or the session that its
// user has moved to.
func (c *Client) serve(s *session) (*session, error) {
	m := move{client: c, session: s}
	return m.follow(s.serve(c.ctx, m.begin))
}

// setSession makes s the session that is sent over; nil: there is none. A move
// is over then.
func (c *Client) setSession(s *session) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.session = s
	c.endMoving()
}

// tellText brings a text, unless it has come before.
func (c *Client) tellText(id proto.TextID, m Message) {
	if id != 0 && c.arrivals.again(id) {
		c.duplicates.Add(1)
		c.config.Log.Warn("a text came a second time and was dropped", "sender", m.Sender.ID, "text", uint64(id))
		return
	}
	c.tell(event{message: m})
}

// finish notes why the client ended by itself.
func (c *Client) finish(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ctx.Err() == nil {
		c.err = err
	}
}

// reconnect tells that the connection is lost, and logs in again if that is of
// any use.
func (c *Client) reconnect(lost error, b *backoff) (*session, error) {
	c.config.Log.Info("connection lost", "why", lost)
	if !final(lost) {
		c.tell(event{state: StateReconnecting, why: lost})
	}
	return c.logInAgain(lost, b)
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

// logIn asks a route for a server and logs in there.
func (c *Client) logIn(ctx context.Context) (*session, error) {
	server, err := c.askForServer(ctx, false)
	if err != nil {
		return nil, err
	}
	return c.enter(ctx, server)
}

// askForServer asks a route for a server, which expects the user then. Only a
// route of ours gives a ticket, and only its servers know our dialect.
func (c *Client) askForServer(ctx context.Context, move bool) (proto.LoginBody, error) {
	server, err := c.routes.login(ctx, c.user, c.ticket, move)
	if err != nil {
		return server, err
	}
	if c.ticket, err = proto.ParseTicket(server.Ticket); err != nil {
		return server, fmt.Errorf("client: %s: %w", proto.PathLogin, err)
	}
	c.dialect = proto.DialectV2
	if !c.ticket.IsZero() {
		c.dialect = proto.DialectCIM
		c.routes.rest() // the connection does for all
	}
	return server, nil
}

// enter logs in at the server that expects the user.
func (c *Client) enter(ctx context.Context, server proto.LoginBody) (*session, error) {
	s, err := connect(ctx, server, c.user, c.dialect, c.ticket, c.tellText)
	if err != nil {
		return nil, err
	}
	if err := s.begin(ctx); err != nil {
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
