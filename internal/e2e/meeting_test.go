package e2e

import (
	"fmt"
	"slices"
	"testing"
	"time"
)

// catchupMax is how long a user may be connected and have something left in
// the store. It is promised to be 2 s where nothing else keeps the machine busy.
const catchupMax = 10 * time.Second

// TestStoreMeetsLogin sends a few messages just while the receiver logs in. Whatever their answers
// were, they arrive in time, in order, once within a session.
func TestStoreMeetsLogin(t *testing.T) {
	t.Parallel()
	const pairs, rounds = 8, 25
	sys := startSystem(t)
	var work []func() error
	for i := range pairs {
		receiver := sys.user(fmt.Sprint("receiver", i), i%2 == 0)
		l := newLine(sys.old(fmt.Sprint("sender", i)), receiver, nil)
		work = append(work, func() error { return l.meetLogins(rounds) })
	}
	together(t, work...)
}

func (l *line) meetLogins(rounds int) error {
	var sessions [][]delivery
	for round := range rounds {
		sent := make(chan error, 1)
		go func() {
			var err error
			for range 1 + round%6 {
				if err == nil {
					err = l.send()
				}
			}
			sent <- err
		}()
		s, err := l.to.enter()
		if sendErr := <-sent; err == nil {
			err = sendErr
		}
		if err != nil {
			return err
		}
		all := func(h *heard) []delivery { return firsts(append(slices.Clip(sessions), h.deliveries)) }
		if !s.wait(catchupMax, func(h *heard) bool { return len(all(h)) >= len(l.taken) }) {
			return fmt.Errorf("round %d: %s lacks messages after %v", round, l.to.Name, catchupMax)
		}
		if err := s.leave(); err != nil {
			return err
		}
		if err := l.check(l.to, look(s, all)); err != nil {
			return fmt.Errorf("round %d: %w", round, err)
		}
		sessions = append(sessions, look(s, func(h *heard) []delivery { return h.deliveries }))
	}
	return nil
}
