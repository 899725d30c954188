// Package httpserve is an HTTP listener for the open network: it bounds the
// connections, the size and time of a request, and the memory of all requests
// together; it answers every refusal in the JSON of the API, and drains.
//
// A Server owns its connections. When all places are taken, a new connection evicts
// the one that has idled longest, or one whose request comes in slowly. The handler
// decides what requests mean. A Guard does the same for an http.Server, and keeps
// room for the paths that must always be answered.
package httpserve

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/valyala/fasthttp"

	"cim/internal/admission"
	"cim/internal/budget"
	"cim/proto"
)

const (
	// SendTimeout is how long a client may take to send a request, and to read its
	// answer.
	SendTimeout = 5 * time.Second
	// HeaderMax bounds the head of a request in bytes: its first line and its
	// header. Proxies and clients send up to 8 KiB, which Tomcat accepts too, and
	// proxies add to it.
	HeaderMax = 16 << 10
	// messageMax bounds an answer's message in bytes: some quote the refused value.
	messageMax = 256
)

// Bounds and default of Config.IdleTimeout. The default is above the 60 s for which
// proxies keep a connection, as nginx' own: the end that sends must be the one that
// closes first.
const (
	IdleTimeoutMin     = time.Second
	IdleTimeoutMax     = time.Hour
	IdleTimeoutDefault = 75 * time.Second
)

// CheckIdleTimeout checks the time-out of a setting.
func CheckIdleTimeout(d time.Duration) error {
	if d < IdleTimeoutMin || d > IdleTimeoutMax {
		return fmt.Errorf("http-idle-timeout %v is not %v to %v", d, IdleTimeoutMin, IdleTimeoutMax)
	}
	return nil
}

// Config is the configuration of a Server. All fields but Budget and Beside are
// required.
type Config struct {
	// ConnsMax bounds the open connections. The next one evicts an idle one, or is
	// answered 429 and closed.
	ConnsMax int
	// Addresses divides the connections among addresses.
	Addresses admission.Policy
	// IdleTimeout is how long a connection may wait for its next request.
	IdleTimeout time.Duration
	// Port is the listener's name in the log. Paused is called each time that the
	// listener pauses for want of descriptors.
	Port   string
	Paused func()
	// BodyMax bounds a request's body in bytes.
	BodyMax int
	// Budget is the bound of the process; nil: none.
	Budget *budget.Budget
	// Handler serves a request.
	Handler func(*fasthttp.RequestCtx)
	// Beside is the OverlapKey of a request that has come while its connection owes
	// answers; nil: no request begins before those are given. It must not wait.
	Beside func(*fasthttp.RequestCtx) OverlapKey
	// Refused is called for each refusal, by any goroutine.
	Refused func(status int, from net.Addr)
	// Evicted is called for each evicted connection. It must not wait.
	Evicted func(from net.Addr)
	Log     *slog.Logger
}

// Server serves one listener.
type Server struct {
	config Config
	http   *fasthttp.Server
	conns  *conns
	leave  func() // the budget
}

// New returns a server for listener, which it closes. Run serves.
func New(listener net.Listener, config Config) *Server {
	s := &Server{config: config, conns: newConns(listener, config), leave: func() {}}
	s.http = &fasthttp.Server{
		Handler:                      s.serve,
		ErrorHandler:                 s.refuseUnreadable,
		ConnState:                    s.conns.stateChanged,
		Logger:                       quietLog{config.Log},
		ReadTimeout:                  SendTimeout,
		IdleTimeout:                  config.IdleTimeout,
		ReadBufferSize:               HeaderMax,
		ReduceMemoryUsage:            true, // an idle connection keeps no buffers of fasthttp
		MaxRequestBodySize:           config.BodyMax,
		Concurrency:                  2*config.ConnsMax + 1, // never reached: places bound the connections, including victims
		NoDefaultServerHeader:        true,
		SecureErrorLogMessage:        true,
		DisablePreParseMultipartForm: true,
	}
	s.conns.serve = s.http.ServeConn
	if config.Budget != nil {
		s.leave = config.Budget.Join(s.conns)
	}
	return s
}

