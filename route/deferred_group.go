package route

import (
	"github.com/valyala/fasthttp"

	"cim/internal/httpserve"
	"cim/proto"
)

// deferredGroup is a group message that is ready to be sent. The goroutine that gets the last
// server's answer answers the sender's request, so the next group message of the same connection
// need not wait for it.
type deferredGroup struct {
	route  *Route
	m      message
	client proto.Number // whether a client of ours asks
	want   proto.Want

	sent  *broadcast
	reply deferredReply
}

// start implements deferredAnswer. If the connection's other messages leave no room, start waits
// until they are answered, and tries once more.
func (g *deferredGroup) start(ctx *fasthttp.RequestCtx, e *endpoint) {
	refused := g.send(g.settle)
	if g.sent.full && g.route.http.AwaitOwed(ctx) {
		refused = g.send(g.settle)
	}
	if refused.code != proto.CodeSuccess {
		g.route.counters.broadcasts.inc(refused.code)
		g.route.writeAnswer(ctx, e, refused)
		return
	}
	var ok bool
	if g.reply, ok = g.route.deferReply(ctx, e, httpserve.OverlapKey{Kind: proto.PathGroup}); ok {
		g.sent.endPart()
		return
	}
	ended := make(chan struct{})
	g.sent.onEnd = func() { close(ended) } // endOne has still to be called
	g.sent.endPart()
	<-ended
	g.route.writeAnswer(ctx, e, g.finish())
}

// send sends the message. Its end is ended's, or finish waits.
func (g *deferredGroup) send(ended func()) answer {
	g.sent = &broadcast{route: g.route, onEnd: ended}
	return g.sent.sendAll(g.m)
}

// run implements deferredAnswer.
func (g *deferredGroup) run() answer {
	if refused := g.send(nil); refused.code != proto.CodeSuccess {
		g.route.counters.broadcasts.inc(refused.code)
		return refused
	}
	return g.finish()
}

// settle answers the request. It does not block: if something must be logged, or guests must be
// waited for, a goroutine goes on.
func (g *deferredGroup) settle() {
	if g.sent.allTaken() {
		g.reply.write(g.finish())
		return
	}
	go func() { g.reply.write(g.finish()) }()
}

func (g *deferredGroup) finish() answer { return g.sent.finish().withID(g.client, g.m.id, g.want) }
