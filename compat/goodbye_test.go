package compat

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"cim/internal/metrics"
	"cim/internal/notice"
	"cim/proto"
	"cim/server"
)

// originalRoute is a route of the original, as far as its /offLine goes.
type originalRoute struct {
	*httptest.Server
	said chan string // the bodies of what was posted there
}

func newOriginalRoute(t *testing.T, answer http.HandlerFunc) *originalRoute {
	t.Helper()
	r := &originalRoute{said: make(chan string, 1000)}
	r.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, request *http.Request) {
		body, err := io.ReadAll(request.Body)
		if err != nil || request.Method != http.MethodPost || !strings.HasSuffix(request.URL.Path, proto.PathOffLine) {
			t.Errorf("%s %s: %v", request.Method, request.URL, err)
		}
		r.said <- string(body)
		answer(w, request)
	}))
	t.Cleanup(r.Close)
	return r
}

func answers(code proto.Code) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(proto.AppendAnswer(nil, code, "", "")) }
}

// want waits for what is said next.
func (r *originalRoute) want(t *testing.T, body string) {
	t.Helper()
	select {
	case got := <-r.said:
		if got != body {
			t.Errorf("the route heard %s, want %s", got, body)
		}
	case <-time.After(patience):
		t.Errorf("the route heard nothing, want %s", body)
	}
}

// newRoutes returns Routes that the test ends.
func newRoutes(t *testing.T, urls ...string) *Routes {
	r := NewRoutes(urls, nil, metrics.NewSet())
	t.Cleanup(r.Stop)
	return r
}

func eventually(t *testing.T, what string, is func() bool) {
	t.Helper()
	(&world{t: t}).eventually(what, is)
}

// TestGoodbye: the end of a session is reported to a route in its own words.
func TestGoodbye(t *testing.T) {
	t.Parallel()
	route := newOriginalRoute(t, answers(proto.CodeSuccess))
	r := newRoutes(t, route.URL+"/cim/")
	r.Ended(3, `zo"e`)
	route.want(t, `{"userId":3,"msg":"zo\"e"}`)
	eventually(t, "it is counted", func() bool { return r.taken.Get() == 1 })
	if n := len(route.said) + int(r.lost.Get()); n != 0 {
		t.Errorf("%d more", n)
	}
}

// TestGoodbyeNext: where a route does not take it, the next does; where none
// does, it is counted.
func TestGoodbyeNext(t *testing.T) {
	t.Parallel()
	well := newOriginalRoute(t, answers(proto.CodeSuccess))
	gone := newOriginalRoute(t, answers(proto.CodeSuccess))
	gone.Close()
	refuses := newOriginalRoute(t, answers(proto.CodeFailure))
	fails := newOriginalRoute(t, func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "no", http.StatusInternalServerError) })
	babbles := newOriginalRoute(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "<html>") })
	bad := []string{gone.URL, refuses.URL, fails.URL, babbles.URL}

	r := newRoutes(t, append(bad, well.URL)...)
	for i := range 20 {
		r.Ended(proto.UserID(i+1), "u")
	}
	eventually(t, "all are reported", func() bool { return r.taken.Get() == 20 })
	if n := r.lost.Get(); n != 0 {
		t.Errorf("%d are lost", n)
	}
	none := newRoutes(t, bad...)
	none.Ended(1, "ann")
	eventually(t, "it is counted as lost", func() bool { return none.lost.Get() == 1 })
}

// TestGoodbyeHangs: a route that does not answer holds up no server that goes down
// for longer than it may.
func TestGoodbyeHangs(t *testing.T) {
	t.Parallel()
	release := make(chan struct{})
	hangs := newOriginalRoute(t, func(http.ResponseWriter, *http.Request) { <-release })
	defer close(release)
	r := newRoutes(t, hangs.URL)
	const users = 20 * goodbyeWorkers // one after the other they would take far longer than may be
	for i := range users {
		r.Ended(proto.UserID(i+1), "u")
	}
	eventually(t, "some are under way", func() bool { return len(hangs.said) == goodbyeWorkers })
	began := time.Now()
	r.Stop()
	if took := time.Since(began); took > patience/2 {
		t.Errorf("the end took %v", took)
	}
	if n := r.lost.Get(); n != users {
		t.Errorf("%d are counted as lost, want %d", n, users)
	}
}

// TestGoodbyesAtEnd: those that wait at the end are reported.
func TestGoodbyesAtEnd(t *testing.T) {
	t.Parallel()
	route := newOriginalRoute(t, answers(proto.CodeSuccess))
	r := newRoutes(t, route.URL)
	const users = 100
	for i := range users {
		r.Ended(proto.UserID(i+1), "u")
	}
	r.Stop()
	if n := r.taken.Get(); n != users || len(route.said) != users {
		t.Errorf("%d are reported, %d were heard, want %d", n, len(route.said), users)
	}
	r.Ended(1, "u")
	if n := r.lost.Get(); n != 1 {
		t.Errorf("%d are lost after the end, want 1", n)
	}
}

