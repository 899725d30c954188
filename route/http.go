package route

import (
	"bytes"
	"context"
	"errors"
	"net"
	"net/netip"
	"time"

	"github.com/valyala/fasthttp"

	"cim/internal/httpserve"
	"cim/proto"
	"cim/route/access"
)

const (
	// storeTimeout bounds all calls of the store that one request makes, from its start on. If the
	// store is away there is still time to ask one server, so a request is answered within 2 s.
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
	whole   []byte // all of the answer, if not nil; it may be shared
	unknown bool   // a server has not answered: it may have been done
	// returning: the receiver's session returns texts, and the message does not wait for it.
	// Nothing was done.
	returning bool
	deferred  deferredAnswer // the rest of the work; all other fields but anonymous are zero then
	received  bool           // the receiver has acknowledged the message
	receipt   uint64         // of a taken message whose sender wants a receipt; 0: none
	via       *stream        // that it was taken over

	receivers proto.Receivers // of a group message
	refused   string          // why the caller may not ask this, for the metrics; "": the caller may
	limited   string          // the limit that the request is above, for the metrics; "": none
	anonymous bool            // mode require would ask for a credential
}

func invalid(err error) answer { return answer{code: proto.CodeInvalid, message: err.Error()} }

// endpoint is one path of the API.
type endpoint struct {
	methods  string        // as the Allow header has them
	get      bool          // GET and HEAD are among them, beside POST
	timeout  time.Duration // of all calls of the store
	path     string
	serve    func(ctx context.Context, caller access.Caller, body []byte) answer
	requests *family[proto.Code]
}

func (r *Route) newEndpoints() map[string]*endpoint {
	all := map[string]*endpoint{
		proto.PathRegister: {serve: handle(r.register, func(q *proto.RegisterRequest) (access.Call, proto.Number) {
			if q.Find != 0 {
				return access.Find, 0
			}
			return access.Register, 0
		})},
		proto.PathLogin: {serve: handleAs(r.login, func(q *proto.LoginRequest) (access.Call, proto.Number) {
			return access.Login, q.UserID
		})},
		proto.PathOffLine: {serve: handle(r.offLine, func(q *proto.OffLineRequest) (access.Call, proto.Number) {
			return access.OffLine, q.UserID
		})},
		proto.PathGroup: {serve: handleAs(r.group, func(q *proto.GroupRequest) (access.Call, proto.Number) {
			return access.Group, q.UserID
		})},
		proto.PathPrivate: {serve: handleAs(r.private, func(q *proto.PrivateRequest) (access.Call, proto.Number) {
			return access.Private, q.UserID
		})},
		proto.PathFetchOffline: {serve: handle(r.fetchOffline, func(q *proto.FetchOfflineRequest) (access.Call, proto.Number) {
			return access.FetchOffline, q.ReceiveUserID
		})},
		proto.PathOnlineUser: {serve: r.listOnline, get: true, timeout: listTimeout},
	}
	for path, e := range all {
		e.path = path
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

// handle is handleAs for requests that do not depend on the caller.
func handle[T any](
	serve func(ctx context.Context, request *T) answer, about func(*T) (access.Call, proto.Number),
) func(context.Context, access.Caller, []byte) answer {
	return handleAs(func(ctx context.Context, _ access.Caller, request *T) answer { return serve(ctx, request) }, about)
}

// handleAs decodes the body, checks that the caller may make the request in its subject's name, and
// calls serve. about returns the kind of request and its subject.
func handleAs[T any](
	serve func(ctx context.Context, caller access.Caller, request *T) answer, about func(*T) (access.Call, proto.Number),
) func(context.Context, access.Caller, []byte) answer {
	return func(ctx context.Context, caller access.Caller, body []byte) answer {
		request := new(T)
		err := proto.DecodeBody(body, request)
		switch {
		case errors.Is(err, proto.ErrSyntax):
			return answer{status: fasthttp.StatusBadRequest, code: proto.CodeInvalid, message: err.Error()}
		case err != nil:
			return invalid(err)
		}
		call, subject := about(request)
		if refusal := caller.May(call, proto.UserID(subject)); refusal != nil {
			return forbidden(refusal)
		}
		if limited := caller.Spend(call, proto.UserID(subject), textsOf(request), len(body), time.Now()); limited != nil {
			return answer{code: proto.CodeLimit, message: limited.Text, limited: limited.What, anonymous: caller.Anonymous(call)}
		}
		a := serve(ctx, caller, request)
		a.anonymous = caller.Anonymous(call)
		return a
	}
}

// textsOf is how many texts a request counts as: 1 if it has none.
func textsOf(request any) int {
	switch q := request.(type) {
	case *proto.PrivateRequest:
		return max(1, len(q.BatchMsg))
	case *proto.GroupRequest:
		return max(1, len(q.BatchMsg))
	}
	return 1
}

func (r *Route) listOnline(ctx context.Context, caller access.Caller, body []byte) answer {
	if refusal := caller.May(access.OnlineUser, 0); refusal != nil {
		return forbidden(refusal)
	}
	a := r.onlineUser(ctx, body)
	a.anonymous = caller.Anonymous(access.OnlineUser)
	return a
}

func forbidden(refusal *access.Refusal) answer {
	if refusal.Status == 0 {
		return answer{code: proto.CodeLimit, message: refusal.Text, refused: refusal.Fault}
	}
	return answer{status: refusal.Status, code: proto.CodeInvalid, message: refusal.Text, refused: refusal.Fault}
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
		Beside:      r.overlapKeyOf,
		Refused:     r.onHTTPRefused,
		Evicted:     func(net.Addr) { r.counters.evicted.Inc() },
		Log:         r.log,
		Budget:      r.budget,
	})
}

