package server

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"strconv"
	"sync"
	"time"

	"github.com/valyala/fasthttp"

	"cim/internal/httpserve"
	"cim/internal/listener"
	"cim/proto"
)

// intake is the server's own HTTP API: /sendMsg, by which routes of the original
// push a message to a user.
type intake struct {
	server *Server
	http   *httpserve.Server
	port   int
	served chan struct{}
}

// verdictMax is how long a request may wait for the verdict of an event loop and
// the outcome of a route.
const verdictMax = time.Second

func (i *intake) start(s *Server) error {
	listener, err := net.Listen(listener.Network(s.config.intakeHost()), net.JoinHostPort(s.config.intakeHost(), strconv.Itoa(s.config.HTTPPort)))
	if err != nil {
		return fmt.Errorf("server: http-port %d: %w", s.config.HTTPPort, err)
	}
	i.server, i.port = s, listener.Addr().(*net.TCPAddr).Port
	i.served = make(chan struct{})
	i.http = httpserve.New(listener, httpserve.Config{
		ConnsMax: s.config.HTTPConnsMax, Addresses: s.config.Addresses, IdleTimeout: s.config.HTTPIdle,
		Port: "http-port", Paused: s.metrics.intakePauses.Inc, BodyMax: proto.IntakeBodyMax, Handler: i.handle, Refused: i.refused, Log: s.log,
		Budget:  s.budget,
		Evicted: func(net.Addr) { s.metrics.httpEvicted.Inc() },
	})
	go func() {
		defer close(i.served)
		if err := i.http.Run(); err != nil {
			s.endedUnexpectedly(fmt.Errorf("server: the listener of /sendMsg ended: %w", err))
		}
	}()
	return nil
}

func (i *intake) stop(ctx context.Context) {
	i.http.Drain(ctx)
	<-i.served
}

func (i *intake) refused(status int, _ net.Addr) {
	i.server.metrics.refused.Inc()
	i.server.logRefusal("HTTP request refused", strconv.Itoa(status))
}

func (i *intake) handle(ctx *fasthttp.RequestCtx) {
	i.server.metrics.intake.Inc()
	switch {
	case string(httpserve.Path(ctx)) != proto.PathSendMsg:
		i.http.Refuse(ctx, fasthttp.StatusNotFound, "there is no such path, want "+proto.PathSendMsg)
	case !ctx.IsPost():
		i.http.RefuseMethod(ctx, "POST")
	case httpserve.FromPage(ctx):
		// Otherwise a web page opened on this machine could send in any user's
		// name.
		i.http.Refuse(ctx, fasthttp.StatusForbidden, "web pages may not ask this: it is for routes")
	default:
		i.sendMsg(ctx)
	}
}

func (i *intake) sendMsg(ctx *fasthttp.RequestCtx) {
	posted, ok := i.http.Body(ctx)
	if !ok {
		return
	}
	var request proto.SendMsgRequest
	err := proto.DecodeBody(posted, &request)
	if errors.Is(err, proto.ErrSyntax) {
		i.http.Refuse(ctx, fasthttp.StatusBadRequest, err.Error())
		return
	}
	if pages := request.Pages(); err == nil && pages != nil {
		i.sendPages(ctx, pages)
		return
	}
	var body []byte
	id, now := proto.TextID(rand.Uint64()), proto.UnixMilli(time.Now().UnixMilli())
	if err == nil {
		body, err = request.Frame(id, now)
	}
	if err != nil {
		i.http.Answer(ctx, proto.CodeInvalid, err.Error(), "")
		return
	}
	timeout := time.NewTimer(verdictMax)
	defer timeout.Stop()
	verdict, answered := i.push(proto.UserID(request.UserID), body, false, timeout.C)
	switch {
	case !answered:
		i.answerTimeout(ctx)
	case verdict == proto.VerdictTaken:
		i.answerTaken(ctx)
	case verdict == proto.VerdictBusy:
		i.http.Answer(ctx, proto.CodeLimit, "", "")
	default:
		i.forward(ctx, &request, id, timeout.C)
	}
}

// sendPages delivers the parts of a page of stored texts, each after the one before
// has left the process. If a part is not taken, the route keeps all of them, and
// the earlier ones come again.
func (i *intake) sendPages(ctx *fasthttp.RequestCtx, pages []proto.SendMsgRequest) {
	for _, page := range pages {
		body, err := page.Frame(proto.TextID(rand.Uint64()), 0)
		if err != nil {
			i.http.Answer(ctx, proto.CodeInvalid, err.Error(), "")
			return
		}
		timeout := time.NewTimer(verdictMax)
		verdict, answered := i.push(proto.UserID(page.UserID), body, true, timeout.C)
		timeout.Stop()
		switch {
		case !answered:
			i.answerTimeout(ctx)
			return
		case verdict == proto.VerdictBusy:
			i.http.Answer(ctx, proto.CodeLimit, "", "")
			return
		case verdict != proto.VerdictTaken:
			i.http.Answer(ctx, proto.CodeOffline, "the user has no session here; the messages, or a part of them, were not stored", "")
			return
		}
	}
	i.answerTaken(ctx)
}

func (i *intake) answerTaken(ctx *fasthttp.RequestCtx) {
	i.http.Answer(ctx, proto.CodeSuccess, "", proto.Body(proto.SendMsgBody{Msg: "OK"}))
}

func (i *intake) answerTimeout(ctx *fasthttp.RequestCtx) {
	i.http.Answer(ctx, proto.CodeFailure, "no answer in time: the message may arrive or not", "")
}

// forward gives a message whose receiver has no session here to a route of ours:
// the original's routes take any answer of a server for success.
func (i *intake) forward(ctx *fasthttp.RequestCtx, request *proto.SendMsgRequest, id proto.TextID, timeout <-chan time.Time) {
	h := i.server.forwardTexts(request, id)
	if h == nil {
		i.http.Answer(ctx, proto.CodeOffline, "the user has no session here; the message was not stored", "")
		return
	}
	select {
	case kept := <-h.done:
		if kept {
			i.answerTaken(ctx)
			return
		}
		i.http.Answer(ctx, proto.CodeOffline, "the user has no session here; the message, or a part of it, was not stored", "")
	case <-timeout:
		i.answerTimeout(ctx)
	}
}

// push delivers body to user's session and waits for the verdict, for a page until
// it has left the process; answered is false if no verdict comes in time. It also
// delivers to a session that is held, as the original's routes expect.
func (i *intake) push(user proto.UserID, body []byte, page bool, timeout <-chan time.Time) (verdict proto.Verdict, answered bool) {
	s := i.server
	_, pauses := s.checkStall()
	ref, _, found := s.directory.find(user)
	if !found || s.inDoubt(pauses) {
		return proto.VerdictAbsent, true
	}
	w := waiters.Get().(*waiter)
	if !s.loops[ref.Shard].mailbox.post(letter{kind: letterPush, ref: ref, requester: w, pass: true, page: page, pauses: pauses}, body) {
		waiters.Put(w)
		return proto.VerdictBusy, true
	}
	select {
	case verdict := <-w.verdict:
		waiters.Put(w)
		return verdict, true
	case <-timeout:
		return 0, false // w may still be answered, so it is not used again
	}
}

// waiter is a requester that waits for one verdict.
type waiter struct{ verdict chan proto.Verdict }

var waiters = sync.Pool{New: func() any { return &waiter{make(chan proto.Verdict, 1)} }}

func (w *waiter) answer(_ uint64, verdict proto.Verdict, _ uint64) { w.verdict <- verdict }
