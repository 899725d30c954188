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

// lineSender sends lines over the HTTP API. The next request follows the answer to the one before,
// which keeps the lines' order, and carries the lines that have arrived meanwhile.
type lineSender struct {
	api      *client.API
	sender   proto.UserID
	receiver proto.UserID // 0: all users
	want     client.Want
	report   *sendReport
	// ours: the last message that was taken was so by a route of ours. One of
	// the original need not know batches, so it gets one line at a time.
	ours bool
}

// run sends all lines. The error is why it ended before the last one.
func (c *lineSender) run(ctx context.Context, lines *sendLines) error {
	for {
		batch := lines.batch(ctx, c.most())
		switch {
		case len(batch) > 0:
			if err := c.send(ctx, batch); err != nil {
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
func (c *lineSender) most() int {
	if c.ours {
		return proto.BatchMax
	}
	return 1
}

// send sends a batch. One that is refused is sent line by line, so that a
// line is not refused for what another one is; but not after a failure, which may
// have stored it all the same.
func (c *lineSender) send(ctx context.Context, batch []sendLine) error {
	if batch[0].fault != nil {
		return c.report.report(batch[0], client.Result{Outcome: proto.OutcomeFailed, Code: proto.CodeInvalid}, batch[0].fault)
	}
	result, err := c.post(ctx, batch, sendTries)
	if err == nil && result.Err() != nil && result.Code != proto.CodeFailure && len(batch) > 1 {
		for i := range batch {
			result, err = c.post(ctx, batch[i:i+1], 1)
			if err = c.reportBatch(batch[i:i+1], result, err); err != nil {
				return err
			}
		}
		return nil
	}
	return c.reportBatch(batch, result, err)
}

// reportBatch reports the outcome of a batch. It returns an error if further sends are useless.
func (c *lineSender) reportBatch(batch []sendLine, result client.Result, err error) error {
	if err != nil && !errors.Is(err, client.ErrUnknown) {
		return fmt.Errorf("%s was not sent, nor what is behind it: %w", c.report.place(batch[0]), err)
	}
	if result.Code == proto.CodeAccountMismatch {
		nobody := c.receiver
		if nobody == 0 { // a group message
			nobody = c.sender
		}
		return fmt.Errorf("%s was not sent, nor the lines after it: no account has the id %d", c.report.place(batch[0]), nobody)
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
		if err := c.report.report(line, result, err); err != nil {
			return err
		}
	}
	return nil
}

// post tries to send a batch. An interrupt does not break off a request, since
// its outcome would be unknown then.
func (c *lineSender) post(ctx context.Context, batch []sendLine, tries int) (client.Result, error) {
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

// rest waits before a message is tried again, and reports whether to try.
func (c *lineSender) rest(ctx context.Context, try int) bool {
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

// sendReport prints the outcome of each message, and counts.
type sendReport struct {
	out    io.Writer // takes JSON
	stderr io.Writer // takes what a person reads
	json   bool
	alone  bool // there is one message, so lines have no number

	messages, undelivered, unknown int
}

// report prints the outcome of one line; why is nil if it was received, delivered or stored.
func (t *sendReport) report(line sendLine, result client.Result, why error) error {
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
			report(t.stderr, fmt.Errorf("%s: delivered to %d online", t.place(line), n))
		}
	case proto.OutcomeStored:
		report(t.stderr, fmt.Errorf("%s: stored, the receiver does not have it yet", t.place(line)))
	case proto.OutcomeUnknown:
		report(t.stderr, fmt.Errorf("%s: unknown, the route could not say what became of it: it may have arrived or not", t.place(line)))
	default:
		report(t.stderr, fmt.Errorf("%s: %s: %w", t.place(line), result.Outcome, plainRefusal(why)))
	}
	return nil
}

// place is the start of a report about a line.
func (t *sendReport) place(line sendLine) string {
	if t.alone {
		return "the message"
	}
	return fmt.Sprintf("line %d", line.number)
}

// plainRefusal is a refusal without the name of the request.
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
	ID   string `json:"id,omitempty"` // absent: unknown
	// of a group message: the sessions that got it; absent: unknown
	Receivers *int   `json:"receivers,omitempty"`
	Outcome   string `json:"outcome"`
	Code      string `json:"code,omitempty"` // absent: the route gave none
	Error     string `json:"error,omitempty"`
}

func (t *sendReport) write(line sendLine, result client.Result, why error) error {
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
func (t *sendReport) verdict(ctx context.Context, err error) error {
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

// sum prints the counts, unless one line has said everything.
func (t *sendReport) sum() error {
	if t.alone {
		return errors.New("")
	}
	return fmt.Errorf("%d messages: %d neither delivered nor stored, %d unknown", t.messages, t.undelivered, t.unknown)
}
