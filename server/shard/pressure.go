package shard

// relieve frees memory while the sessions keep more than three quarters of what
// they may: live texts that have been unacknowledged for ReceiptTicks go to the
// box, so that clients that never acknowledge take no room from the others. It
// checks a tenth of the sessions in a tick, and chunkSize at least.
func (s *Shard) relieve() {
	slots := uint32(len(s.chunks)) * chunkSize
	if s.keptBytes <= s.config.KeptBytesMax/4*3 || slots == 0 {
		return
	}
	for range max(slots/10, chunkSize) {
		s.relieved = (s.relieved + 1) % slots
		c := s.at(s.relieved)
		if c.state == stateLive && c.generation != 0 && c.kept.hasLive() {
			s.flush(Ref{s.config.Number, s.relieved, c.reuse}, c, c.kept.givenBefore(s.now-ReceiptTicks))
		}
	}
}

// givenBefore is the mark behind the last entry that was given before a tick, 0 if
// there is none.
func (k *kept) givenBefore(at Tick) (before mark) {
	all := k.entries.waiting()
	for i := range all {
		if all[i].since > at {
			break
		}
		before = all[i].end
	}
	return before
}

// unsentTicks is how long a text may wait in the process for its socket, 100 ms: a
// process that is killed loses no more than the texts of twice that time.
const unsentTicks Tick = 1

// flushUnsent has live texts put into the box that have waited in the process for
// too long.
func (s *Shard) flushUnsent(slot uint32, c *session) {
	if c.state != stateLive || c.generation == 0 {
		return
	}
	upTo := c.kept.unsentBefore(s.now-unsentTicks, c.handed-uint64(c.unsent))
	if upTo != 0 {
		s.flush(Ref{s.config.Number, slot, c.reuse}, c, upTo)
	}
}

// unsentBefore is the mark behind the last live entry that was given at or before a
// tick and of which some bytes are still in the process, if left bytes have left
// it; 0 if there is none.
func (k *kept) unsentBefore(at Tick, left uint64) (before mark) {
	all := k.entries.waiting()
	for i := len(all) - 1; i >= 0 && all[i].written > left; i-- {
		if e := &all[i]; e.isLive() && e.since <= at {
			return e.end
		}
	}
	return 0
}
