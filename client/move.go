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
	// leaveMax is how long what an old connection still brings is waited for
	// once its user has a new session.
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
	begun   bool
	looking sync.WaitGroup

	// Of the goroutine that looks for a server, then of the reader.
	next    *session // has begun, and is not read yet; nil: none
	unheard bool     // a login was asked for and no answer came
}

// begin starts to look for a server. Asking again changes nothing.
func (m *move) begin() {
	if !m.begun {
		m.begun = true
		m.looking.Go(m.look)
	}
}

// look asks until the user has a new session, the old one has ended, or it is
// of no use.
func (m *move) look() {
	for attempt := 1; ; attempt++ {
		err := m.try()
		if err == nil || final(err) || m.session.hasEnded() {
			return
		}
		m.client.note(Event{Kind: EventMoveFailed, Err: err})
		m.client.routes.turn()
		if !m.session.lasts(m.client.config.pause(attempt)) {
			return
		}
	}
}

// try asks once. Where it succeeds what is sent waits on, for the new session.
func (m *move) try() error {
	m.client.beginMoving()
	m.session.settle(settleMax)
	next, err := m.logIn()
	if err != nil {
		m.client.giveUpMoving()
		return err
	}
	m.next = next
	m.session.acknowledge() // what is not acknowledged comes over the new session too
	m.client.note(Event{Kind: EventMoved, Server: next.info})
	// The connection may have ended already, which is what is waited for.
	_ = m.session.frames.leave(leaveMax)
	return nil
}

func (m *move) logIn() (*session, error) {
	server, err := m.client.askForServer(m.client.looking, m.client.routes, true)
	if err != nil {
		var refusal *Refusal
		m.unheard = m.unheard || !errors.As(err, &refusal)
		return nil, err
	}
	next, err := m.client.enter(m.client.looking, server)
	if err != nil {
		return nil, fmt.Errorf("client: move to another server: %w", err)
	}
	return next, nil
}

// follow returns the new session once the old one has ended because of why.
// Without one it returns why.
func (m *move) follow(why error) (*session, error) {
	m.looking.Wait()
	if m.next == nil {
		return nil, m.blame(why)
	}
	return m.next, nil
}

// blame is why the session ended. If a login of ours may have replaced it, it
// was no other's.
func (m *move) blame(why error) error {
	var ended *Ended
	if m.unheard && errors.As(why, &ended) && ended.Reason == proto.ReasonReplaced {
		return errors.New("client: the server ended the session, for a login of its own client as it seems")
	}
	return why
}

// lasts waits for pause and reports whether s is still there.
func (s *session) lasts(pause time.Duration) bool {
	timer := time.NewTimer(pause)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-s.ended:
		return false
	}
}

// beginMoving lets what is sent wait.
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
