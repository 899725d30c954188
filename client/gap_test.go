package client

import (
	"fmt"
	"testing"

	"cim/proto"
)

// TestGapComesInOrder: OnLeftOut is called between the messages before and after the gap.
func TestGapComesInOrder(t *testing.T) {
	f := newFake(t, ticketOne)
	config := f.config()
	came := make(chan string, 10)
	config.OnMessage = func(m Message) { came <- m.Text }
	config.OnLeftOut = func(texts uint64) { came <- fmt.Sprint("left out ", texts) }
	_, p := f.logIn(config)
	p.deliver(5, "before")
	p.write(proto.AppendGap(nil, 300))
	p.write(proto.AppendGap(nil, 0)) // useless, and no fault
	p.deliver(6, "behind")
	for _, want := range []string{"before", "left out 300", "behind"} {
		if got := await(t, came); got != want {
			t.Errorf("%q came, want %q", got, want)
		}
	}
}
