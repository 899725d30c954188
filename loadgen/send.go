package loadgen

import (
	"context"
	"encoding/json"
	"time"

	"cim/proto"
)

// way brings one message of a slot to the server and waits for its answer.
// One goroutine uses it. The end of ctx ends the wait for an outcome.
type way interface {
	post(ctx context.Context, s *slot, sequence uint32, text []byte) Outcome
}

// say sends the slot's next message and returns what became of it.
func (s *slot) say(ctx context.Context, w way, t *trial, due, now int64) Outcome {
	sequence := s.begin(t, due, now)
	o := w.post(ctx, s, sequence, s.buf)
	s.file(sequence, o)
	return o
}

// begin writes the slot's next message into buf. From now on it may arrive.
func (s *slot) begin(t *trial, due, now int64) (sequence uint32) {
	sequence = s.sent.Load()
	h := s.heading(stamp{s.index, sequence, due, lateness(due, now)})
	padding := t.padding[:t.sizes.of(t.id, s.index, sequence)-TextMin]
	s.buf = appendText(s.buf[:0], h, padding)
	s.sent.Store(sequence + 1)
	return sequence
}

// httpWay is a request to a route.
type httpWay struct {
	caller *caller
	faults *faults
	want   proto.Want
}

func (w httpWay) post(_ context.Context, s *slot, _ uint32, text []byte) Outcome {
	path, body := messageRequest(s, string(text), w.want)
	answer, err := w.caller.post(path, body)
	if err != nil {
		w.faults.add("slot %d: %v", s.index, err)
		return Unknown
	}
	switch code := proto.Code(answer.Code); code {
	case proto.CodeSuccess:
		return deliveredAs(answer)
	case proto.CodeOffline:
		return Stored
	case proto.CodeLimit:
		return Refused
	default:
		w.faults.add("slot %d: POST %s: code %s: %s", s.index, path, code, answer.Message)
		return Unknown
	}
}

// deliveredAs is what a success says beyond that.
func deliveredAs(a proto.Answer) Outcome {
	var body proto.SentBody
	if json.Unmarshal(a.DataBody, &body) == nil && body.Outcome == proto.OutcomeReceived.String() {
		return Received
	}
	return Delivered
}

func messageRequest(s *slot, text string, want proto.Want) (path, body string) {
	sender := proto.Number(s.sender.user.ID)
	if s.receiver == nil {
		return proto.PathGroup, proto.Body(proto.GroupRequest{UserID: sender, Msg: &text})
	}
	receiver := proto.Number(s.receiver.user.ID)
	request := proto.PrivateRequest{UserID: sender, ReceiveUserID: receiver, Msg: &text}
	if want != proto.WantTaken {
		request.Client, request.Want = 1, proto.Number(want)
	}
	return proto.PathPrivate, proto.Body(request)
}

// connWay is a message over the sender's own connection, and the wait for its
// outcome.
type connWay struct {
	patience time.Duration
	answered bool // as Traits.Outcomes says
	faults   *faults
	frame    []byte
}

func (w *connWay) post(ctx context.Context, s *slot, sequence uint32, text []byte) Outcome {
	w.frame = s.sender.session.AppendSend(w.frame[:0], Message{uint64(sequence) + 1, s.to(), text})
	s.forgetAnswers()
	if err := s.sender.write(w.frame); err != nil {
		w.faults.addWrite(s, err)
		return Unknown
	}
	if !w.answered {
		return Delivered
	}
	timeout := time.NewTimer(w.patience)
	defer timeout.Stop()
	for {
		select {
		case a := <-s.answered:
			if a.sequence == sequence {
				return a.outcome
			}
		case <-ctx.Done():
			return Unknown
		case <-timeout.C:
			w.faults.add("slot %d: no outcome of message %d within %s", s.index, sequence, w.patience)
			return Unknown
		}
	}
}

// forgetAnswers drops one that came after its sender had given up.
func (s *slot) forgetAnswers() {
	select {
	case <-s.answered:
	default:
	}
}
