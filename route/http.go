package route

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
	// sendTimeout is how long a client may take to send a request, and to
	// read its answer.
	sendTimeout = 5 * time.Second
	// idleTimeout is how long a connection may wait for its next request.
	idleTimeout = time.Minute
	// storeTimeout bounds all that one request asks of the store.
	storeTimeout = 2 * time.Second
	// messageMax bounds an answer's message in bytes: some quote what they
	// refuse.
	messageMax = 256
)

// answer is what a request gets.
type answer struct {
	status  int // of HTTP; 0 is 200
	code    proto.Code
	message string // "": the code's own
	body    string // the JSON of dataBody; "": null
}

func invalid(err error) answer { return answer{code: proto.CodeInvalid, message: err.Error()} }

// endpoint is one path of the API.
type endpoint struct {
	methods  string // as the Allow header has them
	get      bool   // GET is one of them, beside POST
	serve    func(ctx context.Context, body []byte) answer
	requests *family[proto.Code]
}

func (r *Route) newEndpoints() map[string]*endpoint {
	all := map[string]*endpoint{
		proto.PathRegister:     {serve: reading(r.register)},
		proto.PathLogin:        {serve: reading(r.login)},
		proto.PathOffLine:      {serve: reading(r.offLine)},
		proto.PathGroup:        {serve: reading(r.group)},
		proto.PathPrivate:      {serve: reading(r.private)},
		proto.PathFetchOffline: {serve: reading(r.fetchOffline)},
		proto.PathOnlineUser:   {serve: r.onlineUser, get: true},
	}
	for path, e := range all {
		e.requests = r.counters.requestsTo(path)
		e.methods = "POST"
		if e.get {
			e.methods = "GET, POST"
		}
	}
	return all
}

// reading decodes the body before serve.
func reading[T any](serve func(ctx context.Context, request *T) answer) func(context.Context, []byte) answer {
	return func(ctx context.Context, body []byte) answer {
		request := new(T)
		err := proto.DecodeBody(body, request)
		switch {
		case errors.Is(err, proto.ErrSyntax):
			return answer{status: fasthttp.StatusBadRequest, code: proto.CodeInvalid, message: err.Error()}
		case err != nil:
			return invalid(err)
		}
		return serve(ctx, request)
	}
}

func (r *Route) newHTTPServer() *fasthttp.Server {
	return &fasthttp.Server{
		Handler:                      r.serveRequest,
		ErrorHandler:                 r.serveUnreadable,
		ConnState:                    r.conns.stateChanged,
		Logger:                       httpLog{r.log},
		ReadTimeout:                  sendTimeout,
		WriteTimeout:                 sendTimeout,
		IdleTimeout:                  idleTimeout,
		MaxRequestBodySize:           proto.BodyMax,
		Concurrency:                  r.config.HTTPConnsMax + 1, // conns has the bound; this one is never reached
		NoDefaultServerHeader:        true,
		SecureErrorLogMessage:        true,
		DisablePreParseMultipartForm: true,
	}
}

// httpLog is what fasthttp itself has to say, which is about single
// connections and never more than a debugger wants.
type httpLog struct{ log *slog.Logger }

// Printf implements fasthttp.Logger.
func (l httpLog) Printf(format string, args ...any) {
	l.log.Debug("http: " + fmt.Sprintf(format, args...))
}

func (r *Route) serveRequest(ctx *fasthttp.RequestCtx) {
	e := r.endpoints[string(ctx.Path())]
	switch {
	case e == nil:
		r.refuse(ctx, fasthttp.StatusNotFound, "there is no such path")
	case !ctx.IsPost() && !(e.get && ctx.IsGet()):
		ctx.Response.Header.Set(fasthttp.HeaderAllow, e.methods)
		r.refuse(ctx, fasthttp.StatusMethodNotAllowed, "the method is not allowed here")
	default:
		r.serveEndpoint(ctx, e)
	}
}

func (r *Route) serveEndpoint(ctx *fasthttp.RequestCtx, e *endpoint) {
	work := newDeadline(storeTimeout)
	a := e.serve(work, ctx.PostBody())
	work.stop()
	if a.status != 0 {
		r.refuse(ctx, a.status, a.message)
		return
	}
	e.requests.inc(a.code)
	if a.code == proto.CodeInvalid || a.code == proto.CodeLimit || a.code == proto.CodeOfflineStore {
		r.notices.say("request refused", "path", string(ctx.Path()), "code", a.code.String(), "from", ctx.RemoteIP())
	}
	r.write(ctx, a)
}

// refuse answers a request that is none.
func (r *Route) refuse(ctx *fasthttp.RequestCtx, status int, message string) {
	r.counters.http.inc(status)
	r.notices.say("HTTP request refused", "status", status, "from", ctx.RemoteIP())
	r.write(ctx, answer{status: status, code: refusalCode(status), message: message})
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

// serveUnreadable is fasthttp's hook for what it could not read as a request.
func (r *Route) serveUnreadable(ctx *fasthttp.RequestCtx, err error) {
	if conn, ok := ctx.Conn().(*httpConn); ok {
		conn.linger.Store(true)
	}
	var small *fasthttp.ErrSmallBuffer
	var network net.Error
	switch {
	case errors.Is(err, fasthttp.ErrBodyTooLarge):
		r.refuse(ctx, fasthttp.StatusRequestEntityTooLarge,
			"the body is longer than "+strconv.Itoa(proto.BodyMax)+" bytes")
	case errors.As(err, &small):
		r.refuse(ctx, fasthttp.StatusRequestEntityTooLarge, "the header is too long")
	case errors.As(err, &network) && network.Timeout():
		r.refuse(ctx, fasthttp.StatusRequestTimeout, "the request took longer than "+sendTimeout.String())
	default:
		r.refuse(ctx, fasthttp.StatusBadRequest, "this is no HTTP request")
	}
}

func (r *Route) write(ctx *fasthttp.RequestCtx, a answer) {
	if a.status != 0 {
		ctx.SetStatusCode(a.status)
	}
	if r.conns.draining.Load() {
		ctx.SetConnectionClose()
	}
	ctx.SetContentType("application/json")
	message := a.message[:min(len(a.message), messageMax)]
	ctx.Response.SetBodyRaw(proto.AppendAnswer(nil, a.code, message, a.body))
}

// refuseConn tells of a connection above the cap.
func (r *Route) refuseConn(conn net.Conn) {
	r.counters.http.inc(fasthttp.StatusTooManyRequests)
	r.notices.say("HTTP connection refused", "from", conn.RemoteAddr(), "max", r.config.HTTPConnsMax)
}

// surplusAnswer is the whole HTTP response to a connection above the cap.
func surplusAnswer() []byte {
	body := proto.AppendAnswer(nil, proto.CodeLimit, "too many connections, try again later", "")
	head := "HTTP/1.1 429 Too Many Requests\r\nContent-Type: application/json\r\nConnection: close\r\n" +
		"Retry-After: 1\r\nContent-Length: " + strconv.Itoa(len(body)) + "\r\n\r\n"
	return append([]byte(head), body...)
}
