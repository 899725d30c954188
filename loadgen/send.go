package loadgen

import (
	"context"
	"time"

	"cim/proto"
)

// way brings one message of a slot to the server and waits for its answer.
// One goroutine uses it. The end of ctx ends the wait for an outcome.
type way interface {
	post(ctx context.Context, s *slot, sequence uint32, text []byte) verdict
}

// say sends the slot's next message and returns what became of it. One that
// was refused leaves its number to the next, so that receivers see no gap.
func (s *slot) say(ctx context.Context, w way, t *trial, due int64) verdict {
	sequence := s.sent.Load()
	s.buf = appendText(s.buf[:0], heading{t.id, s.index, sequence, due}, t.padding)
	s.left.Store(int64(s.receivers))
	s.sent.Store(sequence + 1)
	v := w.post(ctx, s, sequence, s.buf)
	if v == refused {
		s.sent.Store(sequence)
		s.count(v)
		return v
	}
	s.file(sequence, v)
	return v
}

// httpWay is a request to a route.
type httpWay struct {
	caller *caller
	faults *faults
}

func (w httpWay) post(_ context.Context, s *slot, _ uint32, text []byte) verdict {
	path, body := messageRequest(s, string(text))
	answer, err := w.caller.post(path, body)
	if err != nil {
		w.faults.add("slot %d: %v", s.index, err)
		return unknown
	}
	switch code := proto.Code(answer.Code); code {
	case proto.CodeSuccess:
		return delivered
	case proto.CodeOffline:
		return stored
	case proto.CodeLimit:
		return refused
	default:
		w.faults.add("slot %d: POST %s: code %s: %s", s.index, path, code, answer.Message)
		return unknown
	}
}

func messageRequest(s *slot, text string) (path, body string) {
	sender := proto.Number(s.sender.user.ID)
	if s.receiver == nil {
		return proto.PathGroup, proto.Body(proto.GroupRequest{UserID: sender, Msg: &text})
	}
	receiver := proto.Number(s.receiver.user.ID)
	return proto.PathPrivate, proto.Body(proto.PrivateRequest{UserID: sender, ReceiveUserID: receiver, Msg: &text})
}

// connWay is a SEND frame on the sender's own connection, and the wait for its
// outcome.
type connWay struct {
	patience time.Duration
	faults   *faults
	frame    []byte
}

func (w *connWay) post(ctx context.Context, s *slot, sequence uint32, text []byte) verdict {
	w.frame = proto.AppendSend(w.frame[:0], uint64(sequence)+1, s.receiverID(), text)
	s.forgetAnswers()
	if err := s.sender.write(w.frame); err != nil {
		w.faults.addWrite(s, err)
		return unknown
	}
	timeout := time.NewTimer(w.patience)
	defer timeout.Stop()
	for {
		select {
		case a := <-s.answered:
			if a.sequence == sequence {
				return a.verdict
			}
		case <-ctx.Done():
			return unknown
		case <-timeout.C:
			w.faults.add("slot %d: no outcome of message %d within %s", s.index, sequence, w.patience)
			return unknown
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
