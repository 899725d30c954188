package shard

import "cim/proto"

// Bounds of what one session keeps until it is acknowledged. When one is reached
// the session is held, and further messages are stored.
const (
	// KeptTextsMax bounds the live texts that are not in the box. That many short
	// ones fit into one RecordReturn. OldKeptTextsMax applies to a client that does
	// not acknowledge: its kernel acknowledges within a moment.
	KeptTextsMax    = proto.ReturnedMax
	OldKeptTextsMax = 1024
	// KeptBodiesMax bounds the bytes of their bodies.
	KeptBodiesMax = 192 << 10
	// StoredKeysMax bounds the texts that are in the box, were given to the session
	// and still have to be removed. A page beyond is answered VerdictBusy.
	StoredKeysMax = 4096
	// sparesMax bounds the memory that a shard keeps for reuse, and spareMax the
	// part of it that one session leaves.
	sparesMax = 4 << 20
	spareMax  = 16 << 10
)

// Delivery is a live message for one session.
type Delivery struct {
	Body []byte // could be made by AppendBody
	Pass bool   // a held session takes it too
	// Receipt is the destination of the receipt; the zero ReceiptTo wants none.
	Receipt ReceiptTo
}

// ReceiptTo is the destination of a receipt. The shard hands it back unchanged, and
// only compares it with the zero ReceiptTo.
type ReceiptTo struct {
	Link any          // a pointer: the link that wants it; nil: the sender From does
	From Ref          // the sender's session
	ID   uint64       // of the receipt on the link, or of the SEND
	Text proto.TextID // of the SEND
}

// mark is a position in what a session was given. A session that acknowledges
// counts its counted texts; any other counts the bytes that were appended for it.
type mark uint64

// entry is texts that a session was given together and of which some are not
// acknowledged: a live message, or a page of stored texts.
type entry struct {
	end     mark   // behind the last text
	texts   int    // of the message or page
	body    uint64 // where the body is; only for a live message that is not stored
	length  int    // of the body; 0 for a page
	written uint64 // how many bytes the session was given, including this entry
	since   Tick   // when it was given
	stored  bool   // its texts are in the box, and keys must be removed
	inBox   bool   // it is live, but its texts may be in the box: a Return failed, or a page brought one
	receipt ReceiptTo
	keys    []proto.TextKey // if stored: of its last len(keys) texts, which are not acknowledged
}

// The memory that an entry and a key take.
const entryBytes, keyBytes = 120, 24

// isLive reports whether e must go to the box if it is not acknowledged.
func (e *entry) isLive() bool { return !e.stored }

// isPage reports whether e is a page, and not a live message, which may be stored
// now.
func (e *entry) isPage() bool { return e.length == 0 }

// kept is what a session keeps. A session without unacknowledged texts has none.
//
// Live messages that are stored come before those that are not, since a flush takes
// them in order.
type kept struct {
	entries fifo[entry] // oldest first; their ends grow
	bytes   []byte      // bodies of the live entries in order, starting at first
	first   int         // start of the oldest body
	base    uint64      // the position of bytes[0]

	texts    int  // of live entries
	stored   int  // keys in entries
	flushTo  mark // live entries up to here are to be put into the box
	underWay mark // a Return up to here is under way; 0: none
	timerAt  Tick // when its timer is due; 0: it is not set
	retryAt  Tick // earliest tick of the next Return
	// Keys of texts that were acknowledged while their Return was under way.
	late []proto.TextKey
	// Keys to be removed from the box, and keys of live messages that were removed
	// a short time ago: a page may still bring these texts.
	toRemove, removed []proto.TextKey
	removedUntil      Tick
	// Keys of pages that the kernel of a client that does not acknowledge has. They
	// are removed when the client shows life after arrivedAt.
	arrived   []proto.TextKey
	arrivedAt Tick

	queued        bool // waits for NextReturn
	removalQueued bool // waits for NextAcked
	counted       int  // its share of the shard's keptBytes
}

// memory is how many bytes k takes.
func (k *kept) memory() int {
	keys := k.stored + cap(k.late) + cap(k.toRemove) + cap(k.removed) + cap(k.arrived)
	return cap(k.bytes) + cap(k.entries.items)*entryBytes + keys*keyBytes
}

// idle reports whether k has nothing left to remember.
func (k *kept) idle() bool {
	return k.entries.empty() && k.underWay == 0 && len(k.late)+len(k.toRemove)+len(k.removed)+len(k.arrived) == 0
}

// body is the body of a live entry; valid until the next change.
func (k *kept) body(e *entry) []byte {
	at := int(e.body - k.base)
	return k.bytes[at : at+e.length : at+e.length]
}

