package server

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/valyala/fasthttp"

	"cim/proto"
)

const (
	// RouteURLsMax bounds the routes of the original that a server is told.
	RouteURLsMax = 16
	// goodbyesMax bounds the ends of sessions that wait to be told: more than a
	// server has sessions at its limit of descriptors. One more is not told.
	goodbyesMax = 32 << 10
	// goodbyeWorkers tell them, so many at once.
	goodbyeWorkers = 8
	// goodbyeMax is how long one route may take for its answer.
	goodbyeMax = 2 * time.Second
	// goodbyeStopMax is how long a server that goes down tells what waits.
	goodbyeStopMax = 1500 * time.Millisecond
)

// goodbye is the end of a session that logged in without a grant.
type goodbye struct {
	user proto.UserID
	name string
}

// original tells the routes of the original of the ends of sessions that they
// have let in, as the original's servers do: else they refuse the next login.
// The zero original, of a server that knows no such route, tells nobody.
type original struct {
	server  *Server
	paths   []string // of /offLine, by route
	hosts   []*fasthttp.HostClient
	waiting chan goodbye
	workers sync.WaitGroup
	reached atomic.Int64       // when one of them was last reached, plus 1; 0: never
	unwatch context.CancelFunc // ends the looks for them

	mu   sync.Mutex
	last time.Time // no request begins or lasts beyond it; zero: none is set
	shut bool      // waiting is closed
}

func (o *original) start(s *Server) {
	if len(s.config.RouteURLs) == 0 {
		return
	}
	o.server, o.waiting = s, make(chan goodbye, goodbyesMax)
	for _, text := range s.config.RouteURLs {
		u, err := url.Parse(text)
		if err != nil {
			panic("server: a checked configuration has a URL that is none")
		}
		o.paths = append(o.paths, "http://"+u.Host+strings.TrimSuffix(u.EscapedPath(), "/")+proto.PathOffLine)
		o.hosts = append(o.hosts, newRouteClient(u))
	}
	ctx, cancel := context.WithCancel(context.Background())
	o.unwatch = cancel
	o.workers.Go(func() { o.watch(ctx) })
	for i := range goodbyeWorkers {
		o.workers.Go(func() { o.work(i) })
	}
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

// tell queues the end of a session.
func (o *original) tell(user proto.UserID, name string) {
	if o.server == nil {
		return
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if !o.shut {
		select {
		case o.waiting <- goodbye{user, name}:
			return
		default:
		}
	}
	o.giveUp(user, errors.New("too many are waiting"))
}

// giveUp counts an end that no route was told of: its user may be refused there
// until somebody says goodbye.
func (o *original) giveUp(user proto.UserID, why error) {
	o.server.metrics.goodbyesLost.Inc()
	o.server.refusal("a route of the original was not told of a session's end", "goodbye", "user", int64(user), "error", why)
}

// work tells what waits, beginning at another route each time.
func (o *original) work(turn int) {
	request, response := fasthttp.AcquireRequest(), fasthttp.AcquireResponse()
	defer fasthttp.ReleaseRequest(request)
	defer fasthttp.ReleaseResponse(response)
	for g := range o.waiting {
		turn++
		if err := o.say(g, turn, request, response); err != nil {
			o.giveUp(g.user, err)
		} else {
			o.server.metrics.goodbyes.Inc()
		}
	}
}

// say tells one route, the next if that fails, each once.
func (o *original) say(g goodbye, turn int, request *fasthttp.Request, response *fasthttp.Response) (err error) {
	for i := range o.hosts {
		at := (turn + i) % len(o.hosts)
		if err = o.post(at, g, request, response); err == nil {
			return nil
		}
	}
	return err
}

func (o *original) post(at int, g goodbye, request *fasthttp.Request, response *fasthttp.Response) error {
	request.Reset()
	response.Reset()
	request.SetRequestURI(o.paths[at])
	request.Header.SetMethod(fasthttp.MethodPost)
	request.Header.SetContentType("application/json")
	request.SetBodyString(proto.Body(proto.OffLineRequest{UserID: proto.Number(g.user), Msg: g.name}))
	if err := o.hosts[at].DoDeadline(request, response, o.deadline()); err != nil {
		return fmt.Errorf("%s: %w", o.paths[at], err)
	}
	if status := response.StatusCode(); status != fasthttp.StatusOK {
		return fmt.Errorf("%s: HTTP %d", o.paths[at], status)
	}
	answer, err := proto.ParseAnswer(response.Body())
	if err == nil && proto.Code(answer.Code) != proto.CodeSuccess {
		err = fmt.Errorf("code %d", answer.Code)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", o.paths[at], err)
	}
	return nil
}

func (o *original) deadline() time.Time {
	o.mu.Lock()
	defer o.mu.Unlock()
	at := time.Now().Add(goodbyeMax)
	if !o.last.IsZero() && at.After(o.last) {
		return o.last
	}
	return at
}

// stop tells what waits, for goodbyeStopMax at most, and what no route has taken
// by then is given up.
func (o *original) stop() {
	if o.server == nil {
		return
	}
	if o.unwatch != nil {
		o.unwatch()
	}
	o.mu.Lock()
	if !o.shut {
		o.shut, o.last = true, time.Now().Add(goodbyeStopMax)
		close(o.waiting)
	}
	o.mu.Unlock()
	o.workers.Wait()
	for _, h := range o.hosts {
		h.CloseIdleConnections()
	}
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
