package shard

import (
	"slices"

	"cim/proto"
)

// A turn of the rotor is how many sessions it writes to before the loop looks at its
// other work.
const (
	// RotorTurn is the turn for one broadcast alone: about a millisecond.
	RotorTurn = 256
	// RotorTurnShared is the turn while several are on their way: then more are about
	// to come, and the sooner one joins the more of them each write carries.
	RotorTurnShared = 32
)

// Bounds of the broadcasts of one shard, those that go round and those that
// wait for that. One past them is refused with VerdictBusy.
const (
	BroadcastsMax = 1024
	// BroadcastBytesMax bounds their bodies, which all shards share: 64 links
	// with as much under way as a route allows itself.
	BroadcastBytesMax = 8 << 20
)

// Bounds of the broadcasts that go round together, since a session is given
// all of them in one write. One alone always may.
const (
	// roundBytesMax bounds their bodies: half of what a session may have
	// unsent, so that one that is a round late is not slow yet.
	roundBytesMax = UnsentBytesMax / 2
	// roundFramesMax bounds the frames that they are for one session. It leaves
	// room for a private message of any size.
	roundFramesMax = UnsentBytesMax - proto.FrameMax
)

// rotor gives every session all broadcasts, by walking the slots again and
// again while there are any. A broadcast joins at the present place, when it
// arrives or, if too much goes round already, when there is room; it is done a
// full round later. Each session that the rotor meets is given, in one write,
// all of those on their way that it has not seen. So under load every write carries as many
// frames as have arrived in a round, and their order is the same everywhere.
type rotor struct {
	active []broadcast // oldest first; their numbers follow each other
	going  int         // the first of active, which go round; the rest wait
	held   sizes       // of all active
	round  sizes       // of those that go round
	last   uint64      // number of the newest broadcast ever
	place  uint32      // the slot that is next
	lap    uint64      // rounds begun since the shard was made
	budget int         // writes left of this turn
	frames []byte      // what the last session was given
}

type broadcast struct {
	body   []byte
	old    []byte // the part of body that clients of the original get
	except proto.UserID
	to     any // who is told that it is done
	frames int // bytes of the frames that it is for one session, at most
	texts  int // how many it has
	given  int // sessions that were given it
	place  uint32
	lap    uint64
}

// sizes sums up broadcasts, in bytes.
type sizes struct{ bodies, frames int }

func (z *sizes) add(b *broadcast) {
	z.bodies += len(b.body)
	z.frames += b.frames
}

func (z *sizes) remove(b *broadcast) {
	z.bodies -= len(b.body)
	z.frames -= b.frames
}

// Broadcast brings body, which AppendBody could have made, to every session
// that is live now, but for those of the user except. body is kept until the
// Answer to to.
func (s *Shard) Broadcast(body []byte, except proto.UserID, to any) {
	r := &s.rotor
	n := len(r.active)
	if n >= BroadcastsMax || n > 0 && r.held.bodies+len(body) > BroadcastBytesMax {
		s.answers.push(Answer{To: to, Verdict: proto.VerdictBusy})
		return
	}
	r.last++
	b := broadcast{body: body, old: proto.OriginalPart(body), except: except, to: to}
	b.frames, b.texts = framesOf(body)
	r.active = append(r.active, b)
	r.held.add(&r.active[n])
	r.startWaiting()
}

// startWaiting has broadcasts that wait go round while there is room.
func (r *rotor) startWaiting() {
	for r.going < len(r.active) {
		b := &r.active[r.going]
		full := r.round.bodies+len(b.body) > roundBytesMax || r.round.frames+b.frames > roundFramesMax
		if full && r.going > 0 {
			return
		}
		b.place, b.lap = r.place, r.lap
		r.round.add(b)
		r.going++
	}
}

// newestGoing is the number of the newest broadcast that goes round.
func (r *rotor) newestGoing() uint64 { return r.last - uint64(len(r.active)-r.going) }

// What a frame has beyond its body, at most: the length and the receiver; in
// dialect v1, which sends each text alone with its sender, all but those two.
const (
	tailMax    = 80
	v1FrameMax = 24
)

// framesOf is how long the frames of body for one session of any dialect are,
// at most, and how many texts body has.
func framesOf(body []byte) (size, texts int) {
	var v proto.View
	if reason := v.Parse(body); reason != proto.ReasonNone {
		panic("shard: a body is " + reason.String())
	}
	sender := len(v.Property(proto.PropertySenderName))
	return len(body) + max(tailMax, v.Texts()*(sender+v1FrameMax)), v.Texts()
}

// BeginTurn lets the rotor write to a turn of sessions more.
func (s *Shard) BeginTurn() {
	s.rotor.budget = RotorTurn
	if len(s.rotor.active) > 1 {
		s.rotor.budget = RotorTurnShared
	}
}

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
		if c.state != stateLive || c.seen >= r.newestGoing() {
			continue
		}
		seen := c.seen
		r.frames = r.give(c, r.newestGoing(), r.frames[:0], &s.stats)
		if c.leftOut() != 0 || c.waiting()+len(r.frames) > lagBytes {
			r.frames = s.giveWithin(slot, c, seen, r.frames[:0], lagBytes-c.waiting())
		}
		if len(r.frames) > 0 {
			r.budget--
			c.handed += uint64(len(r.frames))
			return slot, r.frames
		}
	}
	return 0, nil
}

// finishRounds takes out the broadcasts that have come round; others begin.
func (s *Shard) finishRounds() {
	r := &s.rotor
	done := 0
	for done < r.going && r.active[done].roundIsOver(r) {
		b := &r.active[done]
		s.answers.push(Answer{To: b.to, Verdict: proto.VerdictTaken, Given: b.given})
		r.held.remove(b)
		r.round.remove(b)
		done++
	}
	if done > 0 {
		r.active = slices.Delete(r.active, 0, done)
		r.going -= done
		r.startWaiting()
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

// roomBehind reports whether what is due to c, those that wait included, and
// body behind it stay within what a session may have unsent. With none that
// wait it does not ask: then only a slow session has so much.
func (r *rotor) roomBehind(c *session, body []byte) bool {
	if r.going == len(r.active) {
		return true
	}
	frames, _ := framesOf(body)
	n := c.waiting() + frames
	for _, b := range r.due(c, r.last) {
		n += b.frames
	}
	return n <= UnsentBytesMax
}

// due is the broadcasts up to number upTo that c has not seen.
func (r *rotor) due(c *session, upTo uint64) []broadcast {
	if c.seen >= upTo {
		return nil
	}
	first := r.last - uint64(len(r.active)) // those up to it have come round
	return r.active[max(c.seen, first)-first : upTo-first]
}

// give appends the frames of the broadcasts up to number upTo that c has not
// seen.
func (r *rotor) give(c *session, upTo uint64, dst []byte, stats *Stats) []byte {
	owed := r.due(c, upTo)
	c.seen = max(c.seen, upTo)
	if len(owed) == 0 {
		return dst
	}
	if c.dialect == proto.DialectV1 {
		return giveV1(c, owed, dst, stats)
	}
	tail := proto.TailOf(c.user)
	for i := range owed {
		b := &owed[i]
		if b.except == c.user {
			continue
		}
		body := b.body
		if c.dialect == proto.DialectV2 {
			body = b.old
		}
		dst = proto.AppendTailed(dst, body, &tail)
		b.given++
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
		b.given++
		stats.Deliveries++
	}
	return dst
}
