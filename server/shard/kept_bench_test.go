package shard

import (
	"strings"
	"testing"

	"cim/proto"
)

// BenchmarkPrivate is the cost of a private message on its way to a session:
// without keeping texts, and with texts kept for clients that acknowledge every 8
// texts or whose kernel does.
func BenchmarkPrivate(b *testing.B) {
	for _, c := range []struct {
		name    string
		dialect proto.Dialect
		keeps   bool
		ack     bool
	}{
		{"v2", proto.DialectV2, false, false},
		{"cim", proto.DialectCIM, false, false},
		{"v2_kept", proto.DialectV2, true, false},
		{"cim_kept", proto.DialectCIM, true, false},
		{"cim_ack", proto.DialectCIM, true, true},
	} {
		b.Run(c.name, func(b *testing.B) {
			s := newStand(b)
			if c.keeps {
				s.Shard = New(Config{HeartbeatTicks: heartbeat, Epoch: 9, KeptBytesMax: 256 << 20, StuckTicks: 100}, 1000)
			}
			refs := make([]Ref, 500)
			for i := range refs {
				if refs[i] = s.live(proto.UserID(i+1), c.dialect); c.ack {
					s.Closed(refs[i].Slot)
					refs[i] = s.liveAck(proto.UserID(i + 1))
				}
			}
			benchmarkPrivate(b, s, refs, c.ack, c.keeps)
		})
	}
}

func benchmarkPrivate(b *testing.B, s *stand, refs []Ref, ack, keeps bool) {
	body := proto.AppendSentBody(nil, 77, "sender", 1, []byte(strings.Repeat("x", 128)))
	body = proto.AppendOurPart(body, false, 1796068800123)
	var view proto.View
	var frame []byte
	texts := uint64(0)
	b.ReportAllocs()
	for n := 0; b.Loop(); n++ {
		at := n % len(refs)
		if at == 0 {
			texts++
		}
		if v, _ := s.Deliver(refs[at], Delivery{Body: body}); v != proto.VerdictTaken {
			b.Fatal(v)
		}
		for slot, _, some := s.NextWrite(); some; slot, _, some = s.NextWrite() {
			s.Wrote(slot, 0)
		}
		if texts%8 != 0 {
			continue
		}
		if ack {
			frame = proto.AppendAck(frame[:0], texts)
			s.Read(refs[at].Slot, frame, &view)
		} else if keeps && at == len(refs)-1 {
			s.PollWatched(func(uint32) int { return 0 })
		}
	}
	if len(s.ends) != 0 {
		b.Fatal(s.ends)
	}
}
