// Package httpserve is an HTTP listener that strangers may reach: it bounds the
// connections, and the size and time of a request, tells every refusal in the
// JSON of the API, and drains.
//
// A Server owns its connections. What a request asks is the handler's matter.
package httpserve

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strconv"
	"time"

	"github.com/valyala/fasthttp"

	"cim/proto"
)

const (
	// SendTimeout is how long a client may take to send a request, and to read
	// its answer.
	SendTimeout = 5 * time.Second
	// idleTimeout is how long a connection may wait for its next request.
	idleTimeout = time.Minute
	// messageMax bounds an answer's message in bytes: some quote what they
	// refuse.
	messageMax = 256
)

// Config is what a Server is told. All of it is needed.
type Config struct {
	// ConnsMax bounds the connections that are open at once; the next one is
	// answered 429 and closed.
	ConnsMax int
	// BodyMax bounds a request's body in bytes.
	BodyMax int
	// Handler serves a request.
	Handler func(*fasthttp.RequestCtx)
	// Refused is told of each refusal, by any goroutine.
	Refused func(status int, from net.Addr)
	Log     *slog.Logger
}

// Server serves one listener.
type Server struct {
	config Config
	http   *fasthttp.Server
	conns  *conns
}

// New returns a server for listener, which it closes. Run serves.
func New(listener net.Listener, config Config) *Server {
	s := &Server{config: config, conns: newConns(listener, config)}
	s.http = &fasthttp.Server{
		Handler:                      config.Handler,
		ErrorHandler:                 s.refuseUnreadable,
		ConnState:                    s.conns.stateChanged,
		Logger:                       quietLog{config.Log},
		ReadTimeout:                  SendTimeout,
		WriteTimeout:                 SendTimeout,
		IdleTimeout:                  idleTimeout,
		MaxRequestBodySize:           config.BodyMax,
		Concurrency:                  config.ConnsMax + 1, // conns has the bound; this one is never reached
		NoDefaultServerHeader:        true,
		SecureErrorLogMessage:        true,
		DisablePreParseMultipartForm: true,
	}
	s.conns.serve = s.http.ServeConn
	return s
}

// Run accepts until Drain, and then returns nil. Any other end is one that
// nobody asked for. ctx ends only its pauses.
func (s *Server) Run(ctx context.Context) error { return s.conns.run(ctx) }

// Drain accepts no more, ends the idle connections, and waits for the others
// until their request is answered or ctx ends; then it ends them too.
func (s *Server) Drain(ctx context.Context) { s.conns.drain(ctx) }

// Draining reports whether Drain has begun.
func (s *Server) Draining() bool { return s.conns.draining.Load() }

// Conns is how many connections are open.
func (s *Server) Conns() int { return s.conns.count() }

// Addr is the address that the server listens on, with its real port.
func (s *Server) Addr() net.Addr { return s.conns.listener.Addr() }

// Answer answers a request that was read. message "" stands for the code's
// own, body "" for null.
func (s *Server) Answer(ctx *fasthttp.RequestCtx, code proto.Code, message, body string) {
	if s.Draining() {
		ctx.SetConnectionClose()
	}
	ctx.SetContentType("application/json")
	message = message[:min(len(message), messageMax)]
	ctx.Response.SetBodyRaw(proto.AppendAnswer(nil, code, message, body))
}

// Refuse answers what is no request of the API with an HTTP status.
func (s *Server) Refuse(ctx *fasthttp.RequestCtx, status int, message string) {
	s.config.Refused(status, ctx.RemoteAddr())
	ctx.SetStatusCode(status)
	s.Answer(ctx, refusalCode(status), message, "")
}

// RefuseMethod answers a method that a path does not have.
func (s *Server) RefuseMethod(ctx *fasthttp.RequestCtx, allowed string) {
	ctx.Response.Header.Set(fasthttp.HeaderAllow, allowed)
	s.Refuse(ctx, fasthttp.StatusMethodNotAllowed, "the method is not allowed here, want "+allowed)
}

func refusalCode(status int) proto.Code {
	switch status {
	case fasthttp.StatusTooManyRequests:
		return proto.CodeLimit
	case fasthttp.StatusRequestTimeout:
		return proto.CodeFailure
	}
	return proto.CodeInvalid
}

// refuseUnreadable is fasthttp's hook for what it could not read as a request.
func (s *Server) refuseUnreadable(ctx *fasthttp.RequestCtx, err error) {
	if conn, ok := ctx.Conn().(*httpConn); ok {
		conn.linger.Store(true)
	}
	var small *fasthttp.ErrSmallBuffer
	var network net.Error
	switch {
	case errors.Is(err, fasthttp.ErrBodyTooLarge):
		s.Refuse(ctx, fasthttp.StatusRequestEntityTooLarge,
			"the body is longer than "+strconv.Itoa(s.config.BodyMax)+" bytes")
	case errors.As(err, &small):
		s.Refuse(ctx, fasthttp.StatusRequestEntityTooLarge, "the header is too long")
	case errors.As(err, &network) && network.Timeout():
		s.Refuse(ctx, fasthttp.StatusRequestTimeout, "the request took longer than "+SendTimeout.String())
	default:
		s.Refuse(ctx, fasthttp.StatusBadRequest, "this is no HTTP request")
	}
}

// surplusAnswer is the whole HTTP response to a connection above the cap.
func surplusAnswer() []byte {
	body := proto.AppendAnswer(nil, proto.CodeLimit, "too many connections, try again later", "")
	head := "HTTP/1.1 429 Too Many Requests\r\nContent-Type: application/json\r\nConnection: close\r\n" +
		"Retry-After: 1\r\nContent-Length: " + strconv.Itoa(len(body)) + "\r\n\r\n"
	return append([]byte(head), body...)
}

// quietLog is what fasthttp itself has to say, which is about single
// connections and never more than a debugger wants.
type quietLog struct{ log *slog.Logger }

// Printf implements fasthttp.Logger.
func (l quietLog) Printf(format string, args ...any) {
	l.log.Debug("http: " + fmt.Sprintf(format, args...))
}
