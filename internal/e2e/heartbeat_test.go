package e2e

import (
	"testing"
	"time"

	"cim/proto"
)

// TestHeartbeat lets clients be silent for longer than the heartbeat time,
// and others ping: those stay.
func TestHeartbeat(t *testing.T) {
	t.Parallel()
	const heartbeat, pings = 3 * time.Second, 18
	c := newCompany(t, "--heartbeat", heartbeat.String())
	began := time.Now()
	pinging := time.NewTicker(heartbeat / 6)
	defer pinging.Stop()
	for range pings { // three times the heartbeat time
		<-pinging.C
		for _, s := range []*session{c.odo, c.abe} {
			if err := s.ping(); err != nil {
				t.Fatalf("%s after %v: %v", s.user.Name, time.Since(began), err)
			}
		}
	}
	for _, s := range []*session{c.olga, c.ada} {
		if !s.ended() {
			t.Errorf("%s is silent for %v and has not been closed", s.user.Name, time.Since(began))
		}
		s.wantEnd(proto.ReasonIdle)
		if c.online()[int64(s.user.ID)] {
			t.Errorf("%s is still online", s.user.Name)
		}
		c.odo.user.sendPrivate(proto.CodeOffline, s.user, "are you there?")
	}
	for _, s := range []*session{c.odo, c.abe} {
		if n := look(s, func(h *heard) int { return h.pongs }); n != pings {
			t.Errorf("%s got %d pongs to %d pings", s.user.Name, n, pings)
		}
	}
	c.odo.user.sendPrivate(proto.CodeSuccess, c.abe.user, "we are")
	c.abe.wantExactly(from(c.odo.user, "we are")...)
	again := c.olga.user.logIn()
	again.wantExactly(stored(c.odo.user, "are you there?")...)
}

// TestHeartbeatAnyFrame: a SEND is a sign of life as good as a PING.
func TestHeartbeatAnyFrame(t *testing.T) {
	t.Parallel()
	const heartbeat = 2 * time.Second
	sys := startSystem(t, "--heartbeat", heartbeat.String())
	ada := sys.ours("ada")
	s := ada.logIn()
	if told := look(s, func(h *heard) uint32 { return h.answer.GetHeartbeat() }); told != 2 {
		t.Errorf("the login answer says %d s, want 2", told)
	}
	sending := time.NewTicker(heartbeat / 4)
	defer sending.Stop()
	var want []delivery
	for range 6 { // half as long again
		<-sending.C
		s.wantSend(proto.OutcomeDelivered, ada, "to myself")
		want = append(want, from(ada, "to myself")...)
	}
	s.wantExactly(want...)
	s.wantEnd(proto.ReasonIdle)
}
