package e2e

import (
	"fmt"
	"slices"
	"time"

	"cim/proto"
	"cim/proto/cimpb"
)

// wait returns when holds does, which it is asked after each change. It
// returns false after most, or when the connection has ended and so nothing
// can change any more.
func (s *session) wait(most time.Duration, holds func(*heard) bool) bool {
	timeout := time.NewTimer(most)
	defer timeout.Stop()
	for {
		s.mu.Lock()
		met, ended, changed := holds(&s.heard), s.heard.ended, s.changed
		s.mu.Unlock()
		if met || ended {
			return met
		}
		select {
		case <-changed:
		case <-timeout.C:
			return false
		}
	}
}

// until is wait for the test's own goroutine.
func (s *session) until(what string, holds func(*heard) bool) {
	t := s.user.system.t
	t.Helper()
	if !s.wait(waitMax, holds) {
		s.mu.Lock()
		defer s.mu.Unlock()
		t.Fatalf("session of %s, not within %v: %s; closed for %v, ended %t",
			s.user.Name, waitMax, what, s.heard.closes, s.heard.ended)
	}
}

// look reads what was heard so far.
func look[T any](s *session, read func(*heard) T) T {
	s.mu.Lock()
	defer s.mu.Unlock()
	return read(&s.heard)
}

func (s *session) ended() bool { return look(s, func(h *heard) bool { return h.ended }) }

// refusal is the reason of the login answer.
func (s *session) refusal() proto.Reason {
	return look(s, func(h *heard) proto.Reason { return proto.Reason(h.answer.GetReason()) })
}

// fence returns when the session is live, and has got all stored messages of its user and every
// message that was answered before. It sends a private message, which must arrive behind all of
// those.
func (s *session) fence() error {
	sys := s.user.system
	var code proto.Code
	var err error
	var text string
	within(waitMax, func() bool {
		text = fmt.Sprint(fencePrefix, sys.fences.Add(1))
		code, err = sys.usher.private(s.user, text)
		catchesUp := code == proto.CodeOffline || code == proto.CodeOfflineStore // stored, or no room for it
		unknown := code == proto.CodeFailure                                     // as while the machine is busy: one more does no harm
		return err != nil || !catchesUp && !unknown || s.ended()
	})
	if err != nil || code != proto.CodeSuccess {
		return fmt.Errorf("fence for %s: code %s, ended %t, %v", s.user.Name, code, s.ended(), err)
	}
	if !s.wait(waitMax, func(h *heard) bool { return h.fences[text] }) {
		return fmt.Errorf("fence for %s: answered %s, but it did not come", s.user.Name, code)
	}
	return nil
}

// wantExactly fences each session and demands that since the last time it got
// these deliveries and no other.
func (s *session) wantExactly(want ...delivery) {
	t := s.user.system.t
	t.Helper()
	if err := s.fence(); err != nil {
		t.Fatal(err)
	}
	got := look(s, func(h *heard) []delivery {
		defer func() { h.deliveries = nil }()
		return h.deliveries
	})
	if !slices.Equal(got, want) {
		t.Fatalf("%s got %s, want %s", s.user.Name, summary(got), summary(want))
	}
}

// summary shows deliveries shortly.
func summary(all []delivery) string {
	text := fmt.Sprintf("%d deliveries", len(all))
	for i, d := range all {
		if i == 20 {
			return text + " …"
		}
		text += fmt.Sprintf(" · %s: %.40q", d.From.Name, d.Text)
		if d.Offline {
			text += " (offline)"
		}
	}
	return text
}

// wantEnd waits until the server has ended the connection. A client of ours must have got the
// reason, unless reason is ReasonNone.
func (s *session) wantEnd(reason proto.Reason) {
	t := s.user.system.t
	t.Helper()
	s.until("the server ends the connection", func(h *heard) bool { return h.ended })
	var want []proto.Reason
	if s.ours && reason != proto.ReasonNone {
		want = []proto.Reason{reason}
	}
	if got := look(s, func(h *heard) []proto.Reason { return h.closes }); !slices.Equal(got, want) {
		t.Fatalf("session of %s was closed for %v, want %v", s.user.Name, got, want)
	}
}

// leave says goodbye and reads on to the end, so that nothing is lost that the
// session took.
func (s *session) leave() error {
	if err := s.user.goodbye(); err != nil {
		return err
	}
	if !s.wait(waitMax, func(h *heard) bool { return h.ended }) {
		return fmt.Errorf("session of %s still lives after /offLine", s.user.Name)
	}
	s.close()
	return nil
}

// ping sends one PING and waits for its pong.
func (s *session) ping() error {
	before := look(s, func(h *heard) int { return h.pongs })
	ping := []byte(proto.Ping)
	if s.user.v1 {
		ping = s.user.v1Ping()
	}
	if err := s.write(ping); err != nil {
		return err
	}
	if !s.wait(waitMax, func(h *heard) bool { return h.pongs > before }) {
		return fmt.Errorf("no pong for %s", s.user.Name)
	}
	return nil
}

// post sends one SEND without waiting for its outcome: to a user, or with nil to all.
func (s *session) post(to *user, text string) (id uint64, err error) {
	frame := &cimpb.Frame{Cmd: cimpb.Command_SEND, Text: text}
	if to != nil {
		frame.Receiver = int64(to.ID)
	}
	s.mu.Lock()
	s.sent++
	frame.MessageId = s.sent
	s.mu.Unlock()
	return frame.MessageId, s.write(framed(frame))
}

// outcome waits for that of a SEND, and returns its code too.
func (s *session) outcome(id uint64) (proto.Outcome, proto.Code, error) {
	if !s.wait(waitMax, func(h *heard) bool { return h.outcomes[id] != nil }) {
		return 0, 0, fmt.Errorf("no outcome for SEND %d of %s", id, s.user.Name)
	}
	frame := look(s, func(h *heard) *cimpb.Frame { return h.outcomes[id] })
	return proto.Outcome(frame.GetOutcome()), proto.Code(frame.GetCode()), outcomeFault(frame)
}

// outcomeFault holds the outcome against its code.
func outcomeFault(frame *cimpb.Frame) error {
	codes := map[cimpb.Outcome]proto.Code{
		cimpb.Outcome_DELIVERED: proto.CodeSuccess, cimpb.Outcome_STORED: proto.CodeOffline,
		cimpb.Outcome_BUSY: proto.CodeLimit,
	}
	want, fixed := codes[frame.GetOutcome()]
	if fixed && frame.GetCode() != uint32(want) {
		return fmt.Errorf("outcome %s has code %d, want %s", frame.GetOutcome(), frame.GetCode(), want)
	}
	return nil
}

// send is post and outcome.
func (s *session) send(to *user, text string) (proto.Outcome, proto.Code, error) {
	id, err := s.post(to, text)
	if err != nil {
		return 0, 0, err
	}
	return s.outcome(id)
}

// wantSend sends and demands an outcome.
func (s *session) wantSend(want proto.Outcome, to *user, text string) {
	t := s.user.system.t
	t.Helper()
	if got, code, err := s.send(to, text); err != nil || got != want {
		t.Fatalf("SEND of %s: %s, code %s, %v, want %s", s.user.Name, got, code, err, want)
	}
}
