package shard

import (
	"slices"

	"cim/proto"
)

// A turn of the rotor is the number of sessions that it writes to before the loop
// does other work.
const (
	// RotorTurn is the turn for a single broadcast: about a millisecond.
	RotorTurn = 256
	// RotorTurnShared is the turn while several broadcasts are on their way: then
	// more are about to come, and the sooner one joins the more of them each write
	// carries.
	RotorTurnShared = 32
)

// Bounds of the broadcasts of one shard, those that go round and those that wait
// for it. One more is refused with VerdictBusy.
const (
	BroadcastsMax = 1024
	// BroadcastBytesMax bounds their bodies, which all shards share: 64 links
	// with as much under way as a route allows itself.
	BroadcastBytesMax = 8 << 20
)

// Bounds of the broadcasts that go round together, since a session gets all of them
// in one write. A single one is always allowed.
const (
	// roundBytesMax bounds their bodies: half of what a session may have unsent, so
	// that a session that is one round late is not slow yet.
	roundBytesMax = UnsentBytesMax / 2
	// roundFramesMax bounds their frames for one session. It leaves room for a
	// private message of any size.
	roundFramesMax = UnsentBytesMax - proto.FrameMax
)

// rotor gives every session all broadcasts: it walks the slots again and again
// while there are any. A broadcast joins at the present slot when it arrives, or
// when there is room if too much goes round already; it is done a full round later.
// Each session that the rotor reaches gets, in one write, all of them that it has
// not seen. So under load every write carries as many frames as have arrived in a
// round, and their order is the same for all sessions.
type rotor struct {
	active []broadcast // oldest first; their numbers follow each other
	going  int         // the first of active, which go round; the others wait
	held   sizes       // of all active
	round  sizes       // of those that go round
	last   uint64      // number of the newest broadcast ever
	place  uint32      // the next slot
	lap    uint64      // rounds begun since the shard was made
	budget int         // writes left of this turn
	frames []byte      // what the last session got
}

type broadcast struct {
	body   []byte
	old    []byte // the part of body for clients of the original
	except proto.UserID
	to     any // goes into the Answer
	frames int // bytes of its frames for one session, at most
	texts  int // the number of its texts
	given  int // sessions that got it
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

// Broadcast gives body, which AppendBody could make, to every session that is live
// now, except those of the user except. The shard keeps body until the Answer with
// to.
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

// startWaiting starts waiting broadcasts while there is room.
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

// The bytes of a frame besides its body, at most: the length and the receiver; in
// dialect v1, which sends each text alone with its sender, everything but those
// two.
const (
	tailMax    = 80
	v1FrameMax = 24
)

// framesOf is an upper bound of the size of body's frames for one session of any
// dialect, and the number of its texts.
func framesOf(body []byte) (size, texts int) {
	var v proto.View
	if reason := v.Parse(body); reason != proto.ReasonNone {
		panic("shard: a body is " + reason.String())
	}
	sender := len(v.Property(proto.PropertySenderName))
	return len(body) + max(tailMax, v.Texts()*(sender+v1FrameMax)), v.Texts()
}

// BeginTurn lets the rotor write to another turn of sessions.
func (s *Shard) BeginTurn() {
	s.rotor.budget = RotorTurn
	if len(s.rotor.active) > 1 {
		s.rotor.budget = RotorTurnShared
	}
}

// Turning reports whether the rotor has more work than its turn allowed.
func (s *Shard) Turning() bool { return len(s.rotor.active) > 0 }

// nextTurn walks to the next session that is due broadcasts and composes their
// frames.
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

// finishRounds removes the broadcasts that have gone round, and starts waiting
// ones.
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

// roomBehind reports whether the broadcasts due to c, including waiting ones, and
// body after them stay within the bound of unsent bytes. If none wait it reports
// true without counting: then only a slow session has so much.
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
	first := r.last - uint64(len(r.active)) // earlier ones have gone round
	return r.active[max(c.seen, first)-first : upTo-first]
}

// give appends the frames of the broadcasts up to number upTo that c has not seen.
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

// giveV1 is give for a session of dialect v1. It parses each body again for each
// session: some 300 ns a delivery instead of 15, for those few sessions only.
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
