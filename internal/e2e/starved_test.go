package e2e

import (
	"fmt"
	"testing"
	"time"

	"cim/proto"
)

// TestCatchupUnderLoad logs a user in while four others send to it, each one message after the
// other without a pause. The catch-up ends nevertheless: soon the session takes messages, and no
// box fills up.
func TestCatchupUnderLoad(t *testing.T) {
	t.Parallel()
	const senders, storedBefore = 4, 50
	sys := startSystem(t)
	olga := sys.old("olga")
	stop, away, live := make(chan struct{}), make(chan struct{}, senders*storedBefore), make(chan struct{}, 1)
	var work []func() error
	var lines []*line
	for i := range senders {
		l := newLine(sys.old(fmt.Sprint("sender", i)), olga, nil)
		lines = append(lines, l)
		work = append(work, func() error { return l.sendUntilLive(stop, away, live) })
	}
	work = append(work, func() error {
		defer close(stop)
		for range senders * storedBefore {
			<-away
		}
		if _, err := olga.enter(); err != nil {
			return err
		}
		if !arrives(catchupMax, live) {
			return fmt.Errorf("%v after its login no message to %s was answered 9000", catchupMax, olga.Name)
		}
		return nil
	})
	together(t, work...)
	for _, l := range lines {
		if n := l.answers[proto.CodeOfflineStore]; n > 0 {
			t.Errorf("%d messages of %s were refused for a full box", n, l.from.Name)
		}
	}
}

// sendUntilLive sends until stop; away gets one thing for each message, live
// one for the first that a session took.
func (l *line) sendUntilLive(stop <-chan struct{}, away, live chan<- struct{}) error {
	for {
		select {
		case <-stop:
			return nil
		default:
		}
		if err := l.send(); err != nil {
			return err
		}
		offer(away)
		if l.answers[proto.CodeSuccess] > 0 {
			offer(live)
		}
	}
}

func offer(c chan<- struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// TestStoredInterleaved fills a box with the texts of two senders in turn, so
// that each needs a frame of its own: soon after the login none is left.
func TestStoredInterleaved(t *testing.T) {
	t.Parallel()
	sys := startSystem(t)
	senders := []*user{sys.old("bea"), sys.old("abe")}
	olga := sys.old("olga")
	var want []delivery
	for i := range shareTextsMax {
		text := fmt.Sprint("text ", i)
		senders[i%2].sendPrivate(proto.CodeOffline, olga, text)
		want = append(want, stored(senders[i%2], text)...)
	}
	s, err := olga.enter()
	if err != nil {
		t.Fatal(err)
	}
	if !s.wait(catchupMax, func(h *heard) bool { return len(h.deliveries) == len(want) }) {
		t.Fatalf("after %v only %d of %d texts have come", catchupMax, look(s, func(h *heard) int { return len(h.deliveries) }), len(want))
	}
	s.wantExactly(want...)
}

// arrives waits for something from c, for most at most.
func arrives(most time.Duration, c <-chan struct{}) bool {
	timeout := time.NewTimer(most)
	defer timeout.Stop()
	select {
	case <-c:
		return true
	case <-timeout.C:
		return false
	}
}