// push appends an entry with its body, which is empty for a page.
func (k *kept) push(e entry, body []byte) {
	if e.isLive() {
		if k.first > 0 && len(k.bytes)+len(body) > cap(k.bytes) && k.first >= len(k.bytes)/2 {
			k.base += uint64(k.first)
			k.bytes, k.first = k.bytes[:copy(k.bytes, k.bytes[k.first:])], 0
		}
		e.body, e.length = k.base+uint64(len(k.bytes)), len(body)
		k.bytes = append(k.bytes, body...)
		k.texts += e.texts
	}
	k.stored += len(e.keys)
	k.entries.push(e)
}

// forget drops the body of e, the oldest live entry, which is acknowledged or in
// the box now.
func (k *kept) forget(e *entry) {
	k.texts -= e.texts
	k.first = int(e.body-k.base) + e.length
}

// outside is the bytes of the bodies that are not in the box.
func (k *kept) outside() int { return len(k.bytes) - k.first }

// hasLive reports whether texts are kept that are not in the box.
func (k *kept) hasLive() bool { return k != nil && k.texts > 0 }

// mustReturn reports whether the end of the session needs a Return: some kept texts
// are not in the box, or on their way there.
func (k *kept) mustReturn() bool { return k != nil && (k.texts > 0 || k.underWay != 0) }

// removals is how many texts of the box the session must remove.
func (k *kept) removals() int { return k.stored + len(k.toRemove) + len(k.arrived) }

// end is the mark behind the newest entry.
func (k *kept) end() mark {
	all := k.entries.waiting()
	return all[len(all)-1].end
}

// given is the mark behind all that c was given.
func (c *session) given() mark {
	if c.ack {
		return c.counted
	}
	return mark(c.handed) + mark(len(c.pending))
}

// begin is the mark in front of e, an entry of a session that acknowledges.
func (e *entry) begin() mark { return e.end - mark(e.texts) }

// keepsTexts reports whether the shard keeps the texts that sessions are given.
func (s *Shard) keepsTexts() bool { return s.config.KeptBytesMax > 0 }

// Kept returns the number of live texts that the sessions keep, and the memory of
// all that they keep.
func (s *Shard) Kept() (texts, bytes int) { return s.keptTexts, s.keptBytes }

// hasRoomFor reports whether c may keep body, which has that many texts.
func (s *Shard) hasRoomFor(c *session, body []byte, texts int) bool {
	if s.keptBytes+len(body)+entryBytes > s.config.KeptBytesMax {
		return false
	}
	k, textsMax := c.kept, KeptTextsMax
	if !c.ack {
		textsMax = OldKeptTextsMax
	}
	return k == nil || k.texts+texts <= textsMax && k.outside()+len(body) <= KeptBodiesMax &&
		k.removals()+texts <= StoredKeysMax
}

// keep appends an entry, which ends at what c was given so far.
func (s *Shard) keep(slot uint32, c *session, e entry, body []byte) {
	k := c.kept
	if k == nil {
		k = s.takeSpare()
		c.kept = k
	}
	s.keptTexts -= k.texts
	e.end, e.since, e.written = c.given(), s.now, c.handed+uint64(len(c.pending))
	k.push(e, body)
	s.keptTexts += k.texts
	s.recount(k)
	if !c.ack {
		s.watchKernel(slot, c)
	} else if e.receipt != (ReceiptTo{}) {
		s.setTimer(slot, k, s.now+ReceiptTicks)
	}
}

// recount updates k's share of keptBytes. Large unused buffers are freed.
func (s *Shard) recount(k *kept) {
	if k.outside() == 0 {
		k.bytes, k.first = k.bytes[:0], 0
		if cap(k.bytes) > spareMax/2 {
			k.bytes = nil
		}
	}
	if k.entries.empty() && cap(k.entries.items)*entryBytes > spareMax/2 {
		k.entries = fifo[entry]{}
	}
	now := k.memory()
	s.keptBytes += now - k.counted
	k.counted = now
}

// settle updates the share of c's kept texts, and frees kept if it is idle.
func (s *Shard) settle(slot uint32, c *session) {
	k := c.kept
	if k == nil {
		return
	}
	if !k.idle() {
		s.recount(k)
		return
	}
	c.kept = nil
	s.drop(slot, k)
}

// drop frees k, whose session has no more use for it, or keeps it as a spare.
func (s *Shard) drop(slot uint32, k *kept) {
	s.flushes.Cancel(slot)
	s.keptBytes -= k.counted
	s.keptTexts -= k.texts
	entries, bytes := k.entries, k.bytes
	clear(entries.waiting())
	if room := cap(bytes) + cap(entries.items)*entryBytes; room <= spareMax && s.spareBytes+room <= sparesMax {
		*k = kept{entries: fifo[entry]{items: entries.items[:0]}, bytes: bytes[:0]}
		s.spares = append(s.spares, k)
		s.spareBytes += room
	}
}

func (s *Shard) takeSpare() *kept {
	n := len(s.spares)
	if n == 0 {
		return new(kept)
	}
	k := s.spares[n-1]
	s.spares[n-1] = nil
	s.spares = s.spares[:n-1]
	s.spareBytes -= cap(k.bytes) + cap(k.entries.items)*entryBytes
	return k
}
