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
	Code    proto.Code   // what the HTTP API says in this case
	ID      proto.TextID // the text's, as its receivers see it; 0: unknown
	// Receivers is the number of sessions that a group message was delivered to. It is unknown of a
	// private message, and if a server or route of an older release or of the original took part.
	Receivers proto.Receivers
}

// Err is nil for a message that was received, delivered, or stored for later, and
// else a *Refusal with the code that says why it was not.
func (r Result) Err() error {
	switch r.Outcome {
	case proto.OutcomeReceived, proto.OutcomeDelivered, proto.OutcomeStored:
		return nil
	}
	return &Refusal{Code: r.Code, Message: r.Code.Message()}
}

// SendGroup sends text to all users who are online but the sender.
func (c *Client) SendGroup(ctx context.Context, text string) (Result, error) {
	return c.send(ctx, 0, text, SendOptions{})
}

// Send sends text to one user, and wants it to be received: see SendWith.
func (c *Client) Send(ctx context.Context, receiver proto.UserID, text string) (Result, error) {
	return c.SendWith(ctx, receiver, text, SendOptions{})
}

// SendWith sends text to one user. The Result's outcome is received if the receiver's application
// has handled it; delivered if the receiver's connection has taken it, and no more can be known or
// was wanted; stored if it is kept until the receiver has it.
//
// Where the session acknowledges (ServerInfo.Ack), a message whose outcome is unknown, or whose
// connection is lost, is sent again under the same id for up to a minute after the first try. Its
// receiver gets one copy; a client of the original may get two. Messages of one goroutine to one
// receiver arrive in order, and wait behind one that is sent again. A message that a lost
// connection left between two tries may be overtaken by one that was not lost.
//
// The error is ErrNotConnected, ErrBusy or ErrClosed if nothing was sent; ErrUnknown if the outcome
// is unknown, also because ctx has ended; or it describes a text that no server accepts. The
// Result's own Err says whether a server refused the message.
func (c *Client) SendWith(ctx context.Context, receiver proto.UserID, text string, options SendOptions) (Result, error) {
	if receiver <= 0 {
		return Result{}, badReceiver(receiver)
	}
	return c.send(ctx, receiver, text, options)
}

func badReceiver(receiver proto.UserID) error {
	return fmt.Errorf("client: receiver %d is not a user's id", receiver)
}

// checkText refuses what no server takes.
func checkText(text string) error {
	if len(text) > proto.TextMax {
		return fmt.Errorf("client: a text of %d bytes, want at most %d", len(text), proto.TextMax)
	}
	if !utf8.ValidString(text) {
		return errors.New("client: the text is not valid UTF-8")
	}
	return nil
}

func (c *Client) send(ctx context.Context, receiver proto.UserID, text string, options SendOptions) (Result, error) {
	if err := checkText(text); err != nil {
		return Result{}, err
	}
	if err := c.startSend(false); err != nil {
		return Result{}, err
	}
	defer c.endSend(false)
	result, err := c.sendNow(ctx, newOutgoing(receiver, text, options))
	c.noteSent(receiver, result, err)
	return result, err
}

// sendNow takes the connection, or HTTP if the server does not know SEND.
func (c *Client) sendNow(ctx context.Context, m *outgoing) (Result, error) {
	whole := ctx
	ctx, cancel := context.WithTimeout(ctx, outcomeMax)
	defer cancel()
	w, err := c.way(ctx, m)
	switch {
	case err != nil:
		return Result{}, err
	case w.overHTTP():
		return c.sendHTTP(ctx, m.receiver, m.text)
	case w.id == 0:
		return Result{Outcome: proto.OutcomeBusy, Code: proto.CodeLimit}, nil
	case w.outcome == nil:
		w.post(m)
		return c.awaitOutcome(whole, m)
	}
	if err := w.session.post(w.id, m.receiver, m.text); err != nil {
		return Result{}, err
	}
	return w.session.outcome(ctx, w.id, w.outcome)
}

func (c *Client) noteSent(receiver proto.UserID, result Result, err error) {
	c.note(Event{Kind: EventSent, User: receiver, ID: result.ID, Result: result, Err: err})
}

// way is how one message goes: the session, and the place for its outcome.
type way struct {
	session *session
	id      uint64        // 0: all places are taken, or it goes over HTTP
	outcome <-chan Result // nil: the message may be sent again, and gets the outcome itself
}

func (w way) overHTTP() bool { return w.session.dialect != proto.DialectCIM }

// post writes m for the first time. If that fails, it is written again.
func (w way) post(m *outgoing) {
	if w.session.write(m.frame(w.id)) != nil {
		w.session.end()
	}
}

