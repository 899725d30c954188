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

// deferredAnswer is the unfinished part of a request. It ends with the request's answer.
type deferredAnswer interface {
	// start runs it without waiting. The goroutine that gets the result answers the request of ctx.
	start(ctx *fasthttp.RequestCtx, e *endpoint)
	// run runs it and waits for the answer.
	run() answer
}

// overlapKeyOf is the OverlapKey of a request. Group messages of one connection run
// side by side, and keep their order on each link; so do private messages of
// different pairs. The second message of a pair waits for the first, which may
// still have to be stored.
func (r *Route) overlapKeyOf(ctx *fasthttp.RequestCtx) httpserve.OverlapKey {
	path, _ := pathOf(ctx)
	switch string(path) {
	case proto.PathGroup:
		return httpserve.OverlapKey{Kind: proto.PathGroup}
	case proto.PathPrivate:
		var request proto.PrivateRequest
		if proto.DecodeBody(ctx.PostBody(), &request) == nil {
			return privateKey(proto.UserID(request.UserID), proto.UserID(request.ReceiveUserID))
		}
	}
	return httpserve.OverlapKey{}
}

func privateKey(sender, receiver proto.UserID) httpserve.OverlapKey {
	return httpserve.OverlapKey{Kind: proto.PathPrivate, Subject: [2]proto.UserID{sender, receiver}}
}

// deferredPush is a private message that is ready to be pushed. The goroutine that gets the
// server's answer answers the sender's request: usually the link's reader, or within one process
// the event loop. So no goroutine of the request has to wake up.
type deferredPush struct {
	route         *Route
	m             message
	receiver      proto.UserID
	client        proto.Number // whether a client of ours asks
	record        store.Record // of the receiver
	server        *server      // of the record
	storeDeadline time.Time    // of calls of the store

	reply deferredReply
}

// deferredReply answers a request later.
type deferredReply struct {
	route   *Route
	request *endpoint
	from    netip.Addr
	answer  *httpserve.Later
}

func (l deferredReply) write(a answer) {
	l.route.countAnswer(l.request, a, l.from)
	l.answer.Answer(a.code, a.message, a.body)
}

// deferReply lets a request with this key be answered later. ok is false if it
// cannot.
func (r *Route) deferReply(ctx *fasthttp.RequestCtx, e *endpoint, key httpserve.OverlapKey) (l deferredReply, ok bool) {
	l = deferredReply{route: r, request: e, from: r.clientAddr(ctx)}
	l.answer = r.http.Later(ctx, key)
	return l, l.answer != nil
}

// deliverDeferred is deliver for a message that wants no receipt. The answer is a
// laterPush if the receiver has a session to which it can be pushed.
func (r *Route) deliverDeferred(ctx context.Context, receiver proto.UserID, m message, client proto.Number) answer {
	sender, refused := r.accountsOf(ctx, m.sender.ID, receiver)
	if refused != nil {
		return *refused
	}
	m.sender = sender
	record, found, err := r.lookup(ctx, receiver)
	if err == nil && found {
		to := sessionOf(record)
		if s := r.cluster.server(to.epoch); s != nil && !s.guest() && !r.pendingHolds.contains(receiver, to) {
			until, _ := ctx.Deadline()
			return answer{deferred: &deferredPush{route: r, m: m, receiver: receiver, client: client, record: record, server: s, storeDeadline: until}}
		}
	}
	first := func(ctx context.Context, m message, receiver proto.UserID, receipt uint64) (pushResult, error) {
		if err != nil || !found {
			return pushResult{verdict: proto.VerdictAbsent}, err
		}
		return r.pushToRecord(ctx, m, receiver, receipt, record)
	}
	return r.countPrivate(r.deliverOrStore(ctx, m, receiver, 0, first)).withID(client, m.id, m.want)
}

// start implements deferredAnswer.
func (p *deferredPush) start(ctx *fasthttp.RequestCtx, e *endpoint) {
	var ok bool
	if p.reply, ok = p.route.deferReply(ctx, e, privateKey(p.m.sender.ID, p.receiver)); !ok {
		p.route.writeAnswer(ctx, e, p.run())
		return
	}
	p.ask(p.settle)
}

// ask pushes the message and calls then with the server's answer.
func (p *deferredPush) ask(then func(reply)) {
	buffer := p.route.bodies.Get().(*[]byte)
	defer p.route.bodies.Put(buffer)
	*buffer = p.m.appendBody((*buffer)[:0])
	p.server.askThen(&proto.Record{Kind: proto.RecordPush, User: p.receiver, Generation: p.record.Generation, Body: *buffer}, then)
}

// run implements deferredAnswer.
func (p *deferredPush) run() answer {
	came := make(chan reply, 1)
	p.ask(func(answer reply) { came <- answer })
	return p.finish(<-came)
}

// settle answers the request. It does not block: if the answer needs the store or a pause, a
// goroutine goes on, at most one for each answer that a connection owes.
func (p *deferredPush) settle(response reply) {
	if response.err == nil && response.verdict == proto.VerdictTaken {
		p.reply.write(p.finish(response))
		return
	}
	go func() { p.reply.write(p.finish(response)) }()
}

// finish continues after the server's answer.
func (p *deferredPush) finish(response reply) answer {
	r, end := p.route, pushResultOf(response, sessionOf(p.record))
	if end.verdict == proto.VerdictTaken {
		return r.countPrivate(answer{code: proto.CodeSuccess}).withID(p.client, p.m.id, p.m.want)
	}
	work := newDeadline(time.Until(p.storeDeadline))
	defer work.stop()
	first := func(ctx context.Context, m message, receiver proto.UserID, receipt uint64) (pushResult, error) {
		return r.retryPush(ctx, m, receiver, receipt, p.record, end)
	}
	return r.countPrivate(r.deliverOrStore(work, p.m, p.receiver, 0, first)).withID(p.client, p.m.id, p.m.want)
}
