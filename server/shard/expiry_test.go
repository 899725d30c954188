package shard

import (
	"testing"

	"cim/proto"
)

// TestSessionExpires: a session ends at the tick of its login's Expires, not
// before, even if it is active; a client of ours gets the reason.
func TestSessionExpires(t *testing.T) {
	const expires = 1000 + 5*heartbeat + 7
	for _, dialect := range []proto.Dialect{proto.DialectCIM, proto.DialectV2} {
		s := newStand(t)
		ref := s.Open()
		var view proto.View
		s.Read(ref.Slot, proto.AppendLogin(nil, proto.User{ID: 1, Name: "ann"}, dialect, proto.Ticket{}), &view)
		s.Accept(ref.Slot, Login{User: 1, Generation: 1, Name: "ann", Dialect: dialect, Expires: expires})
		for now := Tick(1001); now < expires; now++ {
			s.Advance(now)
			if now%100 == 0 {
				s.Read(ref.Slot, []byte(proto.Ping), &view)
			}
			if s.run(); len(s.ends) != 0 {
				t.Fatalf("dialect %d: ended with %v at %d, %d ticks early", dialect, s.ends[0].Reason, now, expires-now)
			}
		}
		s.Advance(expires)
		s.run()
		s.wantEnd(ref, proto.ReasonExpired)
		frames := s.frames(ref)
		last := frames[len(frames)-1]
		if closed := last.Command == proto.CommandClose && last.Reason == proto.ReasonExpired; closed != (dialect == proto.DialectCIM) {
			t.Errorf("dialect %d: the last frame is %+v", dialect, last)
		}
	}
}
