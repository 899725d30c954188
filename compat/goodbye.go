package compat

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/valyala/fasthttp"

	"cim/internal/metrics"
	"cim/internal/notice"
	"cim/proto"
)

const (
	// RouteURLsMax bounds the routes of the original that a server is given.
	RouteURLsMax = 16
	// goodbyesMax bounds the ends of sessions that wait to be reported: more than a
	// server has sessions at its limit of descriptors. One more is not reported.
	goodbyesMax = 32 << 10
	// goodbyeWorkers report them, so many at once.
	goodbyeWorkers = 8
	// goodbyeMax is how long one route may take for its answer.
	goodbyeMax = 2 * time.Second
	// goodbyeStopMax is how long a server that goes down reports the ends that wait.
	goodbyeStopMax = 1500 * time.Millisecond
)

// goodbye is the end of a session that logged in without a grant.
type goodbye struct {
	user proto.UserID
	name string
}

// Server is what Routes ask of the server of ours that they serve.
type Server interface {
	// Linked reports whether a route of ours has a link to it, and whether one ever had.
	Linked() (now, ever bool)
	// Confirm lets it keep its sessions.
	Confirm()
}

// Routes are the routes of the original that let clients in at a server of ours.
// They are told of the ends of these sessions, as the original's servers do it: else
// they refuse the next login.
type Routes struct {
	paths   []string // of /offLine, by route
	hosts   []*fasthttp.HostClient
	waiting chan goodbye
	workers sync.WaitGroup
	notices *notice.Notices
	taken   *metrics.Counter // ends that a route has taken
	lost    *metrics.Counter // ends that none has

	reached atomic.Pointer[time.Time] // when one of them was last reached; nil: never
	ctx     context.Context           // ends the looks for them
	unwatch context.CancelFunc

	mu   sync.Mutex
	last time.Time // no request begins or lasts beyond it; zero: none is set
	shut bool      // waiting is closed
}

// NewRoutes returns the routes of URLs, at least one, that CheckRoutes has found
// nothing wrong with. log and set may be nil.
func NewRoutes(urls []string, log *slog.Logger, set *metrics.Set) *Routes {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	r := &Routes{
		waiting: make(chan goodbye, goodbyesMax), notices: notice.New(log),
		taken: set.Counter("cim_server_original_goodbyes_total"), lost: set.Counter("cim_server_original_goodbyes_lost_total"),
	}
	for _, text := range urls {
		u, err := url.Parse(text)
		if err != nil {
			panic("compat: a checked configuration has a URL that is none")
		}
		r.paths = append(r.paths, "http://"+u.Host+strings.TrimSuffix(u.EscapedPath(), "/")+proto.PathOffLine)
		r.hosts = append(r.hosts, newRouteClient(u))
	}
	r.ctx, r.unwatch = context.WithCancel(context.Background())
	for i := range goodbyeWorkers {
		r.workers.Go(func() { r.work(i) })
	}
	return r
}

// Descriptors are what routes of so many URLs may have open.
func Descriptors(urls []string) int { return len(urls) * goodbyeWorkers }

// Attach begins what needs the server. It is called once, before Stop.
func (r *Routes) Attach(s Server) {
	r.workers.Go(func() { r.watch(r.ctx, s) })
}

func newRouteClient(u *url.URL) *fasthttp.HostClient {
	addr := u.Host
	if u.Port() == "" {
		addr = net.JoinHostPort(u.Hostname(), "80")
	}
	return &fasthttp.HostClient{
		Addr: addr, MaxConns: goodbyeWorkers, MaxResponseBodySize: proto.BodyMax,
		DialTimeout: func(addr string, timeout time.Duration) (net.Conn, error) {
			return net.DialTimeout("tcp", addr, timeout)
		},
		NoDefaultUserAgentHeader: true,
		// It may be said twice: the route may have closed an idle connection.
		RetryIfErr: func(*fasthttp.Request, int, error) (resetTimeout, retry bool) { return false, true },
	}
}

// Ended queues the end of a session. It does not block.
func (r *Routes) Ended(user proto.UserID, name string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.shut {
		select {
		case r.waiting <- goodbye{user, name}:
			return
		default:
		}
	}
	r.giveUp(user, errors.New("too many are waiting"))
}

