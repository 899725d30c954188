package server

import (
	"net/netip"

	"cim/internal/limit"
	"cim/server/shard"
)

// sendLimits are the limits of sessions whose clients are on this machine, and of
// the others. nil: no limits.
type sendLimits struct{ local, others *shard.SendLimits }

func newSendLimits(config limit.Config) sendLimits {
	return sendLimits{
		local:  limitsOf(config.For(netip.AddrFrom4([4]byte{127, 0, 0, 1}))),
		others: limitsOf(config.For(netip.Addr{})),
	}
}

func limitsOf(c limit.Config) *shard.SendLimits {
	if c.UserMessages == limit.None && c.GroupMessages == limit.None && c.GroupBytes == limit.None {
		return nil
	}
	return &shard.SendLimits{
		Messages: int(c.UserMessages), MessagesBurst: c.UserMessages.Burst(),
		GroupMessages: int(c.GroupMessages), GroupMessagesBurst: c.GroupMessages.Burst(),
		GroupBytes: int(c.GroupBytes), GroupBytesBurst: c.GroupBytes.BytesBurst(),
	}
}

// of is the limits of a session whose client is at an address.
func (s sendLimits) of(from netip.Addr) *shard.SendLimits {
	if from.IsLoopback() {
		return s.local
	}
	return s.others
}

// withinLimits counts a SEND, and reports whether it is within its sender's limits.
func (l *loop) withinLimits(s *send) bool {
	above := l.shard.CountSend(s.from.Slot, s.to == 0, len(s.text))
	if above == shard.WithinLimits {
		return true
	}
	l.server.metrics.limited[above].Inc()
	l.server.logRefusal("SEND refused", "limit-"+limitNames[above], "user", int64(s.sender.ID))
	return false
}

// limitNames are the names of the settings without "limit-".
var limitNames = [...]string{
	shard.LimitMessages: "user-messages", shard.LimitGroupMessages: "group-messages", shard.LimitGroupBytes: "group-bytes",
}
