package shard

import "cim/proto"

// leaving is the progress of a shard that goes down: the slot up to which sessions
// have been asked to move, and the slot up to which those of old clients have been
// ended. There are no new logins, so each is one walk over the slots.
type leaving struct{ moved, ended uint32 }

// Move asks up to n sessions of clients of ours to log in elsewhere, each once in
// all calls, and returns how many it has asked: less than n when there are no more.
// They live on until they end. It skips a client with too much unsent.
func (s *Shard) Move(n int) int {
	return s.walk(&s.leaving.moved, n, func(slot uint32, c *session) bool {
		if c.dialect != proto.DialectCIM || c.waiting() >= UnsentBytesMax {
			return false
		}
		s.out.append(slot, c, func(dst []byte) []byte { return proto.AppendMove(dst, proto.ReasonDraining) })
		return true
	})
}

// EndOld ends up to n sessions of old clients, which cannot be asked to move,
// and returns how many it has ended: less than n when there are no more.
func (s *Shard) EndOld(n int, reason proto.Reason) int {
	return s.walk(&s.leaving.ended, n, func(slot uint32, c *session) bool {
		if c.dialect == proto.DialectCIM {
			return false
		}
		s.end(slot, c, reason)
		return true
	})
}

// walk calls visit with the live sessions from slot at on, until it has reported
// true n times.
func (s *Shard) walk(at *uint32, n int, visit func(slot uint32, c *session) bool) (done int) {
	for ; done < n && *at < uint32(len(s.chunks))*chunkSize; *at++ {
		if c := s.at(*at); c.state == stateLive && visit(*at, c) {
			done++
		}
	}
	return done
}
