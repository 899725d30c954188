package loadgen

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// relay is a small messaging system with a protocol of lines: IN number, TO number or TO all with a
// text, PING. It answers READY, OK id, PONG, and delivers a text as MSG.
type relay struct {
	t        *testing.T
	listener net.Listener
	outcomes bool
	echo     bool
	all      sync.WaitGroup

	mu    sync.Mutex
	conns map[string]net.Conn
	pings int
}

func newRelay(t *testing.T, outcomes, echo bool) *relay {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r := &relay{t: t, listener: listener, outcomes: outcomes, echo: echo, conns: make(map[string]net.Conn)}
	r.all.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			r.all.Go(func() { r.serve(conn) })
		}
	})
	t.Cleanup(func() {
		if err := listener.Close(); err != nil {
			t.Error(err)
		}
		r.all.Wait()
	})
	return r
}

func (r *relay) serve(conn net.Conn) {
	defer conn.Close()
	in, name := bufio.NewReader(conn), ""
	for {
		line, err := in.ReadString('\n')
		if err != nil {
			return
		}
		r.mu.Lock()
		switch words := strings.Fields(line); words[0] {
		case "IN":
			name = words[1]
			r.conns[name] = conn
			r.write(conn, "READY\n")
		case "PING":
			r.pings++
			r.write(conn, "PONG\n")
		case "TO":
			r.bring(name, words[1], words[3])
			if r.outcomes {
				r.write(conn, "OK "+words[2]+"\n")
			}
		}
		r.mu.Unlock()
	}
}

func (r *relay) bring(from, to, text string) {
	for name, conn := range r.conns {
		if name == to || to == "all" && (r.echo || name != from) {
			r.write(conn, "MSG "+text+"\n")
		}
	}
}

func (r *relay) write(conn net.Conn, text string) {
	_, _ = conn.Write([]byte(text)) // a client that has gone reports itself
}

// relaySystem is the adapter.
type relaySystem struct {
	NoAccounts
	relay *relay
	plan  Plan
}

func (s relaySystem) Traits() Traits {
	return Traits{Name: "relay", Guarantee: "none", Outcomes: s.relay.outcomes, Echo: s.relay.echo, PingEvery: 50 * time.Millisecond}
}

func (s relaySystem) Connect(ctx context.Context, _, client int) (net.Conn, Session, error) {
	conn, err := s.plan.Dialer.Dial(ctx, client, s.relay.listener.Addr().String())
	if err != nil {
		return nil, nil, err
	}
	if _, err := fmt.Fprintf(conn, "IN %d\n", client); err != nil {
		return nil, nil, errors.Join(err, conn.Close())
	}
	return conn, new(relaySession), nil
}

type relaySession struct{ partial Partial }

func (s *relaySession) Receive(data []byte, in *Inbox) error {
	return s.partial.Feed(data, lineSize, func(item []byte) error {
		word, rest, _ := strings.Cut(strings.TrimSuffix(string(item), "\n"), " ")
		switch word {
		case "READY":
			in.Ready(nil)
		case "MSG":
			in.Text([]byte(rest))
		case "OK":
			id, err := strconv.ParseUint(rest, 10, 64)
			if err != nil {
				return err
			}
			in.Outcome(id, Delivered)
		case "PONG":
		default:
			return fmt.Errorf("%q was not expected", word)
		}
		return nil
	})
}

func lineSize(data []byte) (int, error) { return bytes.IndexByte(data, '\n') + 1, nil }

func (*relaySession) AppendSend(dst []byte, m Message) []byte {
	to := "all"
	if m.Receiver != AllClients {
		to = strconv.Itoa(m.Receiver)
	}
	return fmt.Appendf(dst, "TO %s %d %s\n", to, m.ID, m.Text)
}

func (*relaySession) AppendPing(dst []byte) []byte { return append(dst, "PING\n"...) }

// TestOtherSystem drives a system that is none of ours, with each trait and each
// kind of load.
func TestOtherSystem(t *testing.T) {
	for name, load := range map[string]func(*Config){
		"group, window":   func(c *Config) { c.Windows = []int{1, 3} },
		"group, rate":     func(c *Config) { c.Rates = []int{200} },
		"private, window": func(c *Config) { c.Mode, c.Windows = Private, []int{3} },
		"private, rate":   func(c *Config) { c.Mode, c.Rates, c.Verify = Private, []int{500}, true },
		"mixed, rate":     func(c *Config) { c.Mode, c.Rates, c.Size = Mixed, []int{500}, Sizes{Least: 64, Most: 700} },
		"storm":           func(c *Config) { c.Mode = Storm },
	} {
		for _, traits := range []struct{ outcomes, echo bool }{{false, false}, {false, true}, {true, false}, {true, true}} {
			t.Run(fmt.Sprintf("%s, %+v", name, traits), func(t *testing.T) {
				r := newRelay(t, traits.outcomes, traits.echo)
				cfg := small(newPeer(t))
				cfg.Routes, cfg.Via, cfg.Warmup = nil, ViaConn, 10*time.Millisecond
				cfg.System = func(p Plan) (System, error) { return relaySystem{relay: r, plan: p}, nil }
				load(&cfg)
				report, err := Run(t.Context(), cfg, io.Discard)
				if err != nil || report.Failed() != nil {
					t.Fatal(err, report.Failed())
				}
				if report.System != "relay" || report.Guarantee != "none" {
					t.Errorf("%q, %q", report.System, report.Guarantee)
				}
				got := report.Trials[0]
				receivers := 1
				if cfg.Mode == Group && !traits.echo {
					receivers = got.Conns - 1
				} else if cfg.Mode == Group {
					receivers = got.Conns
				}
				if answered := got.Outcome.Count > 0; answered != (traits.outcomes && cfg.Mode != Storm) {
					t.Errorf("the times of %d answers", got.Outcome.Count)
				}
				if cfg.Mode != Mixed && got.Received != got.Delivered*receivers {
					t.Errorf("received %d of %d messages to %d each", got.Received, got.Delivered, receivers)
				}
				r.mu.Lock()
				defer r.mu.Unlock()
				if cfg.Mode != Storm && r.pings < got.Conns {
					t.Errorf("%d pings", r.pings)
				}
			})
		}
	}
}

