package route

import (
	"github.com/valyala/fasthttp"

	"cim/internal/httpserve"
	"cim/proto"
)

// deferredGroup is a group message that is ready to be sent. Its sender's request is
// answered by the goroutine that brings the last server's answer, so that the next group message of
// its connection need not wait for that.
type deferredGroup struct {
	route  *Route
	m      message
	client proto.Number // whether a client of ours asks
	want   proto.Want

	sent  *broadcast
	reply deferredReply
}

// start implements laterAnswer. If there is no room beside other messages of the same
// connection, it waits until those are answered: one behind the other they had room.
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
	if g.reply, ok = g.route.deferReply(ctx, e, httpserve.Lane{Kind: proto.PathGroup}); ok {
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

// run implements laterAnswer.
func (g *deferredGroup) run() answer {
	if refused := g.send(nil); refused.code != proto.CodeSuccess {
		g.route.counters.broadcasts.inc(refused.code)
		return refused
	}
	return g.finish()
}

// settle answers the request. It does not block: what has to be logged, or waits for
// guests, gets a goroutine.
func (g *deferredGroup) settle() {
	if g.sent.allTaken() {
		g.reply.write(g.finish())
		return
	}
	go func() { g.reply.write(g.finish()) }()
}

func (g *deferredGroup) finish() answer { return g.sent.finish().withID(g.client, g.m.id, g.want) }
