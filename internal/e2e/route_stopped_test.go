package e2e

import (
	"fmt"
	"syscall"
	"testing"
)

// TestRouteStopped stops one of two routes while clients send over their connections to a user who
// is away and to one at the other server. The outcomes of messages at that route are unknown, one
// of a sender at most, and the others go by the other route. When the first route continues it does
// nothing late: all received messages are in order, once.
func TestRouteStopped(t *testing.T) {
	t.Parallel()
	if !clustered {
		return
	}
	const before, while, after, senders = 3, 5, 5, 6 // messages of a line
	sys, c := startCluster(t, components{})
	by := c.settle(sys, 1)
	absent := sys.old("absent")
	absent.at = sys.routes[0]
	var lines []*line
	for i := range senders {
		from := sys.ours(fmt.Sprint("sender", i))
		via := from.logIn()
		lines = append(lines, newLine(from, absent, via), newLine(from, by[i%len(by)][0].user, via))
	}
	sendAll := func(more int) {
		t.Helper()
		var work []func() error
		for i := 0; i < len(lines); i += 2 { // a sender's session is one goroutine's
			work = append(work, func() error {
				for range more {
					for _, l := range lines[i : i+2] {
						if err := l.send(); err != nil {
							return err
						}
					}
				}
				return nil
			})
		}
		together(t, work...)
	}
	sendAll(before)
	c.routes[1].signal(syscall.SIGSTOP)
	sendAll(while)
	c.routes[1].signal(syscall.SIGCONT)
	sendAll(after)
	sys.checkMoved(lines, []*session{by[0][0], by[1][0], absent.logIn()})
	for _, l := range lines {
		if len(l.unknown) > 1 {
			t.Errorf("%s: %d messages are unknown, want 1 at most", l.from.Name, len(l.unknown))
		}
	}
}
