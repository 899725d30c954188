package route

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"cim/proto"
	"cim/route/access"
)

// broadcastTimeout is how long a server may take to hand a broadcast to all its loops. It waits
// only for room in their mailboxes. A server that does not answer at all is found by the link
// monitor and the registry.
const broadcastTimeout = 10 * time.Second

// group is a group message over HTTP.
func (r *Route) group(ctx context.Context, caller access.Caller, request *proto.GroupRequest) answer {
	sender, err := readUser("userId", request.UserID)
	if err != nil {
		return invalid(err)
	}
	texts, err := proto.Texts(request.Msg, request.BatchMsg)
	if err != nil {
		return invalid(err)
	}
	id, err := chosenID(caller, sender, request.TextID)
	if err != nil {
		return invalid(err)
	}
	want, err := readWant(request.Want) // group messages are not acknowledged: the best outcome is taken
	if err != nil {
		return invalid(err)
	}
	from, refused := r.accountOf(ctx, "userId", sender)
	if refused != nil {
		return *refused
	}
	m := message{sender: from, id: id, at: sentNow(), texts: texts, toAll: true}
	return answer{deferred: &deferredGroup{route: r, m: m, client: request.Client, want: want}}
}

// broadcast is one group message with a part for each linked server.
type broadcast struct {
	route *Route
	size  int // bytes reserved on each stream
	parts []serverPart
	full  bool // there was no room to reserve, so nothing was sent

	// ended is called when all of parts have ended and their sender has called endOne, by
	// the goroutine that comes last; it must not block. nil: finish waits.
	onEnd        func()
	pendingParts atomic.Int64 // how often endOne is still to be called

	guests  []serverPart    // the parts to guests
	answers chan guestReply // one of each
}

type serverPart struct {
	server *server
	stream *stream
	ask    *ask  // nil if err is not
	err    error // why it could not be sent
	reply  reply // to ask, if onEnd is set
}

// broadcast sends m to every linked server, in the order of the calls. Only the id of m's sender
// need be set. It does not wait for the servers: finish does. If one server has no room, nothing is
// sent.
func (r *Route) broadcast(ctx context.Context, m message) (*broadcast, *answer) {
	sender, refused := r.accountOf(ctx, "userId", m.sender.ID)
	if refused != nil {
		return nil, refused
	}
	m.sender, m.toAll = sender, true
	b := &broadcast{route: r}
	if a := b.sendAll(m); a.code != proto.CodeSuccess {
		r.counters.broadcasts.inc(a.code)
		return nil, &a
	}
	return b, nil
}

// sendAll sends m, with its sender's name, to every server.
func (b *broadcast) sendAll(m message) answer {
	buffer := b.route.bodies.Get().(*[]byte)
	defer b.route.bodies.Put(buffer)
	*buffer = m.appendBody((*buffer)[:0])
	b.size = len(*buffer)
	return b.send(b.route.cluster.servers(), proto.Record{Kind: proto.RecordBroadcast, User: m.sender.ID, Body: *buffer})
}

// send reserves room on all servers, then sends to all. As long as none has
// been sent to, a link that is full of other records refuses it too.
func (b *broadcast) send(present *servers, r proto.Record) answer {
	if b.full = !b.reserve(present); b.full {
		return answer{code: proto.CodeLimit}
	}
	b.pendingParts.Store(int64(len(b.parts)) + 1)
	if len(b.parts)+len(b.guests) == 0 {
		return answer{code: proto.CodeNoServer}
	}
	sent := 0
	for i := range b.parts {
		p := &b.parts[i]
		p.ask, p.err = b.startPart(p, &r)
		switch {
		case p.err == nil:
			sent++
		case errors.Is(p.err, errLinkFull) && sent == 0:
			b.unreserve(b.parts)
			b.unreserve(b.guests)
			return answer{code: proto.CodeLimit}
		}
	}
	b.sendGuests(&r)
	return answer{code: proto.CodeSuccess}
}

// startPart sends one part.
func (b *broadcast) startPart(p *serverPart, r *proto.Record) (*ask, error) {
	if b.onEnd == nil {
		return p.stream.start(r)
	}
	a, err := p.stream.startThen(r, broadcastTimeout, func(answer reply) {
		p.reply = answer
		b.endPart()
	})
	if err != nil {
		b.pendingParts.Add(-1) // the sender's own is left
	}
	return a, err
}

// endPart is the end of a part, or of what its sender does.
func (b *broadcast) endPart() {
	if b.pendingParts.Add(-1) == 0 {
		b.onEnd()
	}
}

