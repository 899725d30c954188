package server

import (
	"fmt"
	"net/netip"
	"testing"

	"cim/internal/limit"
	"cim/proto"
	"cim/server/shard"
)

// TestSendsAboveALimit: a client that exceeds its limit gets an outcome with the
// code for that, its connection stays, and messages within the limits are
// delivered.
func TestSendsAboveALimit(t *testing.T) {
	w := start(t, func(c *Config) { c.Limits = limit.Config{UserMessages: 2, GroupMessages: 1} })
	a, b := w.login(ann, 1, proto.DialectCIM), w.login(bob, 1, proto.DialectV2)
	const burst, sent = 2 * limit.BurstSeconds, 2*limit.BurstSeconds + 5
	var frames []byte
	for n := range sent { // in one read, and so in one tick
		frames = proto.AppendSend(frames, uint64(n), bob.ID, fmt.Sprint("text ", n))
	}
	a.write(frames)
	delivered, busy := 0, 0
	for range sent {
		switch m := a.read(); {
		case m.Command != proto.CommandOutcome:
			t.Fatalf("read %+v, want an outcome", m)
		case m.Outcome == proto.OutcomeDelivered:
			delivered++
		case m.Outcome == proto.OutcomeBusy && m.Code == proto.CodeLimit:
			busy++
		}
	}
	if delivered < burst || delivered > burst+3 || delivered+busy != sent {
		t.Errorf("%d delivered, %d busy; want about %d of %d delivered", delivered, busy, burst, sent)
	}
	for range delivered {
		b.read()
	}
	if got := w.server.metrics.limited[shard.LimitMessages].Get(); int(got) != busy {
		t.Errorf("%d counted, %d refused", got, busy)
	}
}

// TestLimitsSpareThisMachine: unset limits apply to clients of other machines only.
func TestLimitsSpareThisMachine(t *testing.T) {
	limits := newSendLimits(limit.DefaultConfig())
	if got := limits.of(netip.IPv6Loopback()); got != nil {
		t.Errorf("of this machine: %+v, want none", got)
	}
	got := limits.of(netip.MustParseAddr("192.0.2.1"))
	if got == nil || got.Messages != int(limit.AutoUserMessages) || got.GroupBytes != int(limit.AutoGroupBytes) || got.GroupMessagesBurst != limit.AutoGroupMessages.Burst() {
		t.Errorf("of another: %+v", got)
	}
	limits = newSendLimits(limit.Config{GroupBytes: 1})
	if got := limits.of(netip.MustParseAddr("127.0.0.1")); got == nil || got.GroupBytesBurst != limit.MessageBytesMax {
		t.Errorf("of this machine, if it is set: %+v", got)
	}
}
