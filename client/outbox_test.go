package client

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"cim/proto"
)

// sent is what became of one message of SendAsync.
type sent struct {
	text   string
	result Result
	err    error
}

// sendAsync sends text to bob; what becomes of it goes to into.
func sendAsync(t *testing.T, c *Client, text string, into chan<- sent) {
	t.Helper()
	err := c.SendAsync(t.Context(), 9, text, func(r Result, err error) { into <- sent{text, r, err} })
	if err != nil {
		t.Fatalf("SendAsync of %q: %v", text, err)
	}
}

// TestSendAsync sends three, and reports their outcomes in the order of the messages, in whatever
// order they arrive.
func TestSendAsync(t *testing.T) {
	f := newFake(t, ticketOne)
	c, p := f.logIn(f.config())
	got := make(chan sent, 10)
	var ids []uint64
	for i := range 3 {
		sendAsync(t, c, fmt.Sprint(i), got)
		frame := p.read()
		if string(frame.Text) != fmt.Sprint(i) || frame.Receiver != 9 {
			t.Fatalf("the server reads %+v, want number %d", frame, i)
		}
		ids = append(ids, frame.MessageID)
	}
	for i := 2; i >= 0; i-- {
		p.write(proto.AppendOutcome(nil, ids[i], proto.TextID(100+i), proto.OutcomeDelivered, proto.CodeSuccess))
	}
	for i := range 3 {
		want := sent{fmt.Sprint(i), Result{Outcome: proto.OutcomeDelivered, Code: proto.CodeSuccess, ID: proto.TextID(100 + i)}, nil}
		if s := await(t, got); s != want {
			t.Errorf("%+v, want %+v", s, want)
		}
	}
	if err := c.SendAsync(t.Context(), 0, "to all, without a callback", nil); err != nil {
		t.Error(err)
	}
	if frame := p.read(); frame.Receiver != 0 {
		t.Errorf("receiver %d, want all", frame.Receiver)
	} else {
		p.write(proto.AppendOutcome(nil, frame.MessageID, 0, proto.OutcomeDelivered, proto.CodeSuccess))
	}
	for text, receiver := range map[string]proto.UserID{"to no user": -1, strings.Repeat("x", proto.TextMax+1): 9} {
		if err := c.SendAsync(t.Context(), receiver, text, nil); err == nil {
			t.Errorf("SendAsync of %d bytes to %d: no error", len(text), receiver)
		}
	}
}

// TestSendAsyncBound fills the places and tries one more.
func TestSendAsyncBound(t *testing.T) {
	f := newFake(t, ticketOne)
	c, p := f.logIn(f.config())
	got := make(chan sent, postsMax)
	first := make(chan uint64, 1)
	go func() {
		first <- p.read().MessageID
		for range postsMax - 1 {
			p.read()
		}
		first <- 0
	}()
	for i := range postsMax {
		sendAsync(t, c, fmt.Sprint(i), got)
	}
	if err := c.SendAsync(t.Context(), 9, "one more", nil); !errors.Is(err, ErrBusy) {
		t.Errorf("one more: %v, want ErrBusy", err)
	}
	id := await(t, first)
	await(t, first)
	p.write(proto.AppendOutcome(nil, id, 0, proto.OutcomeDelivered, proto.CodeSuccess))
	await(t, got)
	for c.SendAsync(t.Context(), 9, "one more", nil) != nil { // its place is free in a moment
	}
	p.close()
	for range postsMax - 1 {
		if s := await(t, got); !errors.Is(s.err, ErrUnknown) {
			t.Fatalf("%+v, want ErrUnknown", s)
		}
	}
}

// TestSendAsyncOriginal sends over HTTP, one after the other.
func TestSendAsyncOriginal(t *testing.T) {
	f := newFake(t, "")
	c, _ := f.logIn(f.config())
	got := make(chan sent, 10)
	for i := range 5 {
		sendAsync(t, c, fmt.Sprint(i), got)
	}
	for i := range 5 {
		if a := f.expect(proto.PathPrivate); a.body["msg"] != fmt.Sprint(i) {
			t.Errorf("the route was sent %v, want number %d", a.body, i)
		}
		if s := await(t, got); s.err != nil || s.text != fmt.Sprint(i) || s.result.Code != proto.CodeSuccess {
			t.Errorf("%+v", s)
		}
	}
}

// TestCloseFlush waits for the outcomes of sends of both kinds, and refuses new ones meanwhile.
func TestCloseFlush(t *testing.T) {
	f := newFake(t, ticketOne)
	c, p := f.logIn(f.config())
	got := make(chan sent, 1)
	sendAsync(t, c, "async", got)
	async := p.read().MessageID
	waits := sending(t, c, "waits")
	sync := p.read().MessageID
	closed := make(chan error, 1)
	go func() { closed <- c.Close(t.Context()) }()
	for {
		if err := c.SendAsync(t.Context(), 9, "late", nil); errors.Is(err, ErrClosed) {
			break
		}
		p.write(proto.AppendOutcome(nil, p.read().MessageID, 0, proto.OutcomeDelivered, proto.CodeSuccess))
	}
	if _, err := c.SendGroup(t.Context(), "late"); !errors.Is(err, ErrClosed) {
		t.Errorf("SendGroup: %v, want ErrClosed", err)
	}
	select {
	case err := <-closed:
		t.Fatalf("closed (%v) while outcomes are due", err)
	default:
	}
	p.write(proto.AppendOutcome(nil, async, 0, proto.OutcomeStored, proto.CodeOffline))
	if s := await(t, got); s.err != nil || s.result.Outcome != proto.OutcomeStored {
		t.Errorf("async: %+v", s)
	}
	p.write(proto.AppendOutcome(nil, sync, 0, proto.OutcomeDelivered, proto.CodeSuccess))
	if err := await(t, waits); err != nil {
		t.Errorf("waits: %v", err)
	}
	if err := await(t, closed); err != nil {
		t.Errorf("Close: %v", err)
	}
	f.expect(proto.PathOffLine)
}

// TestCloseLate closes with a message whose outcome does not come.
func TestCloseLate(t *testing.T) {
	f := newFake(t, ticketOne)
	c, p := f.logIn(f.config())
	got := make(chan sent, 1)
	sendAsync(t, c, "lost", got)
	p.read()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if err := c.Close(ctx); !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "outcomes") {
		t.Errorf("Close: %v, want that outcomes have not come", err)
	}
	if s := await(t, got); !errors.Is(s.err, ErrUnknown) {
		t.Errorf("%+v, want ErrUnknown", s)
	}
	if c.State() != StateClosed {
		t.Errorf("state %v, want closed", c.State())
	}
}

// TestOutboxBound has as many messages of SendAsync aboard as it may, and one
// more; others are not counted.
func TestOutboxBound(t *testing.T) {
	var o outbox
	for i := range postsMax {
		if err := o.start(true); err != nil {
			t.Fatalf("message %d of %d: %v", i+1, postsMax, err)
		}
	}
	if err := o.start(true); !errors.Is(err, ErrBusy) {
		t.Errorf("one more: %v, want ErrBusy", err)
	}
	if err := o.start(false); err != nil {
		t.Errorf("one that waits for its outcome: %v", err)
	}
	o.end(false)
	o.end(true)
	if err := o.start(true); err != nil {
		t.Errorf("in a place that became free: %v", err)
	}
}