// giveUp counts an end that reached no route: its user may be refused there
// until somebody says goodbye.
func (r *Routes) giveUp(user proto.UserID, why error) {
	r.lost.Inc()
	r.notices.Say("a route of the original was not told of a session's end", "user", int64(user), "error", why)
}

// work reports the ends that wait, beginning at another route each time.
func (r *Routes) work(turn int) {
	request, response := fasthttp.AcquireRequest(), fasthttp.AcquireResponse()
	defer fasthttp.ReleaseRequest(request)
	defer fasthttp.ReleaseResponse(response)
	for g := range r.waiting {
		turn++
		if err := r.say(g, turn, request, response); err != nil {
			r.giveUp(g.user, err)
		} else {
			r.taken.Inc()
		}
	}
}

// say reports to one route, and to the next if that fails, to each once.
func (r *Routes) say(g goodbye, turn int, request *fasthttp.Request, response *fasthttp.Response) (err error) {
	for i := range r.hosts {
		at := (turn + i) % len(r.hosts)
		if err = r.post(at, g, request, response); err == nil {
			return nil
		}
	}
	return err
}

func (r *Routes) post(at int, g goodbye, request *fasthttp.Request, response *fasthttp.Response) error {
	request.Reset()
	response.Reset()
	request.SetRequestURI(r.paths[at])
	request.Header.SetMethod(fasthttp.MethodPost)
	request.Header.SetContentType("application/json")
	request.SetBodyString(proto.Body(proto.OffLineRequest{UserID: proto.Number(g.user), Msg: g.name}))
	if err := r.hosts[at].DoDeadline(request, response, r.deadline()); err != nil {
		return fmt.Errorf("%s: %w", r.paths[at], err)
	}
	if status := response.StatusCode(); status != fasthttp.StatusOK {
		return fmt.Errorf("%s: HTTP %d", r.paths[at], status)
	}
	answer, err := proto.ParseAnswer(response.Body())
	if err == nil && proto.Code(answer.Code) != proto.CodeSuccess {
		err = fmt.Errorf("code %d", answer.Code)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", r.paths[at], err)
	}
	return nil
}

func (r *Routes) deadline() time.Time {
	r.mu.Lock()
	defer r.mu.Unlock()
	at := time.Now().Add(goodbyeMax)
	if !r.last.IsZero() && at.After(r.last) {
		return r.last
	}
	return at
}

// Stop reports the ends that wait, for goodbyeStopMax at most, and what no route has taken
// by then is given up. It may be called again.
func (r *Routes) Stop() {
	r.unwatch()
	r.mu.Lock()
	if !r.shut {
		r.shut, r.last = true, time.Now().Add(goodbyeStopMax)
		close(r.waiting)
	}
	r.mu.Unlock()
	r.workers.Wait()
	for _, h := range r.hosts {
		h.CloseIdleConnections()
	}
}

// CheckRoutes reports what is wrong with the URLs of routes.
func CheckRoutes(urls []string) error {
	var faults []error
	if len(urls) > RouteURLsMax {
		faults = append(faults, fmt.Errorf("route-url has %d URLs, want at most %d", len(urls), RouteURLsMax))
	}
	for i, text := range urls {
		if err := checkRouteURL(text); err != nil {
			faults = append(faults, fmt.Errorf("route-url number %d %w", i+1, err))
		}
	}
	return errors.Join(faults...)
}

// checkRouteURL reports what is wrong with the URL of a route, without
// repeating what may be a password.
func checkRouteURL(text string) error {
	u, err := url.Parse(text)
	switch {
	case err != nil:
		return errors.New("is no URL")
	case u.User != nil:
		return errors.New("has credentials, which a route of the original does not ask for")
	case u.Scheme != "http" || u.Hostname() == "" || u.Opaque != "":
		return fmt.Errorf("%q is not http://HOST:PORT", text)
	case u.RawQuery != "" || u.Fragment != "" || u.ForceQuery:
		return fmt.Errorf("%q has more than a host, a port and a path", text)
	}
	return nil
}
