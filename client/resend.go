package client

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"cim/proto"
)

const (
	// triesMax is how long behind the first try a message may be sent again.
	triesMax = 60 * time.Second
	// A message whose outcome is unknown is sent again after a pause that doubles
	// from retryMin to retryMax; after a lost connection at once with the next.
	retryMin = 100 * time.Millisecond
	retryMax = 5 * time.Second
)

// Want says when the sender of a private message gets its outcome.
type Want uint8

// The wants. Without acknowledgements (ServerInfo.Ack) all are WantTaken.
const (
	// WantReceived: once the receiver's application is done with the message, or it
	// is stored for the receiver: it is lost in neither case.
	WantReceived Want = iota
	// WantTaken: once the message has been handed to the receiver's connection, or
	// is stored. It is the fastest and promises the least.
	WantTaken
	// WantStored: once the message is stored, before it is delivered.
	WantStored
)

// String is the want's name.
func (w Want) String() string {
	switch w {
	case WantReceived:
		return "received"
	case WantTaken:
		return "taken"
	case WantStored:
		return "stored"
	}
	return fmt.Sprintf("want %d", uint8(w))
}

// onWire is w as frames and requests carry it.
func (w Want) onWire() proto.Want {
	switch w {
	case WantTaken:
		return proto.WantTaken
	case WantStored:
		return proto.WantStored
	}
	return proto.WantReceived
}

// ParseWant is the want that String names.
func ParseWant(name string) (Want, error) {
	for _, w := range []Want{WantReceived, WantTaken, WantStored} {
		if w.String() == name {
			return w, nil
		}
	}
	return 0, fmt.Errorf("want %q is none of taken, received, stored", name)
}

// SendOptions are what a message may be sent with. The zero value is that of
// Send.
type SendOptions struct {
	// ID is the text's, by which its receiver knows it if it comes again: an
	// application that may send it a second time, as after its own restart, gives
	// it the same id. Ids are of one sender; they should be random, of 64 bits. 0:
	// the client draws one.
	ID   proto.TextID
	Want Want
}

// outgoing is a private message of a session that acknowledges, until its outcome is known or given
// up.
type outgoing struct {
	receiver proto.UserID
	text     string
	options  SendOptions       // its ID is not 0
	settled  chan finalOutcome // of 1

	// Of Client.mu.
	until       time.Time // no try begins behind it
	session     *session  // that it was written to last; nil: to none that lives
	number      uint64    // its place there
	tries       int
	needsResend bool        // it is to be written again: others to its receiver wait
	due         time.Time   // not before that
	timer       *time.Timer // writes it again; nil until it has been in doubt
	finished    bool        // settled has its value
}

// finalOutcome is what became of a message.
type finalOutcome struct {
	result Result
	err    error
}

func newOutgoing(receiver proto.UserID, text string, options SendOptions) *outgoing {
	for options.ID == 0 {
		options.ID = proto.TextID(rand.Uint64())
	}
	return &outgoing{receiver: receiver, text: text, options: options, settled: make(chan finalOutcome, 1)}
}

// frame is m as a SEND whose outcome has the slot number.
func (m *outgoing) frame(number uint64) []byte {
	return proto.AppendSendOf(nil, proto.Send{
		ID: number, Receiver: m.receiver, Text: m.options.ID, Want: m.options.Want.onWire(),
	}, m.text)
}

// settle says what became of m. The caller holds Client.mu.
func (c *Client) settle(m *outgoing, result Result, err error) {
	if m.finished {
		return
	}
	m.finished = true
	m.settled <- finalOutcome{result, err}
	at := slices.Index(c.outgoing, m)
	c.outgoing = slices.Delete(c.outgoing, at, at+1)
	if m.session != nil {
		m.session.forget(m.number)
	}
	if m.timer != nil {
		m.timer.Stop()
	}
	c.noteResent(m)
}

// noteResent lets those go on that wait for m to be written again. The caller
// holds mu.
func (c *Client) noteResent(m *outgoing) {
	if !m.needsResend {
		return
	}
	m.needsResend = false
	c.resendsDue--
	if c.resent != nil {
		close(c.resent)
		c.resent = nil
	}
}

// scheduleResend has m written again, behind a pause. The caller holds mu.
func (c *Client) scheduleResend(m *outgoing, pause time.Duration) {
	m.session, m.due = nil, time.Now().Add(pause)
	if !m.needsResend {
		m.needsResend = true
		c.resendsDue++
	}
}

// resendBefore is closed when a message to receiver need not wait any more for those
// that are sent again before it; nil: there is none. The caller holds mu.
func (c *Client) resendBefore(receiver proto.UserID) <-chan struct{} {
	if c.resendsDue == 0 || !slices.ContainsFunc(c.outgoing, func(m *outgoing) bool { return m.needsResend && m.receiver == receiver }) {
		return nil
	}
	if c.resent == nil {
		c.resent = make(chan struct{})
	}
	return c.resent
}

// firstTry finds a place for m at s; 0 if all are taken. The caller holds mu.
func (c *Client) firstTry(s *session, m *outgoing) (number uint64) {
	if len(c.outgoing) >= outcomesMax {
		return 0
	}
	number = s.expectFor(outcomeSlot{message: m})
	if number != 0 {
		m.session, m.number, m.tries, m.until = s, number, 1, time.Now().Add(triesMax)
		c.outgoing = append(c.outgoing, m)
	}
	return number
}