// onHTTPRefused counts and logs each malformed request, and each connection above the limit.
func (r *Route) onHTTPRefused(status int, from net.Addr) {
	r.counters.http.inc(status)
	if status == fasthttp.StatusUnauthorized || status == fasthttp.StatusForbidden {
		return // refuseCaller has said more
	}
	r.notices.Say("HTTP request refused", "status", status, "from", from)
}

func (r *Route) serveRequest(ctx *fasthttp.RequestCtx) {
	path, token := pathOf(ctx)
	e := r.endpoints[string(path)]
	if e == nil {
		r.http.Refuse(ctx, fasthttp.StatusNotFound, "there is no such path")
		return
	}
	if !r.allowedOrigin(ctx, e) {
		return
	}
	if !ctx.IsPost() && !(e.get && (ctx.IsGet() || ctx.IsHead())) {
		r.http.RefuseMethod(ctx, e.methods)
		return
	}
	body, ok := r.http.Body(ctx)
	if !ok {
		return
	}
	if !ctx.IsPost() {
		body = httpserve.QueryObject(ctx)
	}
	r.serveEndpoint(ctx, e, token, body)
}

// pathOf is the path of a request, and the token in front of it, if any.
func pathOf(ctx *fasthttp.RequestCtx) (path []byte, token string) {
	path = httpserve.Path(ctx)
	if bytes.HasPrefix(path, []byte("/t/")) {
		text, call := access.SplitPath(string(path))
		return []byte(call), text
	}
	return path, ""
}

