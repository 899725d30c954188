package shard

import "cim/proto"

// catchupPage is stored texts on their way to a session: the part of a page that
// the session has not been given yet.
type catchupPage struct {
	body   []byte          // empty: the session has all of it
	keys   []proto.TextKey // of its texts, if all have ids
	cursor uint64          // the serial of the last text
	counts bool            // all texts of the page have ids
}

// awaitedPage is a page that a session has been given, at least in part, until its
// requester is answered.
type awaitedPage struct {
	to    any  // goes into the Answer
	end   mark // behind the page, for a client that does not acknowledge, once all of it was appended
	since Tick // when it was appended
	kept  bool // NextAcked removes its texts from the box
}

// hasRoomToWrite reports whether c can take body without ending as slow: what finds
// no room comes with a later catch-up.
func (c *session) hasRoomToWrite(body []byte) bool {
	return c.waiting()+len(body)+tailMax <= UnsentBytesMax
}

// DeliverPage is Deliver for a page of a catch-up, whose last text has the serial
// cursor, 0 if unknown. The verdict is an Answer with to: VerdictTaken when all
// bytes of the session have left the process. A page of texts without ids to a
// client that does not acknowledge is answered when the peer's kernel has it, since
// the route removes it from the box after that answer; NextAcked removes all
// others. Texts that the session was given already are left out. VerdictBusy:
// another page is under way, the kernel takes nothing, too much has not left the
// process, or too many stored texts are not acknowledged.
func (s *Shard) DeliverPage(ref Ref, body []byte, cursor uint64, to any) {
	if verdict := s.deliverPage(ref, body, cursor, to); verdict != proto.VerdictTaken {
		s.answers.push(Answer{To: to, Verdict: verdict})
	}
}

func (s *Shard) deliverPage(ref Ref, body []byte, cursor uint64, to any) proto.Verdict {
	c := s.find(ref)
	switch {
	case c == nil:
		return proto.VerdictAbsent
	case c.page != nil || c.stuck:
		return proto.VerdictBusy
	}
	p := catchupPage{body: body, cursor: cursor}
	if texts, counts := s.countable(c, body); counts {
		if !s.hasRoomForKeys(c, texts) {
			return proto.VerdictBusy
		}
		p = c.unseenPart(p)
		p.counts = true
	}
	if cursor != 0 && cursor <= c.cursor {
		p.body, p.keys = nil, nil // the sender has not learnt that the page came before
	}
	if !s.rotor.roomBehind(c, p.body) || !c.hasRoomToWrite(p.body) {
		return proto.VerdictBusy
	}
	c.page = &awaitedPage{to: to, since: s.now, end: c.given(), kept: p.counts}
	if !c.ack && s.keepsTexts() {
		s.watchKernel(ref.Slot, c)
	}
	switch {
	case len(p.body) == 0:
		c.cursor = max(c.cursor, cursor)
		if s.answersWhenWritten(c) && c.waiting() == 0 {
			s.answerPage(c, proto.VerdictTaken)
		}
		return proto.VerdictTaken
	case c.dialect == proto.DialectV1:
		s.deliverPaced(ref, c, p)
		return proto.VerdictTaken
	case c.ack && len(p.keys) > 0:
		s.appendCounted(ref.Slot, c, p.body, len(p.keys))
	default:
		s.appendMessage(ref.Slot, c, p.body)
	}
	s.pageAppended(ref.Slot, c, p)
	s.checkUnsent(ref.Slot, c) // where it ends, that answers the page
	return proto.VerdictTaken
}

// pageAppended records a page all of which was appended.
func (s *Shard) pageAppended(slot uint32, c *session, p catchupPage) {
	c.cursor = max(c.cursor, p.cursor)
	if c.page != nil {
		c.page.end = c.given()
	}
	if len(p.keys) > 0 {
		s.keep(slot, c, entry{texts: len(p.keys), stored: true, keys: p.keys}, nil)
	}
}

// hasRoomForPage reports whether c can be given a page of any size.
func (s *Shard) hasRoomForPage(c *session) bool {
	return c.page == nil && !c.stuck && c.waiting()+proto.MessageBytesMax+tailMax <= UnsentBytesMax && s.hasRoomForKeys(c, proto.OfflineBatchMax)
}

// hasRoomForKeys reports whether c may be given that many more stored texts. One
// page is always allowed, so that no session waits for the acknowledgements of
// others.
func (s *Shard) hasRoomForKeys(c *session, texts int) bool {
	owed := 0
	if k := c.kept; k != nil {
		owed = k.removals()
	}
	if owed == 0 {
		return true
	}
	return owed+texts <= StoredKeysMax && s.keptBytes+texts*keyBytes+entryBytes <= s.config.KeptBytesMax
}

// answersWhenWritten reports whether c's page, if there is one, is answered when it
// has left the process.
func (s *Shard) answersWhenWritten(c *session) bool { return c.ack || c.page.kept || !s.keepsTexts() }

// unseenPart is the part of p that c was not given yet; its texts have ids. A page may
// contain live messages that were put into the box, since they were not
// acknowledged.
func (c *session) unseenPart(p catchupPage) catchupPage {
	p.keys = keysOf(p.body)
	k := c.kept
	if k == nil {
		return p
	}
	seen := k.find(p.keys)
	if len(seen) == 0 {
		return p
	}
	if len(seen) == len(p.keys) {
		return catchupPage{cursor: p.cursor}
	}
	var v proto.View
	if reason := v.Parse(p.body); reason != proto.ReasonNone {
		panic("shard: a page is " + reason.String())
	}
	part := catchupPage{cursor: p.cursor}
	for _, key := range p.keys {
		if !seen[key] {
			part.keys = append(part.keys, key)
		}
	}
	part.body = proto.AppendBody(nil, v.Part(func(n int) bool { return !seen[p.keys[n]] }))
	return part
}

// find returns those of keys, of texts in the box, that the session was given: not
// acknowledged yet, or acknowledged a short time ago.
func (k *kept) find(keys []proto.TextKey) (found map[proto.TextKey]bool) {
	wanted := make(map[proto.TextKey]bool, len(keys))
	for _, key := range keys {
		wanted[key] = true
	}
	found = make(map[proto.TextKey]bool)
	among := func(given []proto.TextKey) (some bool) {
		for _, key := range given {
			if wanted[key] {
				found[key], some = true, true
			}
		}
		return some
	}
	all := k.entries.waiting()
	for i := range all {
		e := &all[i]
		if e.stored {
			among(e.keys)
		} else if among(keysOf(k.body(e))) {
			e.inBox = true
		}
	}
	for _, given := range [][]proto.TextKey{k.late, k.arrived, k.toRemove, k.removed} {
		among(given)
	}
	return found
}