// Run accepts until Drain, and then returns nil. Any other return is an error.
func (s *Server) Run() error { return s.conns.run() }

// Drain stops accepting, ends the idle connections, and waits for the others until
// their request is answered or ctx ends; then it ends them too.
func (s *Server) Drain(ctx context.Context) {
	s.conns.drain(ctx)
	s.leave()
}

// Draining reports whether Drain has begun.
func (s *Server) Draining() bool { return s.conns.draining.Load() }

// Conns is the number of open connections.
func (s *Server) Conns() int { return s.conns.count() }

// Addr is the address that the server listens on, with its real port.
func (s *Server) Addr() net.Addr { return s.conns.listener.Addr() }

// serve is fasthttp's hook for a request that has been read.
func (s *Server) serve(ctx *fasthttp.RequestCtx) {
	if conn, ok := ctx.Conn().(*httpConn); ok {
		s.conns.memory.removeHolder(conn.occupant)
		conn.answers.onRequest(func() OverlapKey { return s.keyOf(ctx) })
		if !s.conns.onRequestRead(conn.occupant) {
			return // its connection is closed
		}
	}
	s.config.Handler(ctx)
}

func (s *Server) keyOf(ctx *fasthttp.RequestCtx) OverlapKey {
	if s.config.Beside == nil {
		return OverlapKey{}
	}
	return s.config.Beside(ctx)
}

// Path is the path of a request without a slash at its end, which some proxies and
// libraries add.
func Path(ctx *fasthttp.RequestCtx) []byte {
	return bytes.TrimSuffix(ctx.Path(), []byte("/"))
}

// FromPage reports whether a web page in a browser made the request: browsers mark
// each POST.
func FromPage(ctx *fasthttp.RequestCtx) bool {
	header := &ctx.Request.Header
	return len(header.Peek(fasthttp.HeaderOrigin)) > 0 || len(header.Peek("Sec-Fetch-Site")) > 0
}

// Body is the body of a request; ok is false if an encoded body was refused. It is
// valid until the handler returns.
func (s *Server) Body(ctx *fasthttp.RequestCtx) (body []byte, ok bool) {
	for _, encoding := range ctx.Request.Header.PeekAll(fasthttp.HeaderContentEncoding) {
		if len(encoding) > 0 && !strings.EqualFold(string(encoding), "identity") {
			ctx.Response.Header.Set(fasthttp.HeaderAcceptEncoding, "identity")
			s.Refuse(ctx, fasthttp.StatusUnsupportedMediaType,
				fmt.Sprintf("the body has Content-Encoding %q: send it without, compressed bodies are not read", encoding))
			return nil, false
		}
	}
	return ctx.PostBody(), true
}

// QueryObject is the query of a request as a JSON object of strings, to be decoded
// as a body.
func QueryObject(ctx *fasthttp.RequestCtx) []byte {
	object := []byte{'{'}
	for key, value := range ctx.QueryArgs().All() {
		if len(object) > 1 {
			object = append(object, ',')
		}
		object = proto.AppendText(object, string(key))
		object = append(object, ':')
		object = proto.AppendText(object, string(value))
	}
	return append(object, '}')
}

// Answer answers a request. An empty message stands for the code's own, an empty
// body for null.
func (s *Server) Answer(ctx *fasthttp.RequestCtx, code proto.Code, message, body string) {
	message = message[:min(len(message), messageMax)]
	var whole []byte
	if len(body) > smallBytes {
		whole = make([]byte, 0, len(body)+2*messageMax) // large enough at once
	}
	whole = proto.AppendAnswer(whole, code, message, body)
	if conn, ok := ctx.Conn().(*httpConn); ok && !conn.reserve(len(whole)) {
		conn.refused.Store(false) // its next request is another
		s.Refuse(ctx, fasthttp.StatusServiceUnavailable, "too many long answers are being read, try again later")
		return
	}
	s.AnswerWhole(ctx, whole)
}

