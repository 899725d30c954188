package route

import (
	"context"
	"errors"
	"net"
	"time"

	"github.com/valyala/fasthttp"

	"cim/internal/httpserve"
	"cim/proto"
)

const (
	// storeTimeout bounds all that one request asks of the store, from its
	// beginning on. A store that is away leaves time for one ask of a server, so
	// that whoever asks has his answer within 2 s.
	storeTimeout = 1500 * time.Millisecond
	// listTimeout is the same for a list of all connected users.
	listTimeout = 5 * time.Second
)

// answer is what a request gets.
type answer struct {
	status  int // of HTTP; 0 is 200
	code    proto.Code
	message string // "": the code's own
	body    string // the JSON of dataBody; "": null
	unknown bool   // it may be done all the same: a server has not answered

	receivers proto.Receivers // of a group message
}

func invalid(err error) answer { return answer{code: proto.CodeInvalid, message: err.Error()} }

// endpoint is one path of the API.
type endpoint struct {
	methods  string        // as the Allow header has them
	get      bool          // GET and HEAD are among them, beside POST
	timeout  time.Duration // of all that it asks of the store
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
		proto.PathOnlineUser:   {serve: r.onlineUser, get: true, timeout: listTimeout},
	}
	for path, e := range all {
		e.requests = r.counters.requestsTo(path)
		e.methods = "POST"
		if e.timeout == 0 {
			e.timeout = storeTimeout
		}
		if e.get {
			e.methods = "GET, HEAD, POST"
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

func (r *Route) newHTTP(listener net.Listener) *httpserve.Server {
	return httpserve.New(listener, httpserve.Config{
		ConnsMax:    r.config.HTTPConnsMax,
		Addresses:   r.config.Addresses,
		IdleTimeout: r.config.HTTPIdle,
		Port:        "route-port",
		Paused:      r.counters.acceptPauses.Inc,
		BodyMax:     proto.BodyMax,
		Handler:     r.serveRequest,
		Refused:     r.refused,
		Evicted:     func(net.Addr) { r.counters.evicted.Inc() },
		Log:         r.log,
	})
}

// refused is told of each request that is none, and of each connection above
// the cap.
func (r *Route) refused(status int, from net.Addr) {
	r.counters.http.inc(status)
	r.notices.say("HTTP request refused", "status", status, "from", from)
}

func (r *Route) serveRequest(ctx *fasthttp.RequestCtx) {
	e := r.endpoints[string(httpserve.Path(ctx))]
	switch {
	case e == nil:
		r.http.Refuse(ctx, fasthttp.StatusNotFound, "there is no such path")
	case !ctx.IsPost() && !(e.get && (ctx.IsGet() || ctx.IsHead())):
		r.http.RefuseMethod(ctx, e.methods)
	default:
		if body, ok := r.http.Body(ctx); ok {
			r.serveEndpoint(ctx, e, body)
		}
	}
}

func (r *Route) serveEndpoint(ctx *fasthttp.RequestCtx, e *endpoint, body []byte) {
	work := newDeadline(e.timeout)
	a := e.serve(work, body)
	work.stop()
	if a.status != 0 {
		r.http.Refuse(ctx, a.status, a.message)
		return
	}
	e.requests.inc(a.code)
	if a.code == proto.CodeInvalid || a.code == proto.CodeLimit || a.code == proto.CodeOfflineStore {
		r.notices.say("request refused", "path", string(httpserve.Path(ctx)), "code", a.code.String(), "from", ctx.RemoteIP())
	}
	r.http.Answer(ctx, a.code, a.message, a.body)
}