// allowedOrigin reports whether a request may be served, given the web page that it comes from. If
// not, it has answered the request: with a refusal, or with the answer to a browser's preflight
// request.
func (r *Route) allowedOrigin(ctx *fasthttp.RequestCtx, e *endpoint) bool {
	header := &ctx.Request.Header
	page := access.Origin{
		Origin: string(header.Peek(fasthttp.HeaderOrigin)), Site: string(header.Peek("Sec-Fetch-Site")), Host: string(ctx.Host()),
	}
	switch r.gate.Judge(page) {
	case access.Foreign:
		if ctx.IsGet() || ctx.IsHead() {
			return true // it changes nothing, and without our headers the page cannot read the answer
		}
		r.refuseCaller(ctx, e, "origin")
		r.http.Refuse(ctx, fasthttp.StatusForbidden, "a web page of another origin may not ask this: --allow-origin lists those that may")
		return false
	case access.Listed:
		answer := &ctx.Response.Header
		answer.Set(fasthttp.HeaderAccessControlAllowOrigin, page.Origin)
		answer.Set(fasthttp.HeaderVary, fasthttp.HeaderOrigin)
		if !ctx.IsOptions() {
			return true
		}
		answer.Set(fasthttp.HeaderAccessControlAllowMethods, e.methods)
		answer.Set(fasthttp.HeaderAccessControlAllowHeaders, "authorization, content-type")
		answer.Set(fasthttp.HeaderAccessControlMaxAge, "600") // seconds
		ctx.SetStatusCode(fasthttp.StatusNoContent)
		return false
	}
	return true
}

// serveEndpoint answers a request; token stood in its path.
func (r *Route) serveEndpoint(ctx *fasthttp.RequestCtx, e *endpoint, token string, body []byte) {
	a := r.answerTo(ctx, e, token, body)
	if a.anonymous {
		r.counters.anonymous.Inc()
		r.notices.Say("request without a token, which --auth require would refuse", "path", e.path, "from", r.clientAddr(ctx))
	}
	if a.refused != "" {
		r.refuseCaller(ctx, e, a.refused)
		if a.status == fasthttp.StatusUnauthorized {
			ctx.Response.Header.Set(fasthttp.HeaderWWWAuthenticate, "Bearer")
		}
	}
	if a.limited != "" {
		r.counters.limited.inc(a.limited)
	}
	if a.status != 0 {
		r.http.Refuse(ctx, a.status, a.message)
		return
	}
	if a.deferred != nil {
		a.deferred.start(ctx, e)
		return
	}
	r.writeAnswer(ctx, e, a)
}

// countAnswer counts an answer, and logs it if it is a refusal.
func (r *Route) countAnswer(e *endpoint, a answer, from netip.Addr) {
	e.requests.inc(a.code)
	if a.code == proto.CodeInvalid || a.code == proto.CodeLimit || a.code == proto.CodeOfflineStore {
		attrs := []any{"path", e.path, "code", a.code.String(), "from", from}
		if a.limited != "" {
			attrs = append(attrs, "limit", a.limited)
		}
		r.notices.Say("request refused", attrs...)
	}
}

// writeAnswer answers a request of the API.
func (r *Route) writeAnswer(ctx *fasthttp.RequestCtx, e *endpoint, a answer) {
	r.countAnswer(e, a, r.clientAddr(ctx))
	if a.whole != nil {
		r.http.AnswerWhole(ctx, a.whole)
		return
	}
	r.http.Answer(ctx, a.code, a.message, a.body)
}

// refuseCaller counts a request that its caller may not make, and logs why not.
func (r *Route) refuseCaller(ctx *fasthttp.RequestCtx, e *endpoint, why string) {
	r.counters.access.inc(why)
	r.notices.Say("request refused: its caller may not make it", "why", why, "path", e.path, "from", r.clientAddr(ctx))
}

func (r *Route) answerTo(ctx *fasthttp.RequestCtx, e *endpoint, token string, body []byte) answer {
	caller, refusal := r.gate.Identify(access.Credential{
		Header: string(ctx.Request.Header.Peek(fasthttp.HeaderAuthorization)), Path: token, From: r.clientAddr(ctx),
	}, time.Now())
	if refusal != nil {
		return forbidden(refusal)
	}
	work := newDeadline(e.timeout)
	defer work.stop()
	if refused := r.refuseRevoked(work, caller); refused != nil {
		return *refused
	}
	return e.serve(work, caller, body)
}

// clientAddr is the address of a request's client, also behind trusted proxies.
func (r *Route) clientAddr(ctx *fasthttp.RequestCtx) netip.Addr {
	return httpserve.ClientAddr(ctx, r.config.Addresses)
}