// AnswerWhole answers with the result of proto.AppendAnswer, which must not change
// afterwards.
func (s *Server) AnswerWhole(ctx *fasthttp.RequestCtx, answer []byte) {
	if s.Draining() {
		ctx.SetConnectionClose()
	}
	ctx.SetContentType("application/json")
	ctx.Response.SetBodyRaw(answer)
}

// Refuse answers a request outside the API with an HTTP status.
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
	case fasthttp.StatusTooManyRequests, fasthttp.StatusServiceUnavailable:
		return proto.CodeLimit
	case fasthttp.StatusRequestTimeout:
		return proto.CodeFailure
	}
	return proto.CodeInvalid
}

// refuseUnreadable is fasthttp's hook for unreadable requests.
func (s *Server) refuseUnreadable(ctx *fasthttp.RequestCtx, err error) {
	if errors.Is(err, syscall.ECONNRESET) {
		return // the peer has closed
	}
	conn, ok := ctx.Conn().(*httpConn)
	if ok {
		conn.linger.Store(true)
	}
	status, message := s.unreadable(err)
	if ok && conn.refused.Load() { // fasthttp does not always keep the error
		status, message = fasthttp.StatusServiceUnavailable, "too many long bodies are coming in, try again later"
	}
	s.Refuse(ctx, status, message)
}

// unreadable is the answer to an unreadable request.
func (s *Server) unreadable(err error) (status int, message string) {
	var small *fasthttp.ErrSmallBuffer
	var chunk fasthttp.ErrBrokenChunk
	var network net.Error
	switch {
	case errors.Is(err, fasthttp.ErrBodyTooLarge):
		return fasthttp.StatusRequestEntityTooLarge, "the body is longer than " + strconv.Itoa(s.config.BodyMax) + " bytes"
	case errors.As(err, &small):
		return fasthttp.StatusRequestHeaderFieldsTooLarge,
			"the header is longer than " + strconv.Itoa(HeaderMax) + " bytes"
	case errors.As(err, &network) && network.Timeout():
		return fasthttp.StatusRequestTimeout, "the request took longer than " + SendTimeout.String()
	case errors.Is(err, fasthttp.ErrUnsupportedTransferEncoding):
		return fasthttp.StatusNotImplemented, "the body has a Transfer-Encoding other than chunked, alone and in HTTP/1.1: no other is read"
	case errors.Is(err, errBareLF):
		return fasthttp.StatusBadRequest, errBareLF.Error()
	case errors.As(err, &chunk):
		return fasthttp.StatusBadRequest, "the chunks of the body cannot be read"
	case errors.Is(err, io.ErrUnexpectedEOF):
		return fasthttp.StatusBadRequest, "the request ended before its body was complete"
	}
	return fasthttp.StatusBadRequest, "this is no HTTP request: " + unquoted(err)
}

// unquoted is the text of err before any quotation of the request: a quotation may
// contain a token, and clients log answers.
func unquoted(err error) string {
	said, _, _ := strings.Cut(err.Error(), `"`)
	return strings.TrimRight(said, ": ")
}

// surplusAnswer is the whole HTTP response to a connection above the bound.
func surplusAnswer() []byte {
	body := proto.AppendAnswer(nil, proto.CodeLimit, "too many connections, try again later", "")
	head := "HTTP/1.1 429 Too Many Requests\r\nContent-Type: application/json\r\nConnection: close\r\n" +
		"Retry-After: 1\r\nContent-Length: " + strconv.Itoa(len(body)) + "\r\n\r\n"
	return append([]byte(head), body...)
}

// quietLog is fasthttp's own logger; its lines are about single connections and
// logged at level debug.
type quietLog struct{ log *slog.Logger }

// Printf implements fasthttp.Logger.
func (l quietLog) Printf(format string, args ...any) {
	l.log.Debug("http: " + fmt.Sprintf(format, args...))
}
