package client

import (
	"context"
	"errors"
	"fmt"
	"time"
	"unicode/utf8"

	"cim/proto"
)

// outcomeMax is how long a message's outcome is waited for: longer than a
// server waits for its routes.
const outcomeMax = 25 * time.Second

// Result is what became of a message.
type Result struct {
	Outcome proto.Outcome
	Code    proto.Code // what the HTTP API says in this case
}

// SendGroup sends text to everyone who is online but the sender.
func (c *Client) SendGroup(ctx context.Context, text string) (Result, error) {
	return c.send(ctx, 0, text)
}

// SendPrivate sends text to one user. Messages of one goroutine to one
// receiver arrive in their order, while neither of the two logs in again.
func (c *Client) SendPrivate(ctx context.Context, receiver proto.UserID, text string) (Result, error) {
	if receiver <= 0 {
		return Result{}, fmt.Errorf("client: receiver %d is not a user's id", receiver)
	}
	return c.send(ctx, receiver, text)
}

// send takes the connection, or HTTP if the server does not know SEND. The
// error is ErrNotConnected, ErrClosed, ErrUnknown, ctx's, or a text that no
// server takes.
func (c *Client) send(ctx context.Context, receiver proto.UserID, text string) (Result, error) {
	if len(text) > proto.TextMax {
		return Result{}, fmt.Errorf("client: a text of %d bytes, want at most %d", len(text), proto.TextMax)
	}
	if !utf8.ValidString(text) {
		return Result{}, errors.New("client: the text is not valid UTF-8")
	}
	ctx, cancel := context.WithTimeout(ctx, outcomeMax)
	defer cancel()
	w, err := c.way(ctx)
	switch {
	case err != nil:
		return Result{}, err
	case w.session.dialect != proto.DialectCIM:
		return c.sendHTTP(ctx, receiver, text)
	case w.outcome == nil:
		return Result{proto.OutcomeBusy, proto.CodeLimit}, nil
	}
	return w.session.send(ctx, w.id, w.outcome, receiver, text)
}

// way is how one message goes: the session, and the place for its outcome.
type way struct {
	session *session
	id      uint64
	outcome <-chan Result // nil: all places are taken, or it goes over HTTP
}

// way finds one. It waits while the user moves from one server to another.
func (c *Client) way(ctx context.Context) (way, error) {
	for {
		w, moved, err := c.wayNow()
		if moved == nil {
			return w, err
		}
		select {
		case <-moved:
		case <-ctx.Done():
			return way{}, fmt.Errorf("%w: %w", ErrNotConnected, ctx.Err())
		}
	}
}

// wayNow finds a way, or what to wait for. It takes the place under the lock
// under which a move begins: so a move knows all messages that are out.
func (c *Client) wayNow() (w way, moved <-chan struct{}, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.err != nil || c.ctx.Err() != nil:
		return way{}, nil, ErrClosed
	case c.moving != nil:
		return way{}, c.moving, nil
	case c.session == nil || c.session.hasEnded():
		return way{}, nil, ErrNotConnected
	}
	w.session = c.session
	if w.session.dialect == proto.DialectCIM {
		w.id, w.outcome = w.session.expect()
	}
	return w, nil, nil
}

func (s *session) send(ctx context.Context, id uint64, outcome <-chan Result, receiver proto.UserID, text string) (Result, error) {
	defer s.forget(id)
	if err := s.write(proto.AppendSend(nil, id, receiver, text)); err != nil {
		s.end()
		return Result{}, fmt.Errorf("%w: %w", ErrUnknown, err)
	}
	select {
	case result := <-outcome:
		return known(result)
	case <-ctx.Done():
		return Result{}, fmt.Errorf("%w: %w", ErrUnknown, ctx.Err())
	case <-s.ended:
	}
	select {
	case result := <-outcome: // it came just before the end
		return known(result)
	default:
		return Result{}, ErrUnknown
	}
}

// known is what became of a message, if its server knows.
func known(result Result) (Result, error) {
	if result.Outcome == proto.OutcomeUnknown {
		return Result{}, ErrUnknown
	}
	return result, nil
}

// expect makes a place for an outcome; nil if all are taken.
func (s *session) expect() (uint64, <-chan Result) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.outcomes) >= outcomesMax {
		return 0, nil
	}
	s.lastID++
	outcome := make(chan Result, 1)
	s.outcomes[s.lastID] = outcome
	return s.lastID, outcome
}

func (s *session) forget(id uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.drop(id)
}

// drop frees the place of an outcome. The caller holds mu.
func (s *session) drop(id uint64) {
	delete(s.outcomes, id)
	if len(s.outcomes) == 0 && s.settled != nil {
		close(s.settled)
		s.settled = nil
	}
}

// settle waits until no outcome is due, the session has ended, or for most.
func (s *session) settle(most time.Duration) {
	settled := s.settling()
	if settled == nil {
		return
	}
	timer := time.NewTimer(most)
	defer timer.Stop()
	select {
	case <-settled:
	case <-s.ended:
	case <-timer.C:
	}
}

// settling is closed when no outcome is due any more; nil: none is. One
// goroutine asks.
func (s *session) settling() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.outcomes) == 0 {
		return nil
	}
	if s.settled == nil {
		s.settled = make(chan struct{})
	}
	return s.settled
}

// resolve brings an outcome to whoever waits for it. Only the first one for an
// id counts.
func (s *session) resolve(id uint64, result Result) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if outcome := s.outcomes[id]; outcome != nil {
		outcome <- result
		s.drop(id)
	}
}

// sendHTTP is the way of the original's clients.
func (c *Client) sendHTTP(ctx context.Context, receiver proto.UserID, text string) (Result, error) {
	path, request := proto.PathGroup, any(proto.GroupRequest{UserID: proto.Number(c.user.ID), Msg: &text})
	if receiver != 0 {
		path, request = proto.PathPrivate, proto.PrivateRequest{
			UserID: proto.Number(c.user.ID), ReceiveUserID: proto.Number(receiver), Msg: &text,
		}
	}
	code, err := c.routes.send(ctx, path, request)
	return Result{proto.OutcomeOf(code), code}, err
}
