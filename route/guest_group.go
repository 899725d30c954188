package route

import (
	"time"

	"cim/proto"
)

// guestWait is how long a group message that another server took waits for guests, so that a guest
// that hangs does not delay the sender.
const guestWait = askTimeout

// guestReply is what a guest said of its part, or why it said nothing.
type guestReply struct {
	part int // into guests
	reply
}

// sendGuests sends the parts to guests.
func (b *broadcast) sendGuests(r *proto.Record) {
	if len(b.guests) == 0 {
		return
	}
	b.answers = make(chan guestReply, len(b.guests))
	for i := range b.guests {
		p := &b.guests[i]
		p.ask, p.err = p.stream.startThen(r, broadcastTimeout, func(answer reply) { b.answers <- guestReply{i, answer} })
		if p.err != nil {
			b.answers <- guestReply{i, reply{err: p.err}}
		}
	}
}

// awaitGuests waits for the answers of all guests. If another server has taken the message, or a
// guest has delivered it to a receiver, it waits for guestWait only.
func (b *broadcast) awaitGuests(taken bool) guestResult {
	ends := guestResult{open: len(b.guests)}
	soon := time.NewTimer(guestWait)
	defer soon.Stop()
	for late := false; ends.open > 0 && !(late && (taken || ends.taken > 0)); {
		select {
		case answer := <-b.answers: // within broadcastTimeout
			b.countGuest(&ends, answer)
		case <-soon.C:
			late = true
		}
	}
	for _, p := range b.guests {
		if p.ask != nil {
			p.stream.forget(p.ask)
		}
	}
	return ends
}

func (b *broadcast) countGuest(ends *guestResult, answer guestReply) {
	p := b.guests[answer.part]
	b.route.counters.asks[proto.RecordBroadcast].inc(answer.name())
	ends.open--
	switch {
	case answer.err != nil && p.ask == nil:
		b.partLost(p.server, answer.err)
		ends.lost++
	case answer.err != nil || answer.verdict == proto.VerdictUnknown:
		ends.unknown++
	case answer.verdict != proto.VerdictTaken:
		ends.lost++
	default:
		n, known := proto.Receivers(answer.value).Count()
		ends.receivers += n
		ends.uncounted = ends.uncounted || !known
		if n > 0 || !known {
			ends.taken++
		}
	}
}

// guestResult counts the parts to guests by how they ended.
type guestResult struct {
	open          int // not yet
	taken         int // by a receiver at least
	lost, unknown int

	receivers int
	uncounted bool // a taken part came without a count
}

// addGuests counts the parts to guests as one. With no receiver there they are taken.
func (e *groupResult) addGuests(guests guestResult) {
	through := guests.open == 0 && guests.unknown == 0
	switch {
	case guests.taken > 0, through && guests.lost == 0:
		receivers := proto.Receivers(0) // there may be more
		if through && !guests.uncounted {
			receivers = proto.ReceiversOf(guests.receivers)
		}
		e.addTaken(receivers)
	case !through:
		e.unknown++
	}
}
