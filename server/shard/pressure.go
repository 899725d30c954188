package shard

// relieve makes room while the sessions keep more than three quarters of what they
// may: live texts that have not been acknowledged for ReceiptTicks go to the box, so
// that clients that acknowledge nothing take no room from the others. It looks at a
// tenth of the sessions in a tick, and at chunkSize at least.
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
