package loadgen

import "sync/atomic"

// spreadsMax bounds the messages of one slot whose spread is followed at a time.
const spreadsMax = 64

// spread follows one message from its first receiver to its last. Lanes share
// it.
type spread struct {
	sequence atomic.Uint32
	left     atomic.Int64 // receivers that it still lacks
	first    atomic.Int64 // arrival at the first one; 0: none yet
}

// follow begins to follow the slot's next message. One that was still followed
// in its place has no spread then.
func (s *slot) follow(sequence uint32) {
	if s.spreads == nil {
		return
	}
	f := &s.spreads[sequence%uint32(len(s.spreads))]
	if f.left.Load() > 0 {
		s.unfollowed.Add(1)
	}
	f.left.Store(int64(s.receivers))
	f.first.Store(0)
	f.sequence.Store(sequence)
}

// credit counts one more receiver of a message, and says how long after the
// first one it was if it was the last.
func (s *slot) credit(sequence uint32, arrival int64) (skew int64, last bool) {
	f := &s.spreads[sequence%uint32(len(s.spreads))]
	if f.sequence.Load() != sequence {
		return 0, false
	}
	if f.first.Load() == 0 {
		f.first.CompareAndSwap(0, arrival)
	}
	if f.left.Add(-1) != 0 {
		return 0, false
	}
	if s.windowed {
		select {
		case s.received <- struct{}{}:
		default:
		}
	}
	return arrival - f.first.Load(), true
}