// reserve takes room on every linked server, or on none and returns false. Parts for servers whose
// links are down are counted as lost only once the message has its room: a refused message may be
// sent again.
func (b *broadcast) reserve(present *servers) bool {
	var down []*server
	if !b.reserveOn(&b.parts, present.ours, &down) || !b.reserveOn(&b.guests, present.guests, &down) {
		b.unreserve(b.parts)
		b.unreserve(b.guests)
		return false
	}
	for _, s := range down {
		b.partLost(s, errLinkDown)
	}
	return true
}

// reserveOn adds a part for each linked server of all, and the others to down. It returns false if
// a linked server has no room.
func (b *broadcast) reserveOn(parts *[]serverPart, all []*server, down *[]*server) bool {
	if len(all) == 0 {
		return true
	}
	*parts = make([]serverPart, 0, len(all))
	for _, s := range all {
		stream := s.stream.Load()
		if stream == nil {
			*down = append(*down, s)
			continue
		}
		if !stream.reserve(b.size) {
			return false
		}
		*parts = append(*parts, serverPart{server: s, stream: stream})
	}
	return true
}

func (b *broadcast) unreserve(parts []serverPart) {
	for _, p := range parts {
		p.stream.unreserve(b.size)
	}
}

// allTaken reports whether every server took the message and no guest is left to wait for, so that
// finish does not block.
func (b *broadcast) allTaken() bool {
	for _, p := range b.parts {
		if p.err != nil || p.reply.err != nil || p.reply.verdict != proto.VerdictTaken {
			return false
		}
	}
	return len(b.guests) == 0
}

// finish waits for all servers and gives the room back. A part that is lost
// ends nothing for the others.
func (b *broadcast) finish() answer {
	deadline := time.Now().Add(broadcastTimeout)
	var ends groupResult
	for _, p := range b.parts {
		end := b.finishPart(p, deadline)
		switch {
		case noAnswer(end.err) && p.mayHaveArrived():
			ends.unknown++
		case end.outcome() == proto.VerdictTaken:
			ends.addTaken(proto.Receivers(end.value))
		case end.outcome() == proto.VerdictBusy:
			ends.busy++
		}
	}
	b.unreserve(b.parts)
	if len(b.guests) > 0 {
		ends.addGuests(b.awaitGuests(ends.taken > 0))
		b.unreserve(b.guests)
	}
	a := ends.answer()
	b.route.counters.broadcasts.inc(a.code)
	return a
}

// groupResult counts the parts of a group message by outcome. An unknown part may have reached its
// server, which has not answered.
type groupResult struct {
	taken, busy, unknown int

	receivers int  // of the parts that were taken
	uncounted bool // one of these, of an older server, has no count
}

func (e *groupResult) addTaken(receivers proto.Receivers) {
	e.taken++
	n, known := receivers.Count()
	e.receivers += n
	e.uncounted = e.uncounted || !known
}

// answer is success if any server took the message: sent again it would arrive twice there. A
// refused part, such as one at a server that is draining, is counted and logged like one whose link
// was lost.
func (e groupResult) answer() answer {
	switch {
	case e.taken > 0 && e.uncounted:
		return answer{code: proto.CodeSuccess}
	case e.taken > 0:
		return answer{code: proto.CodeSuccess, receivers: proto.ReceiversOf(e.receivers)}
	case e.unknown > 0:
		return answer{code: proto.CodeFailure, message: "no server has answered in time: the message may arrive or not", unknown: true}
	case e.busy > 0:
		return answer{code: proto.CodeLimit}
	}
	return answer{code: proto.CodeFailure, message: "no server took the message, try again later"}
}

// mayHaveArrived reports whether the part was sent: a suspect server is sent it too.
func (p serverPart) mayHaveArrived() bool { return p.ask != nil || errors.Is(p.err, errSilence) }

func (b *broadcast) finishPart(p serverPart, deadline time.Time) reply {
	answer := reply{err: p.err}
	switch {
	case p.ask == nil:
	case b.onEnd != nil:
		answer = p.reply
	default:
		var ok bool
		if answer, ok = p.stream.await(p.ask, time.Until(deadline)); !ok {
			answer = p.stream.giveUp(p.ask)
		}
	}
	b.route.counters.asks[proto.RecordBroadcast].inc(answer.name())
	if err := p.server.failure("broadcast", answer); err != nil {
		b.partLost(p.server, err)
	}
	return answer
}

// partLost counts and logs that the sessions of a server did not get the message.
func (b *broadcast) partLost(s *server, err error) {
	b.route.counters.partsLost.Inc()
	b.route.notices.Say("part of a group message lost", "server", s.member.Name(), "error", err)
}
