package client

import (
	"context"
	"fmt"
	"time"

	"cim/proto"
)

// run keeps the user logged in until Close, or until another login is useless. It closes the inbox
// last.
func (c *Client) run(s *session) {
	defer c.inbox.close()
	defer c.noMoreSessions()
	defer c.resends.Wait() // they end with the last session
	attempt := 0           // logins since a connection lasted for a while
	for {
		began := time.Now()
		next, err := c.serve(s)
		if next != nil {
			c.setSession(next) // moved: that is no state of its own
			s = next
			continue
		}
		c.setSession(nil)
		if c.outbox.isClosed() {
			return // as Close wants it
		}
		if time.Since(began) > pauseMax {
			attempt = 0 // it was up for a while: the fault is a new one
		}
		if s, err = c.reconnect(err, &attempt); err != nil {
			if !c.outbox.isClosed() {
				c.finish(err)
			}
			return
		}
		c.setSession(s)
		c.inbox.put(&item{state: StateReady})
	}
}

// serve reads s to its end and returns why it ended, or the session that its
// user has moved to.
func (c *Client) serve(s *session) (*session, error) {
	m := move{client: c, session: s}
	return m.follow(s.serve(c.ctx, m.start))
}

// setSession makes s the session that is sent over; nil: there is none. A move
// is over then.
func (c *Client) setSession(s *session) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.endChange()
	c.changed = make(chan struct{})
	c.session, c.state = s, StateReconnecting
	c.sessionChanged(s)
	if s != nil {
		c.state, c.server = StateReady, s.info
	}
	c.endMoving()
}

// noMoreSessions marks that no further login follows.
func (c *Client) noMoreSessions() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.endChange()
	c.settleAll()
}

// endChange wakes goroutines that wait for another session. The caller holds mu.
func (c *Client) endChange() {
	if c.changed != nil {
		close(c.changed)
		c.changed = nil
	}
}

// onText queues a text, whose mark is at, unless it has arrived before.
func (c *Client) onText(m Message, at ackMark) {
	switch c.inbox.arrive(m, at) {
	case arrivalDuplicate:
		c.dropDuplicate(m)
	case arrivalNew:
		c.note(Event{Kind: EventReceived, User: m.Sender.ID, ID: m.ID})
		c.inbox.put(newItem(m, at))
	case arrivalLeftToServer: // it comes again, to the next session
	}
}

// onGap queues the number of group messages that were left out.
func (c *Client) onGap(texts uint64) {
	c.note(Event{Kind: EventLeftOut, Texts: texts})
	c.inbox.put(&item{leftOut: texts})
}

// dropDuplicate counts a text that came a second time.
func (c *Client) dropDuplicate(m Message) {
	c.duplicates.Add(1)
	c.note(Event{Kind: EventDuplicate, User: m.Sender.ID, ID: m.ID})
}

// finish reports why the client ended by itself.
func (c *Client) finish(err error) {
	if !c.end(err) {
		return
	}
	c.note(Event{Kind: EventEnded, Err: err})
	c.inbox.put(&item{state: StateClosed, why: err})
}

// end notes why the client ended, unless that is Close.
func (c *Client) end(err error) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ctx.Err() != nil {
		return false
	}
	c.err, c.state = err, StateClosed
	return true
}

// reconnect reports that the connection is lost, and logs in again if that can succeed.
func (c *Client) reconnect(lost error, attempt *int) (*session, error) {
	c.note(Event{Kind: EventLost, Err: lost})
	if !final(lost) {
		c.inbox.put(&item{state: StateReconnecting, why: lost})
	}
	return c.logInAgain(lost, attempt)
}

// logInAgain tries until it is in, or until an error is final.
func (c *Client) logInAgain(why error, attempt *int) (*session, error) {
	for tries := 1; ; tries++ {
		*attempt++
		if err := c.mayTry(tries, *attempt, why); err != nil {
			return nil, err
		}
		if err := c.wait(c.config.pause(*attempt)); err != nil {
			return nil, err
		}
		s, err := c.leaveAndLogIn()
		if err == nil {
			return s, nil
		}
		c.note(Event{Kind: EventLoginFailed, Attempt: tries, Err: err})
		c.routes.turn()
		why = err
	}
}

// mayTry returns why no other login is tried, or nil.
func (c *Client) mayTry(tries, attempt int, why error) error {
	switch {
	case c.outbox.isClosed():
		return ErrClosed
	case final(why):
		return why
	case c.config.Retries > 0 && tries > c.config.Retries:
		return fmt.Errorf("%w after %d tries: %w", ErrGaveUp, c.config.Retries, why)
	case c.config.Reconnect != nil && !c.config.Reconnect(attempt, why):
		return fmt.Errorf("%w, as Reconnect says: %w", ErrGaveUp, why)
	}
	return nil
}

// leaveAndLogIn logs in. The original's route refuses the login of a user whom it takes for online,
// so a goodbye comes first.
func (c *Client) leaveAndLogIn() (*session, error) {
	if c.dialect == proto.DialectV2 {
		if err := c.routes.goodbye(c.loginCtx, c.user.ID, c.ticket); err != nil {
			return nil, err
		}
	}
	return c.logIn(c.loginCtx, c.routes)
}

// wait lets a pause pass, unless Close comes.
func (c *Client) wait(pause time.Duration) error {
	timer := time.NewTimer(pause)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-c.outbox.closing:
		return ErrClosed
	}
}

// logIn asks a route for a server and logs in there.
func (c *Client) logIn(ctx context.Context, from *routes) (*session, error) {
	server, err := c.askForServer(ctx, from, false)
	if err != nil {
		return nil, err
	}
	s, err := c.enter(ctx, server)
	if err != nil {
		return nil, err
	}
	c.note(Event{Kind: EventLoggedIn, Server: s.info})
	return s, nil
}

// askForServer asks a route for a server, which expects the user then. Only a
// route of ours gives a ticket, and only its servers know our dialect.
func (c *Client) askForServer(ctx context.Context, from *routes, move bool) (proto.LoginBody, error) {
	server, err := from.login(ctx, c.user, c.ticket, move)
	if err != nil {
		return server, err
	}
	if c.ticket, err = proto.ParseTicket(server.Ticket); err != nil {
		return server, fmt.Errorf("client: %s: %w", proto.PathLogin, err)
	}
	c.dialect = proto.DialectV2
	if !c.ticket.IsZero() {
		c.dialect = proto.DialectCIM
		c.routes.rest() // the connection replaces requests
	}
	return server, nil
}

// enter logs in at the server that expects the user.
func (c *Client) enter(ctx context.Context, server proto.LoginBody) (*session, error) {
	s, err := connect(ctx, server, c.user, c.dialect, c.ticket)
	if err != nil {
		return nil, err
	}
	s.onText, s.onGap, s.onOutcome = c.onText, c.onGap, c.onOutcome
	s.pause, s.ticket = c.config.Heartbeat, c.ticket
	if err := s.awaitLogin(ctx); err != nil {
		s.end()
		return nil, err
	}
	if c.dialect == proto.DialectV2 {
		c.fetchOffline(ctx)
	}
	return s, nil
}

// fetchOffline asks for stored messages: a route of the original sends them on request only. If it
// fails, the login still counts.
func (c *Client) fetchOffline(ctx context.Context) {
	if err := c.routes.fetchOffline(ctx, c.user.ID); err != nil {
		c.note(Event{Kind: EventFetchFailed, Err: err})
	}
}
