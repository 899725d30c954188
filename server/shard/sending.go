package shard

// SendLimits are how often a session may send, each a second; 0: without a
// bound. A bucket of each begins full and holds the burst beside it.
type SendLimits struct {
	Messages, MessagesBurst           int
	GroupMessages, GroupMessagesBurst int // to everybody
	GroupBytes, GroupBytesBurst       int // of texts to everybody
}

// SendLimit is which of SendLimits a message is above.
type SendLimit uint8

// The limits.
const (
	WithinLimits SendLimit = iota
	LimitMessages
	LimitGroupMessages
	LimitGroupBytes
)

// ticksPerSecond is how many parts a token has: a rate a second is that many
// parts a tick.
const ticksPerSecond = 1000 / TickMillis

// sending is what a session has used of its buckets, in parts of a token, at the
// tick at.
type sending struct {
	at                                  Tick
	messages, groupMessages, groupBytes int64
}

// CountSend counts a message of slot's session, which is live, with a text of so
// many bytes, and returns the limit that it is above. What is above one uses up
// nothing.
func (s *Shard) CountSend(slot uint32, toAll bool, bytes int) SendLimit {
	c := s.at(slot)
	limits := c.limits
	if limits == nil {
		return WithinLimits
	}
	if c.sending == nil {
		c.sending = &sending{}
	}
	used := c.sending
	used.refill(limits, s.now)
	if !fits(used.messages, 1, limits.Messages, limits.MessagesBurst) {
		return LimitMessages
	}
	if toAll {
		if !fits(used.groupMessages, 1, limits.GroupMessages, limits.GroupMessagesBurst) {
			return LimitGroupMessages
		}
		if !fits(used.groupBytes, bytes, limits.GroupBytes, limits.GroupBytesBurst) {
			return LimitGroupBytes
		}
		used.groupMessages += ticksPerSecond
		used.groupBytes += int64(bytes) * ticksPerSecond
	}
	used.messages += ticksPerSecond
	return WithinLimits
}

func (u *sending) refill(limits *SendLimits, now Tick) {
	ticks := int64(now - u.at)
	u.at = now
	u.messages = max(0, u.messages-ticks*int64(limits.Messages))
	u.groupMessages = max(0, u.groupMessages-ticks*int64(limits.GroupMessages))
	u.groupBytes = max(0, u.groupBytes-ticks*int64(limits.GroupBytes))
}

// fits reports whether n more are within a bucket of which used parts are used.
func fits(used int64, n, perSecond, burst int) bool {
	return perSecond == 0 || used+int64(n)*ticksPerSecond <= int64(burst)*ticksPerSecond
}
