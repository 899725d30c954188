package client

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"cim/proto"
)

// TestSend pairs each message with its outcome, in any order.
func TestSend(t *testing.T) {
	f := newFake(t, ticketOne)
	c, p := f.logIn(f.config())
	type sent struct {
		result Result
		err    error
	}
	group, private := make(chan sent, 1), make(chan sent, 1)
	go func() {
		r, err := c.SendGroup(t.Context(), "to all")
		group <- sent{r, err}
	}()
	first := *p.read()
	if first.Command != proto.CommandSend || first.Receiver != 0 || string(first.Text) != "to all" {
		t.Errorf("group message %+v", first)
	}
	go func() {
		r, err := c.Send(t.Context(), 9, "to bob")
		private <- sent{r, err}
	}()
	second := *p.read()
	if second.Command != proto.CommandSend || second.Receiver != 9 || string(second.Text) != "to bob" {
		t.Errorf("private message %+v", second)
	}
	p.write(proto.AppendOutcome(nil, second.MessageID, 77, proto.OutcomeStored, proto.CodeOffline))
	if s := await(t, private); s.err != nil || s.result != (Result{Outcome: proto.OutcomeStored, Code: proto.CodeOffline, ID: 77}) {
		t.Errorf("private: %+v, want stored", s)
	}
	p.write(proto.AppendOutcome(nil, first.MessageID, 0, proto.OutcomeDelivered, proto.CodeSuccess))
	if s := await(t, group); s.err != nil || s.result != (Result{Outcome: proto.OutcomeDelivered, Code: proto.CodeSuccess}) {
		t.Errorf("group: %+v, want delivered", s)
	}
}

// TestSendRefused refuses before anything is sent what no server takes.
func TestSendRefused(t *testing.T) {
	f := newFake(t, ticketOne)
	c, p := f.logIn(f.config())
	for text, want := range map[string]string{
		strings.Repeat("x", proto.TextMax+1): "want at most", "\xff": "not valid UTF-8",
	} {
		if _, err := c.SendGroup(t.Context(), text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("SendGroup of %d bytes: %v, want %q", len(text), err, want)
		}
	}
	if _, err := c.Send(t.Context(), 0, "hi"); err == nil {
		t.Error("Send to no user: no error")
	}
	edge := strings.Repeat("x", proto.TextMax)
	go func() {
		frame := p.read()
		p.write(proto.AppendOutcome(nil, frame.MessageID, 0, proto.OutcomeDelivered, proto.CodeSuccess))
	}()
	if _, err := c.SendGroup(t.Context(), edge); err != nil {
		t.Errorf("SendGroup of %d bytes: %v", len(edge), err)
	}
}

// TestOutcomesBound fills the places for outcomes, and asks for one more.
func TestOutcomesBound(t *testing.T) {
	s := &session{outcomes: map[uint64]outcomeSlot{}}
	for i := range outcomesMax {
		if _, outcome := s.expect(); outcome == nil {
			t.Fatalf("no place for message %d of %d", i+1, outcomesMax)
		}
	}
	if _, outcome := s.expect(); outcome != nil {
		t.Error("a place for one more")
	}
	s.forget(1)
	if _, outcome := s.expect(); outcome == nil {
		t.Error("no place after one became free")
	}
}

// TestOutcomeTwice takes the first outcome that a server sends for a message
// and no other.
func TestOutcomeTwice(t *testing.T) {
	s := &session{outcomes: map[uint64]outcomeSlot{}}
	id, outcome := s.expect()
	first := Result{Outcome: proto.OutcomeDelivered, Code: proto.CodeSuccess}
	s.resolve(id, first)
	s.resolve(id, Result{Outcome: proto.OutcomeFailed, Code: proto.CodeFailure})
	s.resolve(id+1, first)
	if got := <-outcome; got != first {
		t.Errorf("outcome %+v, want the first, %+v", got, first)
	}
}

// TestUnknown ends the connection while a message is out.
func TestUnknown(t *testing.T) {
	f := newFake(t, ticketOne)
	c, p := f.logIn(f.config())
	result := make(chan error, 1)
	go func() {
		_, err := c.SendGroup(t.Context(), "hello?")
		result <- err
	}()
	p.read()
	p.close()
	if err := await(t, result); !errors.Is(err, ErrUnknown) {
		t.Errorf("SendGroup: %v, want ErrUnknown", err)
	}
}

// TestSendDeadline gives up with the caller's context.
func TestSendDeadline(t *testing.T) {
	f := newFake(t, ticketOne)
	c, _ := f.logIn(f.config())
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	_, err := c.SendGroup(ctx, "hello?")
	if !errors.Is(err, ErrUnknown) || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("SendGroup: %v, want ErrUnknown and the context's error", err)
	}
}
