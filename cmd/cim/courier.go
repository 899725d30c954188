package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"strconv"
	"time"

	"cim/client"
	"cim/proto"
)

const (
	// sendTries bounds how often a message is tried that was refused for load,
	// or that reached no route. The pauses double from sendPauseMin on and come
	// to 3 to 6 s.
	sendTries    = 7
	sendPauseMin = 100 * time.Millisecond
)

// courier sends lines over the HTTP API: the next request goes out when the one
// before has been answered, which keeps their order, and carries what lines have
// come meanwhile.
type courier struct {
	api      *client.API
	sender   proto.UserID
	receiver proto.UserID // 0: everybody
	want     client.Want
	tally    *tally
	// ours: the last message that was taken was so by a route of ours. One of
	// the original need not know batches, so it gets one line at a time.
	ours bool
}

// run sends all lines. The error is why it ended before the last one.
func (c *courier) run(ctx context.Context, lines *sendLines) error {
	for {
		batch := lines.batch(ctx, c.most())
		switch {
		case len(batch) > 0:
			if err := c.carry(ctx, batch); err != nil {
				return err
			}
		case ctx.Err() != nil:
			return orInterrupted(ctx, nil)
		default:
			return lines.err
		}
	}
}

// most is how many lines one request may carry.
func (c *courier) most() int {
	if c.ours {
		return proto.BatchMax
	}
	return 1
}

// carry sends a batch. One that is refused is sent line by line, so that a
// line is not refused for what another one is; but not after a failure, which may
// have stored it all the same.
func (c *courier) carry(ctx context.Context, batch []sendLine) error {
	if batch[0].fault != nil {
		return c.tally.tell(batch[0], client.Result{Outcome: proto.OutcomeFailed, Code: proto.CodeInvalid}, batch[0].fault)
	}
	result, err := c.post(ctx, batch, sendTries)
	if err == nil && result.Err() != nil && result.Code != proto.CodeFailure && len(batch) > 1 {
		for i := range batch {
			result, err = c.post(ctx, batch[i:i+1], 1)
			if err = c.tellAll(batch[i:i+1], result, err); err != nil {
				return err
			}
		}
		return nil
	}
	return c.tellAll(batch, result, err)
}

// tellAll tells what became of a batch. It returns an error if there is no use
// in sending more.
func (c *courier) tellAll(batch []sendLine, result client.Result, err error) error {
	if err != nil && !errors.Is(err, client.ErrUnknown) {
		return fmt.Errorf("%s was not sent, nor what is behind it: %w", c.tally.place(batch[0]), err)
	}
	if result.Code == proto.CodeAccountMismatch {
		nobody := c.receiver
		if nobody == 0 { // to everybody
			nobody = c.sender
		}
		return fmt.Errorf("%s was not sent, nor what is behind it: nobody has the id %d", c.tally.place(batch[0]), nobody)
	}
	if err == nil {
		err = result.Err()
		c.ours = result.ID != 0
	} else {
		result.Outcome = proto.OutcomeUnknown
	}
	id := result.ID
	for i, line := range batch {
		result.ID = id.Next(i)
		if err := c.tally.tell(line, result, err); err != nil {
			return err
		}
	}
	return nil
}

// post tries to send a batch. An interrupt does not break off a request, since
// its outcome would be unknown then.
func (c *courier) post(ctx context.Context, batch []sendLine, tries int) (client.Result, error) {
	texts := make([]string, len(batch))
	for i, line := range batch {
		texts[i] = line.text
	}
	for try := 1; ; try++ {
		result, err := c.api.SendWith(context.WithoutCancel(ctx), c.sender, c.receiver, client.SendOptions{Want: c.want}, texts...)
		refused := err == nil && result.Outcome == proto.OutcomeBusy || err != nil && !errors.Is(err, client.ErrUnknown)
		if !refused || try == tries || !c.rest(ctx, try) {
			return result, err
		}
	}
}