// TestGoodbyesMax fills the queue, and brings one more.
func TestGoodbyesMax(t *testing.T) {
	t.Parallel()
	r := &Routes{waiting: make(chan goodbye, goodbyesMax), notices: notice.New(slog.New(slog.DiscardHandler)), lost: new(metrics.Counter)}
	for range goodbyesMax {
		r.Ended(1, "u")
	}
	if n := r.lost.Get(); n != 0 {
		t.Errorf("%d are lost", n)
	}
	r.Ended(1, "u")
	if n := r.lost.Get(); n != 1 {
		t.Errorf("%d are lost, want 1", n)
	}
}

// TestRouteURLs takes what is a route's URL, and repeats no password.
func TestRouteURLs(t *testing.T) {
	for text, want := range map[string]string{
		"http://route:8083":          "",
		"http://10.0.0.1":            "",
		"http://route:8083/":         "",
		"http://route:8083/cim":      "",
		"https://route:8083":         "is not http",
		"route:8083":                 "is not http",
		"http:":                      "is not http",
		"http:route:8083":            "is not http",
		"":                           "is not http",
		"http://me:geheim@route":     "has credentials",
		"http://me@route":            "has credentials",
		"http://route:8083?x=1":      "more than a host",
		"http://route:8083#x":        "more than a host",
		"http://me:geheim@route:x/%": "is no URL",
	} {
		err := checkRouteURL(text)
		if got := fmt.Sprint(err); (err == nil) != (want == "") || !strings.Contains(got, want) && err != nil || strings.Contains(got, "geheim") {
			t.Errorf("%q: %v, want %q", text, err, want)
		}
	}
	var urls []string
	for range RouteURLsMax {
		urls = append(urls, "http://route:8083")
	}
	if err := CheckRoutes(urls); err != nil {
		t.Error(err)
	}
	if CheckRoutes(append(urls, "http://route:8083")) == nil {
		t.Error("one URL more was accepted")
	}
}

// linkedServer is a server that has a link, or had one.
type linkedServer struct {
	now, ever bool
	confirms  int
}

func (s *linkedServer) Linked() (now, ever bool) { return s.now, s.ever }

func (s *linkedServer) Confirm() { s.confirms++ }

// TestProbe looks for routes once: the first that can be reached confirms a server
// that never had a link.
func TestProbe(t *testing.T) {
	t.Parallel()
	gone, there := newOriginalRoute(t, answers(proto.CodeSuccess)), newOriginalRoute(t, answers(proto.CodeSuccess))
	gone.Close()
	r := newRoutes(t, gone.URL, there.URL)
	if r.Ready() == nil {
		t.Error("ready before any was reached")
	}
	never, once := &linkedServer{}, &linkedServer{ever: true}
	r.probe(t.Context(), never)
	r.probe(t.Context(), once)
	if err := r.Ready(); err != nil || never.confirms != 1 || once.confirms != 0 {
		t.Errorf("ready %v, confirmed %d and %d times, want 1 and none", err, never.confirms, once.confirms)
	}
	there.Close()
	before := time.Now().Add(-probeFor)
	r.reached.Store(&before)
	r.probe(t.Context(), never)
	if err := r.Ready(); err == nil || !strings.Contains(err.Error(), "--route-url") {
		t.Errorf("ready: %v, want word of --route-url", err)
	}
}

// TestServerAlone has a server of ours without any link: it is ready while one of its
// routes can be reached.
func TestServerAlone(t *testing.T) {
	t.Parallel()
	there := newOriginalRoute(t, answers(proto.CodeSuccess))
	r := newRoutes(t, there.URL)
	config := server.DefaultConfig()
	config.CIMPort, config.HTTPPort, config.LinkPort, config.Loops, config.Login = 0, 0, server.LinkPortNone, 1, server.LoginOpen
	config.Lease = time.Minute
	s, err := server.Start(config, server.Deps{Log: slog.New(slog.DiscardHandler), Metrics: metrics.NewSet(), Ungranted: r})
	if err != nil {
		t.Fatal(err)
	}
	r.Attach(s)
	defer func() {
		ctx, stop := context.WithTimeout(context.Background(), patience)
		defer stop()
		if err := s.Drain(ctx); err != nil {
			t.Error(err)
		}
	}()
	eventually(t, "ready", func() bool { return s.Ready() == nil })
}
