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

	request *endpoint
	from    netip.Addr
	answer  *httpserve.Later
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
		if s := r.cluster.server(to.epoch); s != nil && s.pusher == nil && !r.missed.has(receiver, to) {
			until, _ := ctx.Deadline()
			return answer{push: &laterPush{route: r, m: m, receiver: receiver, client: client, record: record, server: s, until: until}}
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

// answerLater pushes what a asks for, and has the request answered when that has
// ended.
func (r *Route) answerLater(ctx *fasthttp.RequestCtx, e *endpoint, p *laterPush) {
	p.request, p.from = e, r.clientAddr(ctx)
	if p.answer = r.http.Later(ctx); p.answer == nil {
		r.give(ctx, e, p.wait())
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

// wait pushes the message and waits for its end.
func (p *laterPush) wait() answer {
	came := make(chan reply, 1)
	p.ask(func(answer reply) { came <- answer })
	return p.finish(<-came)
}

// settle answers the request. It does not block: what needs the store, or a pause,
// gets a goroutine, of which there is one for each connection at most.
func (p *laterPush) settle(said reply) {
	if said.err == nil && said.verdict == proto.VerdictTaken {
		p.give(p.finish(said))
		return
	}
	go func() { p.give(p.finish(said)) }()
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

func (p *laterPush) give(a answer) {
	p.route.noteAnswer(p.request, a, p.from)
	p.answer.Answer(a.code, a.message, a.body)
}