// awaitOutcome waits for what became of m.
func (c *Client) awaitOutcome(ctx context.Context, m *outgoing) (Result, error) {
	c.mu.Lock()
	most := time.Until(m.until)
	c.mu.Unlock()
	timer := time.NewTimer(most)
	defer timer.Stop()
	var why error
	select {
	case s := <-m.settled:
		return s.result, s.err
	case <-timer.C:
		why = fmt.Errorf("%w: it was sent again for %v", ErrUnknown, triesMax)
	case <-ctx.Done():
		why = fmt.Errorf("%w: %w", ErrUnknown, ctx.Err())
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.settle(m, Result{}, why) // unless it came just now
	s := <-m.settled
	return s.result, s.err
}

// onOutcome takes the outcome of m that s brought.
func (c *Client) onOutcome(s *session, m *outgoing, result Result) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case m.finished:
	case result.Err() == nil:
		c.settle(m, result, nil)
	case m.session != s: // another try is under way
	case result.Outcome == proto.OutcomeUnknown, m.tries > 1 && isTemporary(result):
		c.scheduleResend(m, c.retryLater(m))
	case m.tries > 1: // an earlier try may have been taken
		c.settle(m, result, fmt.Errorf("%w: a later try was refused: %w", ErrUnknown, result.Err()))
	default:
		c.settle(m, result, nil)
	}
}

// isTemporary reports whether a refusal may not be given another time.
func isTemporary(result Result) bool {
	return result.Outcome == proto.OutcomeBusy || result.Code == proto.CodeFailure
}

// retryLater has m written again after a pause, unless that happens before. The
// caller holds mu.
func (c *Client) retryLater(m *outgoing) (pause time.Duration) {
	longest := min(retryMin<<min(m.tries-1, 8), retryMax)
	pause = longest/2 + rand.N(longest/2)
	if m.timer == nil {
		m.timer = time.AfterFunc(pause, func() { c.retry(m) })
	} else {
		m.timer.Reset(pause)
	}
	return pause
}

// retry writes m again, and earlier messages to its receiver. If it cannot, m waits for the next
// try.
func (c *Client) retry(m *outgoing) {
	s, able := c.mayRetry()
	if able {
		c.resend(s, m.receiver)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if !m.finished && m.needsResend && m.session == nil && time.Now().Before(m.until) {
		c.retryLater(m)
	}
}

// mayRetry is the session to write over, if there is one.
func (c *Client) mayRetry() (*session, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.session
	return s, s != nil && s.acks != nil && !s.hasEnded() && c.moving == nil
}

// resend writes unsettled messages to one receiver again over s, in the order of their first tries,
// up to one that is not due.
func (c *Client) resend(s *session, receiver proto.UserID) {
	c.resending.Lock() // two would mix up the order
	defer c.resending.Unlock()
	for {
		m, number := c.nextResend(s, receiver)
		if m == nil {
			return
		}
		if s.write(m.frame(number)) != nil {
			s.end() // m stays in doubt
			return
		}
		c.mu.Lock()
		if m.session == s {
			c.noteResent(m)
		}
		c.mu.Unlock()
	}
}

// nextResend is the first message to receiver that is in doubt, with a place for
// its outcome at s; nil if there is none, or it is not due. One without a place is
// tried later.
func (c *Client) nextResend(s *session, receiver proto.UserID) (*outgoing, uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	at := slices.IndexFunc(c.outgoing, func(m *outgoing) bool { return m.needsResend && m.session == nil && m.receiver == receiver })
	if at < 0 || time.Now().Before(c.outgoing[at].due) {
		return nil, 0
	}
	m := c.outgoing[at]
	m.tries++
	number := s.expectFor(outcomeSlot{message: m})
	if number == 0 {
		m.due = time.Now().Add(c.retryLater(m))
		return nil, 0
	}
	m.session, m.number = s, number
	return m, number
}

// sessionChanged writes messages without an outcome again over s. Without acknowledgements, which
// tell a copy from the first, their outcome is unknown. The caller holds mu.
func (c *Client) sessionChanged(s *session) {
	var receivers []proto.UserID
	for _, m := range slices.Clone(c.outgoing) {
		if s != nil && s.acks == nil {
			c.settle(m, Result{}, fmt.Errorf("%w: this server does not distinguish a copy from the first", ErrUnknown))
			continue
		}
		c.scheduleResend(m, 0)
		if !slices.Contains(receivers, m.receiver) {
			receivers = append(receivers, m.receiver)
		}
	}
	if s != nil && len(receivers) > 0 {
		c.resends.Go(func() {
			for _, receiver := range receivers {
				c.resend(s, receiver)
			}
		})
	}
}

// errEnded: the client has ended before the outcome came.
var errEnded = errors.New("the client has ended")

// settleAll ends all messages, since no other login follows. The caller holds mu.
func (c *Client) settleAll() {
	for _, m := range slices.Clone(c.outgoing) {
		c.settle(m, Result{}, fmt.Errorf("%w: %w", ErrUnknown, errEnded))
	}
}
