package shard

import (
	"testing"

	"cim/proto"
)

// TestSendLimits: a session may send a burst at once and then its rate by ticks,
// for each kind separately; a message above a limit uses up nothing, and another
// session has its own buckets.
func TestSendLimits(t *testing.T) {
	limits := &SendLimits{
		Messages: 10, MessagesBurst: 20, GroupMessages: 2, GroupMessagesBurst: 4, GroupBytes: 1000, GroupBytesBurst: 3000,
	}
	s := newStand(t)
	login := func(user proto.UserID, limits *SendLimits) uint32 {
		slot := s.live(user, proto.DialectCIM).Slot
		s.at(slot).limits = limits
		return slot
	}
	ann, ben, free := login(1, limits), login(2, limits), login(3, nil)
	// sends sends n messages at once, and expects want of them within the limits.
	sends := func(slot uint32, toAll bool, bytes, n, want int, above SendLimit) {
		t.Helper()
		for i := range n {
			got := s.CountSend(slot, toAll, bytes)
			if i < want && got != WithinLimits || i >= want && got != above {
				t.Fatalf("message %d of %d: limit %d; want %d within the limits, then %d", i, n, got, want, above)
			}
		}
	}
	sends(ann, true, 100, 10, 4, LimitGroupMessages)
	sends(ann, false, 9999, 30, 16, LimitMessages)
	sends(ann, true, 100, 1, 0, LimitMessages)
	sends(ben, true, 2000, 2, 1, LimitGroupBytes)
	sends(ben, true, 1000, 1, 1, 0)
	sends(ben, false, 9999, 30, 18, LimitMessages)
	sends(free, true, 1<<20, 1000, 1000, 0)

	s.Advance(s.now + 3) // three messages, 0.6 group messages and 300 bytes
	sends(ann, false, 0, 4, 3, LimitMessages)
	s.Advance(s.now + 2)
	sends(ann, true, 1, 2, 1, LimitGroupMessages)
	sends(ben, true, 501, 1, 0, LimitGroupBytes)
	sends(ben, true, 500, 1, 1, 0)
	s.Advance(s.now + 1_000_000)
	sends(ann, false, 0, 30, 20, LimitMessages)
}
