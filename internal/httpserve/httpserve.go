// Package httpserve is an HTTP listener that strangers may reach: it bounds the
// connections, the size and time of a request, and what requests hold in memory
// together; it tells every refusal in the JSON of the API, and drains.
//
// A Server owns its connections. When all places are taken, a newcomer gets that of
// the connection that has idled longest, or of one whose request takes long to come
// in. What a request asks is the handler's matter. A Guard does the same for an
// http.Server, and keeps room for the paths that must always be answered.
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
	// SendTimeout is how long a client may take to send a request, and to read
	// its answer.
	SendTimeout = 5 * time.Second
	// HeaderMax bounds the head of a request in bytes: its first line and its
	// header. Proxies and clients send up to 8 KiB, which Tomcat takes too, and
	// proxies add to it.
	HeaderMax = 16 << 10
	// messageMax bounds an answer's message in bytes: some quote what they
	// refuse.
	messageMax = 256
)

// Bounds and default of Config.IdleTimeout. The default is above the 60 s for
// which proxies keep a connection, as nginx' own: whoever closes first must be
// the one that sends.
const (
	IdleTimeoutMin     = time.Second
	IdleTimeoutMax     = time.Hour
	IdleTimeoutDefault = 75 * time.Second
)

// CheckIdleTimeout reports what is wrong with the time-out of a setting.
func CheckIdleTimeout(d time.Duration) error {
	if d < IdleTimeoutMin || d > IdleTimeoutMax {
		return fmt.Errorf("http-idle-timeout %v is not %v to %v", d, IdleTimeoutMin, IdleTimeoutMax)
	}
	return nil
}

// Config is what a Server is told. All of it is needed but Budget and Beside.
type Config struct {
	// ConnsMax bounds the connections that are open at once. The next one takes
	// the place of one that idles, or is answered 429 and closed.
	ConnsMax int
	// Addresses says how the connections are divided among addresses.
	Addresses admission.Policy
	// IdleTimeout is how long a connection may wait for its next request.
	IdleTimeout time.Duration
	// Port is what the log calls the listener. Paused is called each time that
	// it pauses for want of descriptors.
	Port   string
	Paused func()
	// BodyMax bounds a request's body in bytes.
	BodyMax int
	// Budget is the bound of the process; nil: none.
	Budget *budget.Budget
	// Handler serves a request.
	Handler func(*fasthttp.RequestCtx)
	// Beside is the lane of a request that has come while its connection owes answers;
	// nil: no request is begun before those are given. It must not wait.
	Beside func(*fasthttp.RequestCtx) Lane
	// Refused is told of each refusal, by any goroutine.
	Refused func(status int, from net.Addr)
	// Evicted is told of each connection whose place a newcomer took. It must
	// not wait.
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
		Concurrency:                  2*config.ConnsMax + 1, // places have the bound, of victims too; this one is never reached
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

// Run accepts until Drain, and then returns nil. Any other end is one that
// nobody asked for.
func (s *Server) Run() error { return s.conns.run() }

// Drain accepts no more, ends the idle connections, and waits for the others
// until their request is answered or ctx ends; then it ends them too.
func (s *Server) Drain(ctx context.Context) {
	s.conns.drain(ctx)
	s.leave()
}

// Draining reports whether Drain has begun.
func (s *Server) Draining() bool { return s.conns.draining.Load() }

// Conns is how many connections are open.
func (s *Server) Conns() int { return s.conns.count() }

// Addr is the address that the server listens on, with its real port.
func (s *Server) Addr() net.Addr { return s.conns.listener.Addr() }

// serve is fasthttp's hook for a request that has been read.
func (s *Server) serve(ctx *fasthttp.RequestCtx) {
	if conn, ok := ctx.Conn().(*httpConn); ok {
		s.conns.memory.leave(conn.occupant)
		conn.answers.serve(func() Lane { return s.laneOf(ctx) })
		if !s.conns.read(conn.occupant) {
			return // its connection is closed
		}
	}
	s.config.Handler(ctx)
}

func (s *Server) laneOf(ctx *fasthttp.RequestCtx) Lane {
	if s.config.Beside == nil {
		return Lane{}
	}
	return s.config.Beside(ctx)
}

// Path is the path of a request without the slash that some proxies and
// libraries put at its end.
func Path(ctx *fasthttp.RequestCtx) []byte {
	return bytes.TrimSuffix(ctx.Path(), []byte("/"))
}

// FromPage reports whether a web page in a browser makes the request: browsers say
// so of each POST.
func FromPage(ctx *fasthttp.RequestCtx) bool {
	header := &ctx.Request.Header
	return len(header.Peek(fasthttp.HeaderOrigin)) > 0 || len(header.Peek("Sec-Fetch-Site")) > 0
}

// Body is the body of a request; ok is false if it has been refused since it is
// encoded. It is valid until the handler returns.
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

// QueryObject is the query of a request as a JSON object of strings, so that it is
// read as a body is.
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

// Answer answers a request that was read. message "" stands for the code's
// own, body "" for null.
func (s *Server) Answer(ctx *fasthttp.RequestCtx, code proto.Code, message, body string) {
	message = message[:min(len(message), messageMax)]
	var whole []byte
	if len(body) > smallBytes {
		whole = make([]byte, 0, len(body)+2*messageMax) // once, not again and again as it grows
	}
	whole = proto.AppendAnswer(whole, code, message, body)
	if conn, ok := ctx.Conn().(*httpConn); ok && !conn.reserve(len(whole)) {
		conn.refused.Store(false) // its next request is another
		s.Refuse(ctx, fasthttp.StatusServiceUnavailable, "too many long answers are being read, try again later")
		return
	}
	s.AnswerWhole(ctx, whole)
}

// AnswerWhole answers with what proto.AppendAnswer made, which must not change
// any more.
func (s *Server) AnswerWhole(ctx *fasthttp.RequestCtx, answer []byte) {
	if s.Draining() {
		ctx.SetConnectionClose()
	}
	ctx.SetContentType("application/json")
	ctx.Response.SetBodyRaw(answer)
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
	case fasthttp.StatusTooManyRequests, fasthttp.StatusServiceUnavailable:
		return proto.CodeLimit
	case fasthttp.StatusRequestTimeout:
		return proto.CodeFailure
	}
	return proto.CodeInvalid
}

// refuseUnreadable is fasthttp's hook for what it could not read as a request.
func (s *Server) refuseUnreadable(ctx *fasthttp.RequestCtx, err error) {
	if errors.Is(err, syscall.ECONNRESET) {
		return // there is nobody to answer
	}
	conn, ok := ctx.Conn().(*httpConn)
	if ok {
		conn.linger.Store(true)
	}
	status, message := s.unreadable(err)
	if ok && conn.refused.Load() { // fasthttp does not keep the error in each case
		status, message = fasthttp.StatusServiceUnavailable, "too many long bodies are coming in, try again later"
	}
	s.Refuse(ctx, status, message)
}

// unreadable is the answer to a request that could not be read.
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

// unquoted is what err says in front of what it quotes of a request: a token may
// stand there, and clients log what they are answered.
func unquoted(err error) string {
	said, _, _ := strings.Cut(err.Error(), `"`)
	return strings.TrimRight(said, ": ")
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
