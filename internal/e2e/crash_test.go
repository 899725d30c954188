package e2e

import (
	"errors"
	"fmt"
	"testing"

	"cim/proto"
)

// TestCrash kills the system while messages are being stored, and starts it again with its data:
// all answered messages are there, in order, once, and users whose sessions died log in at once.
func TestCrash(t *testing.T) {
	t.Parallel()
	const receivers, senders, enough = 3, 4, 150
	sys := startSystem(t)
	abe := sys.ours("abe")
	onAbe := abe.logIn()
	olga := sys.old("olga")
	onOlga := olga.logIn()
	var lines []*line
	for r := range receivers {
		to := sys.user(fmt.Sprint("receiver", r), r%2 == 0)
		lines = append(lines, newLine(abe, to, onAbe))
		for s := range senders {
			lines = append(lines, newLine(sys.old(fmt.Sprint("sender", r, s)), to, nil))
		}
	}
	stored := make(chan struct{}, len(lines)*enough)
	var work []func() error
	for _, l := range lines {
		work = append(work, func() error { return l.sendToTheEnd(stored) })
	}
	work = append(work, func() error {
		for range enough {
			<-stored
		}
		sys.kill()
		return nil
	})
	together(t, work...)

	sys.run()
	onAbe.wantEnd(proto.ReasonNone)
	onOlga.wantEnd(proto.ReasonNone)
	for _, u := range []*user{abe, olga} {
		before := u.ID
		u.register(u.Name)
		if u.ID != before {
			t.Errorf("%s has the id %d after a crash, had %d", u.Name, u.ID, before)
		}
		u.logIn().wantExactly()
	}
	for r := range receivers {
		s := lines[r*(senders+1)].to.logIn()
		got := look(s, func(h *heard) []delivery { return h.deliveries })
		for _, l := range lines[r*(senders+1) : (r+1)*(senders+1)] {
			if err := l.check(l.to, got); err != nil {
				t.Error(err)
			}
		}
	}
}

// sendToTheEnd sends until the system has gone.
func (l *line) sendToTheEnd(stored chan<- struct{}) error {
	for {
		err := l.send()
		if errors.Is(err, errNoAnswer) {
			return nil
		}
		if err != nil {
			return err
		}
		select {
		case stored <- struct{}{}:
		default: // enough of them
		}
	}
}
