package client

import (
	"errors"
	"fmt"
	"sync"
	"time"

	"cim/proto"
)

const (
	// settleMax is how long a move waits for the outcomes that are due: the
	// session that they would come over ends with it.
	settleMax = time.Second
	// leaveMax is how long the client reads the rest of an old connection once its user has a new
	// session.
	leaveMax = time.Second
)

// move finds another server for the user of a session whose server asks its clients to leave. The
// session continues until the new one has started; then a route ends it, and it is read to its end.
// So nothing is lost or overtaken, and a text that arrives over both is dropped the second time.
// Sends wait while a login is tried.
type move struct {
	client  *Client
	session *session

	// Of the session's reader.
	started   bool
	searching sync.WaitGroup

	// Of the goroutine that looks for a server, then of the reader.
	next       *session // has begun, and is not read yet; nil: none
	unanswered bool     // a login was asked for and no answer came
}

// start starts to look for a server. Asking again changes nothing.
func (m *move) start() {
	if !m.started {
		m.started = true
		m.searching.Go(m.search)
	}
}

// search asks until the user has a new session, the old one has ended, or it is
// of no use.
func (m *move) search() {
	for attempt := 1; ; attempt++ {
		err := m.try()
		if err == nil || final(err) || m.session.hasEnded() {
			return
		}
		m.client.note(Event{Kind: EventMoveFailed, Err: err})
		m.client.routes.turn()
		if !m.session.waitUnlessEnded(m.client.config.pause(attempt)) {
			return
		}
	}
}

// try asks once. If it succeeds, sends keep waiting, for the new session.
func (m *move) try() error {
	m.client.beginMoving()
	m.session.settle(settleMax)
	next, err := m.logIn()
	if err != nil {
		m.client.giveUpMoving()
		return err
	}
	m.next = next
	m.session.acknowledge() // texts without acknowledgement arrive over the new session too
	m.client.note(Event{Kind: EventMoved, Server: next.info})
	// The connection may have ended already, as intended.
	_ = m.session.frames.readRest(leaveMax)
	return nil
}

func (m *move) logIn() (*session, error) {
	server, err := m.client.askForServer(m.client.loginCtx, m.client.routes, true)
	if err != nil {
		var refusal *Refusal
		m.unanswered = m.unanswered || !errors.As(err, &refusal)
		return nil, err
	}
	next, err := m.client.enter(m.client.loginCtx, server)
	if err != nil {
		return nil, fmt.Errorf("client: move to another server: %w", err)
	}
	return next, nil
}

// follow returns the new session once the old one has ended because of why.
// Without one it returns why.
func (m *move) follow(why error) (*session, error) {
	m.searching.Wait()
	if m.next == nil {
		return nil, m.endReason(why)
	}
	return m.next, nil
}

// endReason is why the session ended. If a login of ours may have replaced it, it
// was no other's.
func (m *move) endReason(why error) error {
	var ended *Ended
	if m.unanswered && errors.As(why, &ended) && ended.Reason == proto.ReasonReplaced {
		return errors.New("client: the server ended the session, for a login of its own client as it seems")
	}
	return why
}

// waitUnlessEnded waits for pause and reports whether s is still there.
func (s *session) waitUnlessEnded(pause time.Duration) bool {
	timer := time.NewTimer(pause)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-s.ended:
		return false
	}
}

// beginMoving makes sends wait.
func (c *Client) beginMoving() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.moving == nil {
		c.moving = make(chan struct{})
	}
}

// giveUpMoving lets it go over the present session again.
func (c *Client) giveUpMoving() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.endMoving()
}

// endMoving wakes the sends that wait. The caller holds mu.
func (c *Client) endMoving() {
	if c.moving != nil {
		close(c.moving)
		c.moving = nil
	}
}
