package route

import (
	"context"
	"errors"
	"time"

	"cim/proto"
	"cim/route/access"
)

// broadcastTimeout is how long a server may take to bring a broadcast to all
// its loops: it only waits for room in their mailboxes, and one that does not
// answer at all is found by the registry, not here.
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
	want, err := readWant(request.Want) // messages to everybody are not acknowledged: taken is all that they are
	if err != nil {
		return invalid(err)
	}
	b, refused := r.broadcast(ctx, message{sender: proto.User{ID: sender}, id: id, at: now(), texts: texts})
	if refused != nil {
		return *refused
	}
	return b.finish().withID(request.Client, id, want)
}

// broadcast is one group message on its way: a part to each linked server.
type broadcast struct {
	route *Route
	size  int // bytes reserved on each stream
	parts []part
	aside *aside // the part for the original's servers; nil: there are none
}

type part struct {
	server *server
	stream *stream
	ask    *ask  // nil if err is not
	err    error // why it could not be sent
}

// broadcast sends m, of whose sender the id is known, to every linked server, in
// the order of the calls. It waits for none of them: finish does. If one of them
// has no room nothing is sent.
func (r *Route) broadcast(ctx context.Context, m message) (*broadcast, *answer) {
	sender, refused := r.accountOf(ctx, "userId", m.sender.ID)
	if refused != nil {
		return nil, refused
	}
	buffer := r.bodies.Get().(*[]byte)
	defer r.bodies.Put(buffer)
	m.sender, m.toAll = sender, true
	*buffer = m.appendBody((*buffer)[:0])
	b := &broadcast{route: r, size: len(*buffer)}
	a := b.sendBoth(m, proto.Record{Kind: proto.RecordBroadcast, User: sender.ID, Body: *buffer})
	if a.code != proto.CodeSuccess {
		r.counters.broadcasts.inc(a.code)
		return nil, &a
	}
	return b, nil
}

// sendBoth sends to the servers that have links, and to those of the original
// if there are any. Where one has no room nothing is sent.
func (b *broadcast) sendBoth(m message, r proto.Record) answer {
	present, asides := b.route.cluster.servers(), b.route.asides
	if len(present.originals) == 0 || b.route.original == nil {
		return b.send(present.all, r)
	}
	if !asides.reserve() {
		return answer{code: proto.CodeLimit}
	}
	a := b.send(present.all, r)
	if a.code == proto.CodeNoServer {
		a.code = proto.CodeSuccess // they may have users all the same
	}
	if a.code != proto.CodeSuccess {
		asides.unreserve()
		return a
	}
	b.aside = asides.start(m)
	return a
}

// send reserves room on all servers, then sends to all. As long as none has
// been sent to, a link that is full of other records refuses it too.
func (b *broadcast) send(all []*server, r proto.Record) answer {
	if !b.reserve(all) {
		return answer{code: proto.CodeLimit}
	}
	if len(b.parts) == 0 {
		return answer{code: proto.CodeNoServer}
	}
	sent := 0
	for i := range b.parts {
		p := &b.parts[i]
		p.ask, p.err = p.stream.start(&r)
		switch {
		case p.err == nil:
			sent++
		case errors.Is(p.err, errLinkFull) && sent == 0:
			b.unreserve()
			return answer{code: proto.CodeLimit}
		}
	}
	return answer{code: proto.CodeSuccess}
}

func (b *broadcast) reserve(all []*server) bool {
	b.parts = make([]part, 0, len(all))
	for _, s := range all {
		stream := s.stream.Load()
		if stream == nil {
			b.lost(s, errLinkDown)
			continue
		}
		if !stream.reserve(b.size) {
			b.unreserve()
			return false
		}
		b.parts = append(b.parts, part{server: s, stream: stream})
	}
	return true
}

func (b *broadcast) unreserve() {
	for _, p := range b.parts {
		p.stream.unreserve(b.size)
	}
}

// finish waits for all servers and gives the room back. A part that is lost
// ends nothing for the others.
func (b *broadcast) finish() answer {
	deadline := time.Now().Add(broadcastTimeout)
	var ends groupEnds
	for _, p := range b.parts {
		end := b.finishPart(p, deadline)
		switch {
		case noAnswer(end.err) && p.reached():
			ends.unknown++
		case end.outcome() == proto.VerdictTaken:
			ends.took(proto.Receivers(end.value))
		case end.outcome() == proto.VerdictBusy:
			ends.busy++
		}
	}
	b.unreserve()
	if b.aside != nil {
		b.aside.await(ends.taken > 0, deadline)
		ends.add(b.aside)
	}
	a := ends.answer()
	b.route.counters.broadcasts.inc(a.code)
	return a
}

// groupEnds counts the parts of a group message by how they ended. Unknown are
// those that may have reached their server, which has not answered.
type groupEnds struct {
	taken, busy, unknown int

	receivers int  // of the parts that were taken
	uncounted bool // one of these, of an older server, has no count
}

func (e *groupEnds) took(receivers proto.Receivers) {
	e.taken++
	n, known := receivers.Count()
	e.receivers += n
	e.uncounted = e.uncounted || !known
}

// answer is success if some server took the message: sent again it would
// come twice there. A part that was refused, as by a server that goes down, is
// counted and told like one whose link was lost.
func (e groupEnds) answer() answer {
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

// reached reports whether the part was sent: a suspect server brings it too.
func (p part) reached() bool { return p.ask != nil || errors.Is(p.err, errSilence) }

func (b *broadcast) finishPart(p part, deadline time.Time) reply {
	answer := reply{err: p.err}
	if p.ask != nil {
		var ok bool
		if answer, ok = p.stream.await(p.ask, time.Until(deadline)); !ok {
			answer = p.stream.giveUp(p.ask)
		}
	}
	b.route.counters.asks[proto.RecordBroadcast].inc(answer.name())
	if err := p.server.failure("broadcast", answer); err != nil {
		b.lost(p.server, err)
	}
	return answer
}

// lost tells of a server whose sessions did not get the message.
func (b *broadcast) lost(s *server, err error) {
	b.route.counters.partsLost.Inc()
	b.route.notices.say("part of a group message lost", "server", s.member.Name(), "error", err)
}
