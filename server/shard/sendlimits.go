package shard

// SendLimits bound how often a session may send, each a second; 0: no limit. Each
// has a token bucket that begins full and holds the burst.
type SendLimits struct {
	Messages, MessagesBurst           int
	GroupMessages, GroupMessagesBurst int // of group messages
	GroupBytes, GroupBytesBurst       int // of the texts of group messages
}

// SendLimit names a limit that a message exceeds.
type SendLimit uint8

// The limits.
const (
	WithinLimits SendLimit = iota
	LimitMessages
	LimitGroupMessages
	LimitGroupBytes
)

// ticksPerSecond is how many parts a token has: a rate per second is that many
// parts per tick.
const ticksPerSecond = 1000 / TickMillis

// sending is the used part of a session's buckets, in parts of a token, at the tick
// at.
type sending struct {
	at                                  Tick
	messages, groupMessages, groupBytes int64
}

// CountSend counts a message of slot's live session with a text of that many bytes,
// and returns the limit that it exceeds. A message that exceeds one uses up
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

// fits reports whether n more fit into a bucket of which used parts are used.
func fits(used int64, n, perSecond, burst int) bool {
	return perSecond == 0 || used+int64(n)*ticksPerSecond <= int64(burst)*ticksPerSecond
}
