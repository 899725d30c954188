package client

import (
	"context"
	"errors"
	"testing"
	"time"

	"cim/proto"
)

// TestDialBound: a server that sends messages before it takes the login does not hold Dial longer
// than its context, though the channel is not read yet.
func TestDialBound(t *testing.T) {
	for _, count := range []int{1, eventsMax + 2} {
		f := newFake(t, ticketOne)
		config := f.config()
		config.Messages = make(chan Message)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		done := make(chan error, 1)
		go func() {
			c, err := Dial(ctx, config)
			if err == nil {
				shut(t, c)
			}
			done <- err
		}()
		p := await(t, f.conns)
		p.read()
		for range count {
			p.write(proto.AppendDelivery(nil, proto.AppendBody(nil, proto.MessageFrom(proto.CommandMessage, ann, 0, []string{"x"})), ann.ID))
		}
		if count == 1 {
			p.write(proto.AppendLoginAnswer(nil, proto.LoginAnswer{Reason: proto.ReasonNoGrant}))
		}
		if err := await(t, done); err == nil || errors.Is(err, ErrClosed) {
			t.Errorf("%d messages before the login: %v", count, err)
		}
		p.close()
	}
}