// errBehind: a message was not sent since one before it has no outcome yet.
var errBehind = fmt.Errorf("%w: a message to the same receiver is being sent again before it", ErrBusy)

// way finds one. It waits while the user moves from one server to another, and
// behind a message to the same receiver that is sent again.
func (c *Client) way(ctx context.Context, m *outgoing) (way, error) {
	for {
		w, free, err := c.wayNow(m)
		if free == nil {
			return w, err
		}
		select {
		case <-free:
		case <-c.outbox.closing:
			return way{}, ErrClosed
		case <-ctx.Done():
			return way{}, fmt.Errorf("%w: %w", err, ctx.Err())
		}
	}
}

// wayNow finds a way, or a channel to wait on and the error if that is never closed. It takes the
// slot under the lock under which a move begins: so a move knows all messages that are out.
func (c *Client) wayNow(m *outgoing) (w way, free <-chan struct{}, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.err != nil || c.ctx.Err() != nil:
		return way{}, nil, ErrClosed
	case c.moving != nil:
		return way{}, c.moving, ErrNotConnected
	case c.session == nil || c.session.hasEnded():
		return way{}, nil, ErrNotConnected
	}
	w.session = c.session
	switch {
	case w.overHTTP():
	case w.session.acks == nil || m.receiver == 0:
		w.id, w.outcome = w.session.expect()
	default:
		if free := c.resendBefore(m.receiver); free != nil {
			return way{}, free, errBehind
		}
		w.id = c.firstTry(w.session, m)
	}
	return w, nil, nil
}

// post writes a message whose outcome has the slot id. If that fails, an unknown part of it has
// been sent, and the connection ends.
func (s *session) post(id uint64, receiver proto.UserID, text string) error {
	if err := s.write(proto.AppendSend(nil, id, receiver, text)); err != nil {
		s.end()
		s.forget(id)
		return fmt.Errorf("%w: %w", ErrUnknown, err)
	}
	return nil
}

// outcome waits for what became of a message that was posted.
func (s *session) outcome(ctx context.Context, id uint64, outcome <-chan Result) (Result, error) {
	defer s.forget(id)
	why := errNoOutcome
	select {
	case result := <-outcome:
		return knownOutcome(result)
	case <-ctx.Done():
		why = ctx.Err()
	case <-s.ended:
	}
	select {
	case result := <-outcome: // it came just before the end
		return knownOutcome(result)
	default:
		return Result{}, fmt.Errorf("%w: %w", ErrUnknown, why)
	}
}

// knownOutcome maps an unknown outcome to ErrUnknown.
func knownOutcome(result Result) (Result, error) {
	if result.Outcome == proto.OutcomeUnknown {
		return result, ErrUnknown
	}
	return result, nil
}

// expect makes a place for an outcome; nil if all are taken.
func (s *session) expect() (uint64, <-chan Result) {
	outcome := make(chan Result, 1)
	if id := s.expectFor(outcomeSlot{outcome: outcome}); id != 0 {
		return id, outcome
	}
	return 0, nil
}

// expectFor makes p a place; 0 if all are taken.
func (s *session) expectFor(p outcomeSlot) (id uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.outcomes) >= outcomesMax {
		return 0
	}
	s.lastID++
	s.outcomes[s.lastID] = p
	return s.lastID
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

// settling is closed when no outcome is due any more; nil: none is. One goroutine calls it.
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

// resolve passes an outcome to the goroutine that waits for it. Only the first one for an id
// counts.
func (s *session) resolve(id uint64, result Result) {
	p, due := s.takePlace(id)
	switch {
	case !due:
	case p.message != nil:
		s.onOutcome(s, p.message, result)
	default:
		p.outcome <- result
	}
}

// takePlace frees the place of an outcome that has come, if there is one.
func (s *session) takePlace(id uint64) (outcomeSlot, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	p, due := s.outcomes[id]
	if due {
		s.drop(id)
	}
	return p, due
}

// sendHTTP is the way of the original's clients.
func (c *Client) sendHTTP(ctx context.Context, receiver proto.UserID, text string) (Result, error) {
	if err := ctx.Err(); err != nil {
		return Result{}, fmt.Errorf("client: not sent: %w", err)
	}
	path, request := proto.PathGroup, any(proto.GroupRequest{UserID: proto.Number(c.user.ID), Msg: &text})
	if receiver != 0 {
		path, request = proto.PathPrivate, proto.PrivateRequest{
			UserID: proto.Number(c.user.ID), ReceiveUserID: proto.Number(receiver), Msg: &text,
		}
	}
	code, err := c.routes.send(ctx, path, request)
	return Result{Outcome: proto.OutcomeOf(code), Code: code}, err
}
