package server

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"

	"cim/internal/metrics"
	"cim/proto"
)

// otherRoutes is another system's routes, as the server sees them.
type otherRoutes struct {
	mu      sync.Mutex
	ended   []proto.User
	stopped int // how many had ended at the last Stop
	stops   int
	fault   error
}

func (o *otherRoutes) Ended(user proto.UserID, name string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.ended = append(o.ended, proto.User{ID: user, Name: name})
}

func (o *otherRoutes) Ready() error {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.fault
}

func (o *otherRoutes) Stop() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.stopped = len(o.ended)
	o.stops++
}

func (o *otherRoutes) all() []proto.User {
	o.mu.Lock()
	defer o.mu.Unlock()
	return slices.Clone(o.ended)
}

func open(c *Config) { c.Login, c.RepeatLogin = LoginOpen, RepeatReplace }

// openLogin logs in user without a grant.
func (w *world) openLogin(user proto.User, dialect proto.Dialect) *peer {
	w.Helper()
	p := w.dial()
	p.write(proto.AppendLogin(nil, user, dialect, proto.Ticket{}))
	w.route.next("up", func(r *proto.Record) bool { return r.Kind == proto.RecordUp && r.User == user.ID })
	return p
}

// TestUngrantedEnds: another system's routes learn of the ends of sessions that
// they let in; not of a session with a grant, nor of one that a newer session has
// replaced. The drain stops them when all have ended.
func TestUngrantedEnds(t *testing.T) {
	t.Parallel()
	others := &otherRoutes{}
	w := startBeside(t, open, others)
	if !w.server.Member().Original {
		t.Error("the member does not say so")
	}
	w.login(ann, 1, proto.DialectV2).conn.Close()
	w.route.next("down", func(r *proto.Record) bool { return r.Kind == proto.RecordDown && r.User == ann.ID })
	replaced := w.openLogin(bob, proto.DialectCIM)
	second := w.openLogin(bob, proto.DialectCIM)
	replaced.end()
	replaced.conn.Close()
	third := proto.User{ID: 3, Name: `zo"e`}
	w.openLogin(third, proto.DialectV2).conn.Close()
	w.eventually("the third has ended", func() bool { return slices.Equal(others.all(), []proto.User{third}) })
	second.conn.Close()
	w.eventually("bob's has ended", func() bool { return slices.Equal(others.all(), []proto.User{third, bob}) })
	last := w.openLogin(proto.User{ID: 4, Name: "last"}, proto.DialectV2)
	go func() {
		last.end()
		last.conn.Close()
	}()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := w.server.Drain(ctx); err != nil {
		t.Error(err)
	}
	if others.stops == 0 || others.stopped != 3 {
		t.Errorf("stopped %d times, when %d had ended, want 3", others.stops, others.stopped)
	}
}

// TestReadyUngranted: a server without a link is ready if the other system's routes
// are.
func TestReadyUngranted(t *testing.T) {
	t.Parallel()
	others := &otherRoutes{}
	config := DefaultConfig()
	config.CIMPort, config.HTTPPort, config.LinkPort, config.Loops, config.Login = 0, 0, LinkPortNone, 1, LoginOpen
	s, err := Start(config, Deps{Log: slog.New(slog.DiscardHandler), Metrics: metrics.NewSet(), Ungranted: others})
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
	if err := s.Ready(); err != nil {
		t.Errorf("not ready: %v", err)
	}
	if now, ever := s.Linked(); now || ever {
		t.Errorf("linked %t, ever %t", now, ever)
	}
	fault := errors.New("none can be reached")
	others.mu.Lock()
	others.fault = fault
	others.mu.Unlock()
	if err := s.Ready(); !errors.Is(err, fault) {
		t.Errorf("ready: %v, want %v", err, fault)
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

// TestProbe: a route of the original connects and closes at once to check that the
// server is there. That leaves no state and no line in the log.
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
	w.login(ann, 1, proto.DialectV2) // after all of them
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

// TestLongPage sends a page of stored texts, as a route of the original does, that
// is too long for a frame and for the unsent bytes of a session: all of it arrives,
// in order. A text that is too long is named.
func TestLongPage(t *testing.T) {
	t.Parallel()
	w := startBeside(t, open, &otherRoutes{})
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
