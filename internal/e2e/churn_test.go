package e2e

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"cim/proto"
)

// churn is one receiver that comes and goes while lines of messages are sent
// to it.
type churn struct {
	user   *user
	lines  []*line
	random *rand.Rand
	got    [][]delivery // of sessions that have ended, each
	stays  int
}

// TestChurn logs receivers in and out in a loop while others send to them over HTTP and over
// connections. All messages that were answered 9000 or 7000 arrive in order, once within each
// session, and none waits longer than allowed once the receiver stays.
func TestChurn(t *testing.T) {
	t.Parallel()
	const seed, lasts = 52, 6 * time.Second
	t.Logf("seed %d", seed)
	sys := startSystem(t)
	stop := make(chan struct{})
	var senders, receivers []func() error
	churns := []*churn{{user: sys.old("olga")}, {user: sys.ours("ada")}}
	for i, c := range churns {
		c.random = rand.New(rand.NewPCG(seed, uint64(i)))
		for n := range 2 {
			byHTTP, overConn := sys.old(fmt.Sprint("http", i, n)), sys.ours(fmt.Sprint("conn", i, n))
			c.lines = append(c.lines, newLine(byHTTP, c.user, nil), newLine(overConn, c.user, overConn.logIn()))
		}
		for _, l := range c.lines {
			senders = append(senders, func() error { return l.sendUntil(stop) })
		}
		receivers = append(receivers, func() error { return c.comeAndGo(stop) })
	}
	time.AfterFunc(lasts, func() { close(stop) })
	together(t, append(senders, receivers...)...)
	answers := map[proto.Code]int{}
	for _, c := range churns {
		for _, l := range c.lines {
			answers[proto.CodeSuccess] += l.answers[proto.CodeSuccess]
			answers[proto.CodeOffline] += l.answers[proto.CodeOffline]
		}
		t.Logf("%s stayed %d times", c.user.Name, c.stays)
		if err := c.finish(); err != nil {
			t.Error(err)
		}
	}
	if answers[proto.CodeSuccess] == 0 || answers[proto.CodeOffline] == 0 {
		t.Errorf("answers %v, want both 9000 and 7000 among them", answers)
	}
}

// comeAndGo logs in, stays for some messages and leaves, again and again. A
// client of ours leaves in two ways: by a goodbye, or by its next login.
func (c *churn) comeAndGo(stop <-chan struct{}) error {
	s, err := c.user.enter()
	for err == nil {
		c.stays++
		some := c.random.IntN(40)
		s.wait(time.Duration(c.random.IntN(500))*time.Millisecond, func(h *heard) bool { return len(h.deliveries) >= some })
		select {
		case <-stop:
			return c.leave(s)
		default:
		}
		if c.user.ours && c.random.IntN(2) == 0 {
			s, err = c.takeOver(s)
			continue
		}
		if err = c.leave(s); err == nil {
			s, err = c.user.enter()
		}
	}
	return err
}

func (c *churn) leave(s *session) error {
	err := s.leave()
	c.got = append(c.got, look(s, func(h *heard) []delivery { return h.deliveries }))
	return err
}

// takeOver logs in with the ticket of the session that lives, and reads that
// one to its end.
func (c *churn) takeOver(s *session) (*session, error) {
	at, code, err := c.user.login(c.user.ticket)
	if err != nil || code != proto.CodeSuccess {
		return nil, fmt.Errorf("take over %s: code %s, %v", c.user.Name, code, err)
	}
	if !s.wait(waitMax, func(h *heard) bool { return h.ended }) {
		return nil, fmt.Errorf("session of %s lives on beside its successor", c.user.Name)
	}
	s.close()
	c.got = append(c.got, look(s, func(h *heard) []delivery { return h.deliveries }))
	return c.user.connect(at)
}

// finish logs in for good: what is left must come in time.
func (c *churn) finish() error {
	total := 0
	for _, l := range c.lines {
		total += len(l.taken)
	}
	s, err := c.user.enter()
	if err != nil {
		return err
	}
	all := func(h *heard) []delivery { return firsts(append(slices.Clip(c.got), h.deliveries)) }
	if !s.wait(catchupMax, func(h *heard) bool { return len(all(h)) >= total }) {
		return fmt.Errorf("%s lacks %d of %d messages after %v", c.user.Name, total-len(look(s, all)), total, catchupMax)
	}
	if err := s.fence(); err != nil {
		return err
	}
	got := look(s, all)
	for _, l := range c.lines {
		if err := l.check(l.to, got); err != nil {
			return err
		}
	}
	return nil
}
