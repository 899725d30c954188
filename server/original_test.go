package server

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"cim/internal/metrics"
	"cim/proto"
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

func openTo(urls ...string) func(*Config) {
	return func(c *Config) { c.Login, c.RepeatLogin, c.RouteURLs = LoginOpen, RepeatReplace, urls }
}

// openLogin logs user in without a grant.
func (w *world) openLogin(user proto.User, dialect proto.Dialect) *peer {
	w.Helper()
	p := w.dial()
	p.write(proto.AppendLogin(nil, user, dialect, proto.Ticket{}))
	w.route.next("up", func(r *proto.Record) bool { return r.Kind == proto.RecordUp && r.User == user.ID })
	return p
}

// TestGoodbye: a route of the original is told of the ends of sessions that it
// let in, in its own words; not of one that a grant let in, nor of one that a
// newer one has replaced.
func TestGoodbye(t *testing.T) {
	t.Parallel()
	r := newOriginalRoute(t, answers(proto.CodeSuccess))
	w := start(t, openTo(r.URL+"/cim/"))
	if !w.server.Member().Original {
		t.Error("the member does not say so")
	}
	w.login(ann, 1, proto.DialectV2).conn.Close()
	w.route.next("down", func(r *proto.Record) bool { return r.Kind == proto.RecordDown && r.User == ann.ID })
	replaced := w.openLogin(bob, proto.DialectCIM)
	second := w.openLogin(bob, proto.DialectCIM)
	replaced.end()
	replaced.conn.Close()
	third := w.openLogin(proto.User{ID: 3, Name: `zo"e`}, proto.DialectV2)
	third.conn.Close()
	r.want(t, `{"userId":3,"msg":"zo\"e"}`)
	second.conn.Close()
	r.want(t, `{"userId":1002,"msg":"bob"}`)
	w.eventually("it is counted", func() bool { return w.server.metrics.goodbyes.Get() == 2 })
	if n := len(r.said) + int(w.server.metrics.goodbyesLost.Get()); n != 0 {
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

	w := start(t, openTo(append(bad, well.URL)...))
	for i := range 20 {
		w.openLogin(proto.User{ID: proto.UserID(i + 1), Name: "u"}, proto.DialectV2).conn.Close()
	}
	w.eventually("all are told", func() bool { return w.server.metrics.goodbyes.Get() == 20 })
	if n := w.server.metrics.goodbyesLost.Get(); n != 0 {
		t.Errorf("%d are lost", n)
	}
	none := start(t, openTo(bad...))
	none.openLogin(ann, proto.DialectV2).conn.Close()
	none.eventually("it is counted as lost", func() bool { return none.server.metrics.goodbyesLost.Get() == 1 })
}

// TestGoodbyeHangs: a route that does not answer holds nobody up for longer
// than it may, not even a server that goes down.
func TestGoodbyeHangs(t *testing.T) {
	t.Parallel()
	release := make(chan struct{})
	hangs := newOriginalRoute(t, func(http.ResponseWriter, *http.Request) { <-release })
	defer close(release)
	w := start(t, openTo(hangs.URL))
	const users = 20 * goodbyeWorkers // one after the other they would take far longer than may be
	for i := range users {
		w.openLogin(proto.User{ID: proto.UserID(i + 1), Name: "u"}, proto.DialectV2).conn.Close()
	}
	w.eventually("some are under way", func() bool { return len(hangs.said) == goodbyeWorkers })
	begin := time.Now()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := w.server.Drain(ctx); err != nil {
		t.Error(err)
	}
	if took := time.Since(begin); took > patience/2 {
		t.Errorf("the drain took %v", took)
	}
	if n := w.server.metrics.goodbyesLost.Get(); n != users {
		t.Errorf("%d are counted as lost, want %d", n, users)
	}
}

// TestGoodbyesAtDrain: those whose sessions the drain has ended are told too.
func TestGoodbyesAtDrain(t *testing.T) {
	t.Parallel()
	r := newOriginalRoute(t, answers(proto.CodeSuccess))
	w := start(t, openTo(r.URL))
	const users = 100
	for i := range users {
		p := w.openLogin(proto.User{ID: proto.UserID(i + 1), Name: "u"}, proto.DialectV2)
		go func() {
			_, _ = io.Copy(io.Discard, p.conn)
			p.conn.Close()
		}()
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := w.server.Drain(ctx); err != nil {
		t.Error(err)
	}
	if n := w.server.metrics.goodbyes.Get(); n != users || len(r.said) != users {
		t.Errorf("%d are told, %d were heard, want %d", n, len(r.said), users)
	}
}

// TestGoodbyesMax fills the queue, and brings one more.
func TestGoodbyesMax(t *testing.T) {
	s := &Server{metrics: newCounters(metrics.NewSet()), log: slog.New(slog.DiscardHandler)}
	s.original = original{server: s, waiting: make(chan goodbye, goodbyesMax)}
	for range goodbyesMax {
		s.original.tell(1, "u")
	}
	if n := s.metrics.goodbyesLost.Get(); n != 0 {
		t.Errorf("%d are lost", n)
	}
	s.original.tell(1, "u")
	if n := s.metrics.goodbyesLost.Get(); n != 1 {
		t.Errorf("%d are lost, want 1", n)
	}
	s.original.stop()
	s.original.tell(1, "u")
	if n := s.metrics.goodbyesLost.Get(); n != 2 {
		t.Errorf("%d are lost after the end, want 2", n)
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
	c := DefaultConfig()
	for range RouteURLsMax {
		c.RouteURLs = append(c.RouteURLs, "http://route:8083")
	}
	if err := c.Check(); err == nil {
		t.Error("routes of the original, but only who is granted is let in")
	}
	if c.Login = LoginOpen; c.Check() != nil {
		t.Error(c.Check())
	}
	if c.RouteURLs = append(c.RouteURLs, "http://route:8083"); c.Check() == nil {
		t.Error("one URL more was accepted")
	}
}

// lines is a log that may be read while it is written.
type lines struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *lines) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(b)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

// TestProbe: a route of the original connects and closes at once to see whether
// the server is there. It leaves nothing behind, no line in the log either.
func TestProbe(t *testing.T) {
	t.Parallel()
	log := &lines{}
	w := startLogging(t, nil, log)
	for i := range 100 {
		p := w.dial()
		if tcp, ok := p.conn.(*net.TCPConn); ok && i%2 == 1 {
			_ = tcp.SetLinger(0) // with a reset
		}
		p.conn.Close()
	}
	w.login(ann, 1, proto.DialectV2) // behind all of them
	w.eventually("they are gone", func() bool { return w.server.conns.Load() == 1 })
	for reason, ends := range w.server.metrics.ends {
		if n := ends.Get(); n != 0 {
			t.Errorf("%d ends for %v", n, proto.Reason(reason))
		}
	}
	if text := log.String(); text != "" {
		t.Errorf("logged:\n%s", text)
	}
}

// TestReadyByOriginal has a server without any link: it is ready while one of its
// routes of the original can be reached, which confirms its lease too, until
// a route of ours has linked once.
func TestReadyByOriginal(t *testing.T) {
	t.Parallel()
	gone, there := newOriginalRoute(t, answers(proto.CodeSuccess)), newOriginalRoute(t, answers(proto.CodeSuccess))
	gone.Close()
	config := DefaultConfig()
	config.CIMPort, config.HTTPPort, config.LinkPort, config.Loops = 0, 0, LinkPortNone, 1
	config.Login, config.RouteURLs, config.Lease = LoginOpen, []string{gone.URL, there.URL}, leaseMin
	s, err := Start(config, Deps{Log: slog.New(slog.DiscardHandler), Metrics: metrics.NewSet()})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		ctx, stop := context.WithTimeout(context.Background(), patience)
		defer stop()
		if err := s.Drain(ctx); err != nil {
			t.Error(err)
		}
	}()
	until := func(what string, is func(error) bool) {
		t.Helper()
		again := time.NewTicker(10 * time.Millisecond)
		defer again.Stop()
		for end := time.Now().Add(patience); !is(s.Ready()); <-again.C {
			if time.Now().After(end) {
				t.Fatalf("not in time: %s: %v", what, s.Ready())
			}
		}
	}
	until("ready", func(err error) bool { return err == nil })
	before := s.lease.stamp.Load()
	until("the lease is confirmed again", func(error) bool { return s.lease.stamp.Load() > before })
	s.links.ever.Store(true)
	until("the lease is lost", func(err error) bool { return err != nil && s.lease.lost.Load() })
	there.Close()
	s.Confirm()
	s.original.reached.Store(0) // it was reached too long ago
	until("none is reached", func(err error) bool {
		s.Confirm()
		return err != nil && strings.Contains(err.Error(), "--route-url")
	})
}

// TestLongPage takes a page of stored texts from a route of the original that is
// too long for a frame, and for what may wait for a session: all of it arrives, in
// order. A text that is too long is named.
func TestLongPage(t *testing.T) {
	t.Parallel()
	w := start(t, openTo("http://127.0.0.1:1"))
	p := w.openLogin(bob, proto.DialectV2)
	page := func(texts []string, size int) string {
		for i := range texts {
			texts[i] = fmt.Sprint(i, strings.Repeat("x", size))
		}
		return fmt.Sprintf(`{"userId":%d,"cmd":"OFFLINE","batchMsg":["%s"],"properties":{"sendUserId":"7","sendUserName":"eve"}}`,
			bob.ID, strings.Join(texts, `","`))
	}
	texts := make([]string, 100)
	body := page(texts, 4000)
	answered := make(chan string, 1)
	go func() {
		_, answer := w.post(proto.PathSendMsg, "POST", body)
		answered <- answer
	}()
	for got := 0; got < len(texts); {
		m := p.read()
		if m.Command != proto.CommandOffline || m.Batch == 0 {
			t.Fatalf("received %+v", m)
		}
		m.EachText(func(text []byte) {
			if string(text) != texts[got] {
				t.Fatalf("text %d is %.10q", got, text)
			}
			got++
		})
	}
	if answer := <-answered; !strings.HasPrefix(answer, `{"code":"9000"`) {
		t.Errorf("answered %s", answer)
	}
	if _, answer := w.post(proto.PathSendMsg, "POST", page(texts[:3], proto.TextMax)); !strings.HasPrefix(answer, `{"code":"3000"`) {
		t.Errorf("a text past the bound: %s", answer)
	}
	if _, answer := w.post(proto.PathSendMsg, "POST", strings.Replace(body, "OFFLINE", "MESSAGE", 1)); !strings.HasPrefix(answer, `{"code":"3000"`) {
		t.Errorf("a message past the bound: %s", answer)
	}
}
