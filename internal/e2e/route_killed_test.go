package e2e

import (
	"errors"
	"fmt"
	"syscall"
	"testing"

	"cim/proto"
)

// TestRouteKilled kills a route while messages of every kind are sent, some of them to it. Its
// clients continue at the other one; no answered message is lost, no session ends.
func TestRouteKilled(t *testing.T) {
	t.Parallel()
	if !clustered {
		return
	}
	const before, after = 60, 120 // messages of a line
	sys, c := startCluster(t, components{})
	by := c.settle(sys, 2)
	there := append(by[0], by[1]...)
	absent := sys.old("absent")
	var lines []*line
	for i, to := range []*user{by[0][0].user, by[1][0].user, by[1][len(by[1])-1].user, absent, nil} {
		for j, route := range sys.routes {
			byHTTP, overConn := sys.old(fmt.Sprint("http", i, j)), sys.ours(fmt.Sprint("conn", i, j))
			byHTTP.at, overConn.at = route, route
			lines = append(lines, newLine(byHTTP, to, nil), newLine(overConn, to, overConn.logIn()))
		}
	}
	doomed, rest := sys.routes[1], sys.routes[0]
	begun := make(chan struct{}, len(lines))
	var work []func() error
	for _, l := range lines {
		work = append(work, func() error {
			err := l.sendMoving(before, doomed, rest)
			begun <- struct{}{}
			if err == nil {
				err = l.sendMoving(after, doomed, rest)
			}
			return err
		})
	}
	work = append(work, func() error {
		for range lines {
			<-begun
		}
		c.routes[1].asked = true
		return c.routes[1].child.Signal(syscall.SIGKILL)
	})
	together(t, work...)
	c.routes[1].awaitEnd()
	sys.routes = sys.routes[:1]
	sys.checkMoved(lines, append(there, absent.logIn()))
	for _, s := range there { // the other route knows all of them
		if err := s.leave(); err != nil {
			t.Fatal(err)
		}
		s.user.ticket = ""
		s.user.logIn().wantExactly()
	}
}

// sendMoving sends more messages, and moves to another route when its own does
// not answer any more.
func (l *line) sendMoving(more int, doomed, rest string) error {
	for range more {
		err := l.send()
		if err != nil && !(errors.Is(err, errNoAnswer) && l.via == nil && l.from.at == doomed) {
			return err
		}
		if err != nil {
			l.from.at = rest
		}
	}
	return nil
}

// checkMoved compares what all users got with the lines.
func (s *system) checkMoved(lines []*line, receivers []*session) {
	s.t.Helper()
	for _, r := range receivers {
		if err := r.fence(); err != nil {
			s.t.Fatal(err)
		}
		got := look(r, func(h *heard) []delivery { return h.deliveries })
		for _, l := range lines {
			if l.to != nil && l.to != r.user || l.to == nil && r.user.Name == "absent" {
				continue
			}
			if err := l.check(r.user, got); err != nil {
				s.t.Error(err)
			}
			if n := count(got, l.from); n < len(l.taken) {
				s.t.Errorf("%s got %d messages of %s, want %d", r.user.Name, n, l.from.Name, len(l.taken))
			}
		}
	}
	for _, l := range lines {
		if len(l.unknown) > 2 || l.answers[proto.CodeSuccess]+l.answers[proto.CodeOffline] < l.next/2 {
			s.t.Errorf("%s: %d messages, answers %v, %d without a clear one", l.from.Name, l.next, l.answers, len(l.unknown))
		}
	}
}