// rest waits before a message is tried again, and reports whether to do it.
func (c *courier) rest(ctx context.Context, try int) bool {
	longest := sendPauseMin << (try - 1)
	timer := time.NewTimer(longest/2 + rand.N(longest/2))
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// tally tells what became of each message, and counts.
type tally struct {
	out   io.Writer // takes JSON
	said  io.Writer // takes what a person reads
	json  bool
	alone bool // there is one message, so lines have no number

	messages, undelivered, unknown int
}

// tell tells what became of one line; why is nil if it was received, delivered or
// stored.
func (t *tally) tell(line sendLine, result client.Result, why error) error {
	t.messages++
	switch result.Outcome {
	case proto.OutcomeReceived, proto.OutcomeDelivered, proto.OutcomeStored:
	case proto.OutcomeUnknown:
		t.unknown++
	default:
		t.undelivered++
	}
	if t.json {
		return t.write(line, result, why)
	}
	switch result.Outcome {
	case proto.OutcomeReceived:
	case proto.OutcomeDelivered:
		if n, known := result.Receivers.Count(); known && t.alone {
			report(t.said, fmt.Errorf("%s: delivered to %d online", t.place(line), n))
		}
	case proto.OutcomeStored:
		report(t.said, fmt.Errorf("%s: stored, the receiver does not have it yet", t.place(line)))
	case proto.OutcomeUnknown:
		report(t.said, fmt.Errorf("%s: unknown, the route could not say what became of it: it may have arrived or not", t.place(line)))
	default:
		report(t.said, fmt.Errorf("%s: %s: %w", t.place(line), result.Outcome, plainRefusal(why)))
	}
	return nil
}

// place begins what is said of a line.
func (t *tally) place(line sendLine) string {
	if t.alone {
		return "the message"
	}
	return fmt.Sprintf("line %d", line.number)
}

// plainRefusal is a refusal without what it is an answer to.
func plainRefusal(err error) error {
	var refusal *client.Refusal
	switch {
	case !errors.As(err, &refusal):
		return err
	case refusal.Code == proto.CodeOfflineStore:
		return fmt.Errorf("code %s: %s: too many may wait for the receiver already", refusal.Code, refusal.Message)
	}
	return fmt.Errorf("code %s: %s", refusal.Code, refusal.Message)
}

// sentJSON is what --json writes of a message. Names are never changed, only
// new ones are added.
type sentJSON struct {
	Line int    `json:"line"`
	ID   string `json:"id,omitempty"` // absent: not known
	// of a message to everybody: the sessions that have it; absent: not known
	Receivers *int   `json:"receivers,omitempty"`
	Outcome   string `json:"outcome"`
	Code      string `json:"code,omitempty"` // absent: the route gave none
	Error     string `json:"error,omitempty"`
}

func (t *tally) write(line sendLine, result client.Result, why error) error {
	shown := sentJSON{Line: line.number, Outcome: result.Outcome.String()}
	if result.ID != 0 {
		shown.ID = strconv.FormatUint(uint64(result.ID), 10)
	}
	if n, known := result.Receivers.Count(); known {
		shown.Receivers = &n
	}
	if result.Code != 0 {
		shown.Code = result.Code.String()
	}
	if why != nil {
		shown.Error = plainRefusal(why).Error()
	}
	return writeLine(t.out, shown)
}

// verdict is how the command ends: err is why it ended early, if it did. It
// says nothing twice.
func (t *tally) verdict(ctx context.Context, err error) error {
	var status int
	switch {
	case ctx.Err() != nil:
		status = exitInterrupted
	case t.unknown > 0:
		status = exitUnknown
	case err != nil:
		status = exitFailure
	case t.undelivered > 0:
		status = exitUndelivered
	default:
		return nil
	}
	return ending{errors.Join(err, t.sum()), status}
}

// sum counts, if there is more to it than what has been told.
func (t *tally) sum() error {
	if t.alone {
		return errors.New("")
	}
	return fmt.Errorf("%d messages: %d neither delivered nor stored, %d unknown", t.messages, t.undelivered, t.unknown)
}