// TestOnlyOverConnections: a system that takes no messages over HTTP is not asked
// for it, and one without routes not either.
func TestOnlyOverConnections(t *testing.T) {
	r := newRelay(t, true, true)
	cfg := small(newPeer(t))
	cfg.Windows, cfg.System = []int{1}, func(p Plan) (System, error) { return relaySystem{relay: r, plan: p}, nil }
	if _, err := Run(t.Context(), cfg, io.Discard); err == nil || !strings.Contains(err.Error(), "relay takes no messages over HTTP") {
		t.Errorf("error %v", err)
	}
	cfg.Routes = nil
	if err := cfg.Check(); err == nil || !strings.Contains(err.Error(), "--route") {
		t.Errorf("error %v", err)
	}
}

// TestLoginURL: each login starts with one request, and fails if that does.
func TestLoginURL(t *testing.T) {
	var requests atomic.Int64
	status := http.StatusOK
	asked := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		requests.Add(1)
		w.WriteHeader(status)
	}))
	defer asked.Close()
	r := newRelay(t, true, true)
	cfg := small(newPeer(t))
	cfg.Mode, cfg.LoginURL = Storm, asked.URL
	if err := cfg.Check(); err == nil || !strings.Contains(err.Error(), "login-url") {
		t.Errorf("of our own system: %v", err)
	}
	cfg.System = func(p Plan) (System, error) { return relaySystem{relay: r, plan: p}, nil }
	report, err := Run(t.Context(), cfg, io.Discard)
	if err != nil || report.Failed() != nil {
		t.Fatal(err, report.Failed())
	}
	if logins := report.Trials[0].Logins.Count + report.Trials[1].Logins.Count; requests.Load() != logins || logins != int64(2*cfg.Conns[0]) {
		t.Errorf("%d requests of %d logins", requests.Load(), logins)
	}
	status = http.StatusTeapot
	if _, err := Run(t.Context(), cfg, io.Discard); err == nil || !strings.Contains(err.Error(), "HTTP status 418") {
		t.Errorf("error %v", err)
	}
}

// TestPingsWhileLoggingIn: clients that are logged in ping while they wait for the others, or they
// would count as silent.
func TestPingsWhileLoggingIn(t *testing.T) {
	r := newRelay(t, true, true)
	cfg := small(newPeer(t))
	cfg.Routes, cfg.Via, cfg.Mode, cfg.Duration, cfg.Ramp = nil, ViaConn, Idle, time.Millisecond, 10
	cfg.System = func(p Plan) (System, error) { return relaySystem{relay: r, plan: p}, nil }
	if _, err := Run(t.Context(), cfg, io.Discard); err != nil {
		t.Fatal(err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.pings < 10 { // of about 30, in half a second
		t.Errorf("%d pings", r.pings)
	}
}

// TestPartial cuts a stream into pieces of every size; an error ends it.
func TestPartial(t *testing.T) {
	const stream = "one\ntwo\n\nthree and more\nx\n"
	for piece := 1; piece <= len(stream); piece++ {
		var p Partial
		var got strings.Builder
		for rest := stream; len(rest) > 0; {
			data := []byte(rest[:min(piece, len(rest))])
			rest = rest[len(data):]
			err := p.Feed(data, lineSize, func(item []byte) error {
				if bytes.IndexByte(item, '\n') != len(item)-1 {
					t.Errorf("item %q", item)
				}
				got.Write(item)
				return nil
			})
			if err != nil {
				t.Fatal(err)
			}
			clear(data)
		}
		if got.String() != stream {
			t.Errorf("pieces of %d: %q", piece, got.String())
		}
	}
	var p Partial
	broken := func([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }
	refuse := func([]byte) error { return io.ErrClosedPipe }
	if p.Feed([]byte("x"), broken, nil) == nil || p.Feed([]byte("x\n"), lineSize, refuse) == nil {
		t.Error("an error does not end it")
	}
	if err := p.Feed([]byte("begun"), lineSize, refuse); err != nil || p.Feed([]byte(" and whole\n"), lineSize, refuse) == nil {
		t.Error("an error in a joined item does not end it")
	}
}
