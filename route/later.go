package route

import (
	"context"
	"net/netip"
	"time"

	"github.com/valyala/fasthttp"

	"cim/internal/httpserve"
	"cim/proto"
	"cim/store"
)

// laterAnswer is what is still to be done for a request, and ends with its answer.
type laterAnswer interface {
	// begin does it, and has the request of ctx answered by the goroutine that brings the end.
	begin(ctx *fasthttp.RequestCtx, e *endpoint)
	// wait does it, and waits for the end.
	wait() answer
}

// laneOf is beside which requests a request may be begun: group messages are in the
// order in which they are begun on each link, and so are private messages, but for
// those that are not taken. So the second of a pair waits for the first.
func (r *Route) laneOf(ctx *fasthttp.RequestCtx) httpserve.Lane {
	path, _ := pathOf(ctx)
	switch string(path) {
	case proto.PathGroup:
		return httpserve.Lane{Kind: proto.PathGroup}
	case proto.PathPrivate:
		var request proto.PrivateRequest
		if proto.DecodeBody(ctx.PostBody(), &request) == nil {
			return privateLane(proto.UserID(request.UserID), proto.UserID(request.ReceiveUserID))
		}
	}
	return httpserve.Lane{}
}

func privateLane(sender, receiver proto.UserID) httpserve.Lane {
	return httpserve.Lane{Kind: proto.PathPrivate, Subject: [2]proto.UserID{sender, receiver}}
}

// laterPush is a private message that is ready to be pushed. The goroutine that gets
// the server's answer answers the sender's request: mostly that of a link's reader,
// or within a process that of the event loop. So no goroutine of the request has to
// wake for it.
type laterPush struct {
	route    *Route
	m        message
	receiver proto.UserID
	client   proto.Number // whether a client of ours asks
	record   store.Record // of the receiver
	server   *server      // of the record
	until    time.Time    // for what is asked of the store

	reply laterReply
}

// laterReply answers a request later.
type laterReply struct {
	route   *Route
	request *endpoint
	from    netip.Addr
	answer  *httpserve.Later
}

func (l laterReply) give(a answer) {
	l.route.noteAnswer(l.request, a, l.from)
	l.answer.Answer(a.code, a.message, a.body)
}

// replyLater lets a request of lane be answered later; ok is false if it cannot.
func (r *Route) replyLater(ctx *fasthttp.RequestCtx, e *endpoint, lane httpserve.Lane) (l laterReply, ok bool) {
	l = laterReply{route: r, request: e, from: r.clientAddr(ctx)}
	l.answer = r.http.Later(ctx, lane)
	return l, l.answer != nil
}

// deliverLater is deliver for a message that wants no receipt. The answer is a
// laterPush if the receiver has a session to which it can be pushed.
func (r *Route) deliverLater(ctx context.Context, receiver proto.UserID, m message, client proto.Number) answer {
	sender, refused := r.accountsOf(ctx, m.sender.ID, receiver)
	if refused != nil {
		return *refused
	}
	m.sender = sender
	record, found, err := r.lookup(ctx, receiver)
	if err == nil && found {
		to := sessionOf(record)
		if s := r.cluster.server(to.epoch); s != nil && !s.guest() && !r.missed.has(receiver, to) {
			until, _ := ctx.Deadline()
			return answer{later: &laterPush{route: r, m: m, receiver: receiver, client: client, record: record, server: s, until: until}}
		}
	}
	first := func(ctx context.Context, m message, receiver proto.UserID, receipt uint64) (pushed, error) {
		if err != nil || !found {
			return pushed{verdict: proto.VerdictAbsent}, err
		}
		return r.pushFound(ctx, m, receiver, receipt, record)
	}
	return r.countPrivate(r.deliverKnown(ctx, m, receiver, 0, first)).withID(client, m.id, m.want)
}

// begin implements laterAnswer.
func (p *laterPush) begin(ctx *fasthttp.RequestCtx, e *endpoint) {
	var ok bool
	if p.reply, ok = p.route.replyLater(ctx, e, privateLane(p.m.sender.ID, p.receiver)); !ok {
		p.route.give(ctx, e, p.wait())
		return
	}
	p.ask(p.settle)
}

// ask pushes the message and calls then with the server's answer.
func (p *laterPush) ask(then func(reply)) {
	buffer := p.route.bodies.Get().(*[]byte)
	defer p.route.bodies.Put(buffer)
	*buffer = p.m.appendBody((*buffer)[:0])
	p.server.askThen(&proto.Record{Kind: proto.RecordPush, User: p.receiver, Generation: p.record.Generation, Body: *buffer}, then)
}

// wait implements laterAnswer.
func (p *laterPush) wait() answer {
	came := make(chan reply, 1)
	p.ask(func(answer reply) { came <- answer })
	return p.finish(<-came)
}

// settle answers the request. It does not block: what needs the store, or a pause,
// gets a goroutine, of which a connection has one at most for each answer that it
// owes.
func (p *laterPush) settle(said reply) {
	if said.err == nil && said.verdict == proto.VerdictTaken {
		p.reply.give(p.finish(said))
		return
	}
	go func() { p.reply.give(p.finish(said)) }()
}

// finish goes on with what the server has said.
func (p *laterPush) finish(said reply) answer {
	r, end := p.route, pushedBy(said, sessionOf(p.record))
	if end.verdict == proto.VerdictTaken {
		return r.countPrivate(answer{code: proto.CodeSuccess}).withID(p.client, p.m.id, p.m.want)
	}
	work := newDeadline(time.Until(p.until))
	defer work.stop()
	first := func(ctx context.Context, m message, receiver proto.UserID, receipt uint64) (pushed, error) {
		return r.pushAgain(ctx, m, receiver, receipt, p.record, end)
	}
	return r.countPrivate(r.deliverKnown(work, p.m, p.receiver, 0, first)).withID(p.client, p.m.id, p.m.want)
}
