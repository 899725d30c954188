package loadgen

import (
	"context"
	"time"
)

// way sends one message of a slot to the server and waits for its answer. One goroutine uses it.
// The end of ctx ends the wait for an outcome.
type way interface {
	post(ctx context.Context, s *slot, sequence uint32, text []byte) Outcome
}

// sendNext sends the slot's next message and returns what became of it.
func (s *slot) sendNext(ctx context.Context, w way, t *trial, due, now int64) Outcome {
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

// httpWay is a request, and its answer.
type httpWay struct {
	caller *caller
	system HTTPSystem
	faults *faults
	body   []byte
}

func (w *httpWay) post(_ context.Context, s *slot, sequence uint32, text []byte) Outcome {
	path, body := w.system.AppendRequest(w.body[:0], s.sender.index, Message{uint64(sequence) + 1, s.to(), text})
	w.body = body
	status, answer, err := w.caller.exchange(path, body)
	var became Outcome
	if err == nil {
		became, err = w.system.Answered(status, answer)
	}
	if err != nil {
		w.faults.add("slot %d: POST %s: %v", s.index, path, err)
		return Unknown
	}
	return became
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

// forgetAnswers drops an answer that came after its sender had given up.
func (s *slot) forgetAnswers() {
	select {
	case <-s.answered:
	default:
	}
}
