package shard

import (
	"slices"

	"cim/proto"
)

// RotorTurn is how many sessions the rotor writes to before the loop looks at
// its other work: about a millisecond.
const RotorTurn = 256

// BroadcastsMax bounds the broadcasts that go round at a time. Whoever brings
// them keeps below it; one more is refused with VerdictBusy.
const BroadcastsMax = 1024

// rotor gives every session all broadcasts, by walking the slots again and
// again while there are any. A broadcast that arrives joins at the present
// place and is done a full round later; each session it meets is given, in one
// write, all that it has not seen. So under load every write carries as many
// frames as have arrived in a round, and their order is the same everywhere.
type rotor struct {
	active []broadcast // oldest first; their numbers follow each other
	last   uint64      // number of the newest broadcast ever
	place  uint32      // the slot that is next
	lap    uint64      // rounds begun since the shard was made
	budget int         // writes left of this turn
	frames []byte      // what the last session was given
}

type broadcast struct {
	body   []byte
	except proto.UserID
	to     any // who is told that it is done
	place  uint32
	lap    uint64
}

// Broadcast brings body to every session that is live now, but for those of
// the user except. body is kept until the Answer to to.
func (s *Shard) Broadcast(body []byte, except proto.UserID, to any) {
	r := &s.rotor
	if len(r.active) >= BroadcastsMax {
		s.answers.push(Answer{To: to, Verdict: proto.VerdictBusy})
		return
	}
	r.last++
	r.active = append(r.active, broadcast{body, except, to, r.place, r.lap})
}

// BeginTurn lets the rotor write to RotorTurn sessions more.
func (s *Shard) BeginTurn() { s.rotor.budget = RotorTurn }

// Turning reports whether the rotor has more to do than its turn allowed.
func (s *Shard) Turning() bool { return len(s.rotor.active) > 0 }

// nextTurn walks to the next session that is due broadcasts and composes them.
func (s *Shard) nextTurn() (slot uint32, data []byte) {
	r := &s.rotor
	for s.finishRounds(); len(r.active) > 0 && r.budget > 0; s.finishRounds() {
		slot = s.step()
		if slot/chunkSize >= uint32(len(s.chunks)) {
			continue
		}
		c := s.at(slot)
		if c.state != stateLive || c.seen == r.last {
			continue
		}
		r.frames = r.give(c, r.frames[:0], &s.stats)
		if len(r.frames) > 0 && s.roomFor(slot, c, len(r.frames)) {
			r.budget--
			return slot, r.frames
		}
	}
	return 0, nil
}

// finishRounds takes out the broadcasts that have come round.
func (s *Shard) finishRounds() {
	r := &s.rotor
	done := 0
	for done < len(r.active) && r.active[done].roundIsOver(r) {
		s.answers.push(Answer{To: r.active[done].to, Verdict: proto.VerdictTaken})
		done++
	}
	if done > 0 {
		r.active = slices.Delete(r.active, 0, done)
	}
}

func (b *broadcast) roundIsOver(r *rotor) bool {
	return r.lap > b.lap+1 || r.lap == b.lap+1 && r.place >= b.place
}

// step returns the present slot and moves on to the next.
func (s *Shard) step() uint32 {
	r := &s.rotor
	slot := r.place
	r.place++
	if r.place >= uint32(len(s.chunks))*chunkSize {
		r.place = 0
		r.lap++
	}
	return slot
}

func (s *Shard) roomFor(slot uint32, c *session, n int) bool {
	if c.waiting()+n <= UnsentBytesMax {
		return true
	}
	s.end(slot, c, proto.ReasonSlow)
	return false
}

// give appends the frames of all broadcasts that c has not seen.
func (r *rotor) give(c *session, dst []byte, stats *Stats) []byte {
	if c.seen == r.last {
		return dst
	}
	due := r.last - c.seen
	c.seen = r.last
	if due > uint64(len(r.active)) {
		due = uint64(len(r.active)) // those before have come round
	}
	owed := r.active[uint64(len(r.active))-due:]
	if c.dialect == proto.DialectV1 {
		return giveV1(c, owed, dst, stats)
	}
	tail := proto.TailOf(c.user)
	for i := range owed {
		b := &owed[i]
		if b.except == c.user {
			continue
		}
		dst = proto.AppendTailed(dst, b.body, &tail)
		stats.Deliveries++
	}
	return dst
}

// giveV1 is give for a session of dialect v1. It reads each body again for each
// session: some 300 ns a delivery in place of 15, which only those few cost.
func giveV1(c *session, owed []broadcast, dst []byte, stats *Stats) []byte {
	for i := range owed {
		b := &owed[i]
		if b.except == c.user {
			continue
		}
		dst, _ = proto.AppendV1Delivery(dst, b.body, c.user)
		stats.Deliveries++
	}
	return dst
}
