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
	// login ends the session that they would come over.
	settleMax = time.Second
	// leaveMax is how long what an old connection still brings is waited for
	// once its user is expected elsewhere.
	leaveMax = time.Second
)

// move finds another server for the user of a session whose server asks to be
// left. The session goes on meanwhile, and is read to its end: so nothing that
// it brings is lost or overtaken. What is sent waits while a login is tried.
type move struct {
	client  *Client
	session *session

	// Of the session's reader.
	begun   bool
	looking sync.WaitGroup

	// Of the goroutine that looks for a server, then of the reader.
	server  *proto.LoginBody // that expects the user; nil: none
	unheard bool             // a login was asked for and no answer came
}

// begin starts to look for a server. Asking again changes nothing.
func (m *move) begin() {
	if !m.begun {
		m.begun = true
		m.looking.Go(m.look)
	}
}

// look asks until a server expects the user, the session has ended, or it is
// of no use.
func (m *move) look() {
	var b backoff
	for {
		err := m.try()
		if err == nil || final(err) || m.session.hasEnded() {
			return
		}
		m.client.config.Log.Info("no move to another server", "why", err)
		m.client.routes.turn()
		if !m.session.lasts(b.pause()) {
			return
		}
	}
}

// try asks once. Where it succeeds what is sent waits on, for the new session.
func (m *move) try() error {
	m.client.beginMoving()
	m.session.settle(settleMax)
	server, err := m.client.askForServer(m.client.ctx)
	if err != nil {
		var refusal *Refusal
		m.unheard = m.unheard || !errors.As(err, &refusal)
		m.client.giveUpMoving()
		return err
	}
	m.server = &server
	// The connection may have ended already, which is what is waited for.
	_ = m.session.frames.leave(leaveMax)
	return nil
}

// follow logs in where the user is expected, once the old session has ended
// because of why. Without such a server it returns why.
func (m *move) follow(why error) (*session, error) {
	m.looking.Wait()
	if m.server == nil {
		return nil, m.blame(why)
	}
	next, err := m.client.enter(m.client.ctx, *m.server)
	if err != nil {
		return nil, fmt.Errorf("client: move to another server: %w", err)
	}
	m.client.config.Log.Info("moved to another server", "address", next.conn.RemoteAddr())
	return next, nil
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

// endMoving wakes what waits. The caller holds mu.
func (c *Client) endMoving() {
	if c.moving != nil {
		close(c.moving)
		c.moving = nil
	}
}
