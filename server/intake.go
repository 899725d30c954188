package server

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"sync"
	"time"

	"github.com/valyala/fasthttp"

	"cim/proto"
)

// intake is the server's own HTTP API: /sendMsg, by which routes of the
// original push one message to one user.
type intake struct {
	server *Server
	http   *fasthttp.Server
	port   int
	served chan struct{}
}

// Bounds of the intake.
const (
	intakeConnsMax = 512
	intakeReadMax  = 5 * time.Second  // for a whole request
	intakeIdleMax  = 60 * time.Second // between two requests of a connection
	verdictMax     = time.Second      // for an event loop's verdict
)

func (i *intake) start(s *Server) error {
	listener, err := net.Listen("tcp4", net.JoinHostPort(s.config.Bind, strconv.Itoa(s.config.HTTPPort)))
	if err != nil {
		return fmt.Errorf("server: http-port %d: %w", s.config.HTTPPort, err)
	}
	i.server, i.port = s, listener.Addr().(*net.TCPAddr).Port
	i.served = make(chan struct{})
	i.http = &fasthttp.Server{
		Handler: i.handle, ErrorHandler: refuse, Concurrency: intakeConnsMax,
		MaxRequestBodySize: proto.IntakeBodyMax, ReadTimeout: intakeReadMax, IdleTimeout: intakeIdleMax,
		WriteTimeout: intakeReadMax, NoDefaultServerHeader: true, CloseOnShutdown: true,
		Logger: httpLog{s},
	}
	go func() {
		defer close(i.served)
		if err := i.http.Serve(listener); err != nil {
			s.log.Error("the listener of /sendMsg ended", "error", err)
		}
	}()
	return nil
}

func (i *intake) stop(ctx context.Context) error {
	if err := i.http.ShutdownWithContext(ctx); err != nil {
		return fmt.Errorf("server: stop /sendMsg: %w", err)
	}
	<-i.served
	return nil
}

func (i *intake) handle(ctx *fasthttp.RequestCtx) {
	i.server.metrics.intake.Inc()
	switch {
	case string(ctx.Path()) != proto.PathSendMsg:
		reply(ctx, fasthttp.StatusNotFound, proto.CodeInvalid, "no such path, want "+proto.PathSendMsg, "")
	case !ctx.IsPost():
		ctx.Response.Header.Set("Allow", "POST")
		reply(ctx, fasthttp.StatusMethodNotAllowed, proto.CodeInvalid, "want POST", "")
	case !i.mayPush(ctx.RemoteAddr()):
		i.server.metrics.refused.Inc()
		reply(ctx, fasthttp.StatusOK, proto.CodeFailure, "/sendMsg answers on loopback only; sendmsg-anywhere allows others", "")
	default:
		i.sendMsg(ctx)
	}
}

// mayPush: who reaches /sendMsg can name any sender.
func (i *intake) mayPush(from net.Addr) bool {
	if i.server.config.SendMsgAnywhere {
		return true
	}
	addr, err := netip.ParseAddrPort(from.String())
	return err == nil && addr.Addr().Unmap().IsLoopback()
}

func (i *intake) sendMsg(ctx *fasthttp.RequestCtx) {
	var request proto.SendMsgRequest
	err := proto.DecodeBody(ctx.PostBody(), &request)
	if errors.Is(err, proto.ErrSyntax) {
		reply(ctx, fasthttp.StatusBadRequest, proto.CodeInvalid, err.Error(), "")
		return
	}
	var body []byte
	if err == nil {
		body, err = request.Frame()
	}
	if err != nil {
		reply(ctx, fasthttp.StatusOK, proto.CodeInvalid, err.Error(), "")
		return
	}
	switch i.push(proto.UserID(request.UserID), body) {
	case proto.VerdictTaken:
		reply(ctx, fasthttp.StatusOK, proto.CodeSuccess, "", `{"msg":"OK"}`)
	case proto.VerdictBusy:
		reply(ctx, fasthttp.StatusOK, proto.CodeLimit, "", "")
	default:
		reply(ctx, fasthttp.StatusOK, proto.CodeOffline, "the user has no session here; the message was not stored", "")
	}
}

// push brings body to user's session and waits for the verdict. It passes a
// session that waits for its catch-up: the original's routes push that too.
func (i *intake) push(user proto.UserID, body []byte) proto.Verdict {
	s := i.server
	ref, _, found := s.directory.find(user)
	if !found {
		return proto.VerdictAbsent
	}
	w := waiters.Get().(*waiter)
	if !s.loops[ref.Shard].mailbox.post(letter{kind: letterPush, ref: ref, asker: w, pass: true}, body) {
		waiters.Put(w)
		return proto.VerdictBusy
	}
	timeout := time.NewTimer(verdictMax)
	defer timeout.Stop()
	select {
	case verdict := <-w.verdict:
		waiters.Put(w)
		return verdict
	case <-timeout.C:
		return proto.VerdictBusy // w may still be answered, so it is not used again
	}
}

// waiter is an asker that a request waits on.
type waiter struct{ verdict chan proto.Verdict }

var waiters = sync.Pool{New: func() any { return &waiter{make(chan proto.Verdict, 1)} }}

func (w *waiter) answer(_ uint64, verdict proto.Verdict, _ uint64) { w.verdict <- verdict }

func reply(ctx *fasthttp.RequestCtx, status int, code proto.Code, message, body string) {
	ctx.SetStatusCode(status)
	ctx.SetContentType("application/json")
	ctx.SetBody(proto.AppendAnswer(nil, code, message, body))
}

// refuse answers what is no HTTP request, or too large, or too slow.
func refuse(ctx *fasthttp.RequestCtx, err error) {
	var network net.Error
	switch {
	case errors.Is(err, fasthttp.ErrBodyTooLarge):
		reply(ctx, fasthttp.StatusRequestEntityTooLarge, proto.CodeInvalid, "the body is too large", "")
	case errors.As(err, &network) && network.Timeout():
		reply(ctx, fasthttp.StatusRequestTimeout, proto.CodeInvalid, "the request took too long", "")
	default:
		reply(ctx, fasthttp.StatusBadRequest, proto.CodeInvalid, "this is no HTTP request", "")
	}
	ctx.SetConnectionClose()
}

// httpLog is fasthttp's logger; strangers can make it speak.
type httpLog struct{ server *Server }

func (h httpLog) Printf(format string, args ...any) {
	if h.server.logBound.allows(time.Now()) {
		h.server.log.Info("http: " + fmt.Sprintf(format, args...))
	}
}
