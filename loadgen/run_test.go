package loadgen

import (
	"context"
	"io"
	"os"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"cim/proto"
)

func TestMain(m *testing.M) {
	workInstead()
	// Runs raise it and put it back, which would hinder those beside them.
	runtime.GOMAXPROCS(max(8, runtime.GOMAXPROCS(0)))
	// Else each worker process ends a second late.
	if err := os.Setenv("GORACE", "atexit_sleep_ms=0"); err != nil {
		panic(err)
	}
	// gnet's pool of workers starts with the process. The other ignored goroutines are of libraries
	// too: workers of that pool and cleaners that sleep for some seconds after all has been closed,
	// and a clock that never ends.
	goleak.VerifyTestMain(m, goleak.IgnoreCurrent(),
		goleak.IgnoreAnyFunction("github.com/panjf2000/ants/v2.(*goWorker).run.func1"),
		goleak.IgnoreAnyFunction("github.com/valyala/fasthttp.updateServerDate.func1"),
		goleak.IgnoreAnyFunction("github.com/valyala/fasthttp.(*HostClient).connsCleaner"),
		goleak.IgnoreAnyFunction("github.com/valyala/fasthttp.(*workerPool).Start.func2"))
}

// neverMax is the Drain of a run in which something never arrives, so that the run waits for all of
// it. Other runs end when all has arrived.
const neverMax = time.Second

func small(p *peer) Config {
	cfg := Defaults()
	cfg.Routes = []string{p.route.URL}
	cfg.Conns = []int{6}
	cfg.Warmup, cfg.Duration = 50*time.Millisecond, 200*time.Millisecond
	cfg.HTTPConns, cfg.LoginsAtOnce, cfg.Loops = 4, 3, 2
	cfg.ServerPIDs = []int{os.Getpid(), os.Getppid()}
	return cfg
}

// TestLoads runs each kind of load against a peer without faults: all messages arrive, and the
// figures are there.
func TestLoads(t *testing.T) {
	loads := map[string]func(*Config){
		"group, http, window 1 and 3":  func(c *Config) { c.Windows = []int{1, 3} },
		"group, conn, window 3":        func(c *Config) { c.Via, c.Windows = ViaConn, []int{3} },
		"group, http, rate":            func(c *Config) { c.Rates = []int{200} },
		"group, conn, rate":            func(c *Config) { c.Via, c.Rates = ViaConn, []int{200} },
		"private, http, window 3":      func(c *Config) { c.Mode, c.Windows = Private, []int{3} },
		"private, conn, window 3":      func(c *Config) { c.Mode, c.Via, c.Windows = Private, ViaConn, []int{3} },
		"private, http, rate":          func(c *Config) { c.Mode, c.Rates = Private, []int{500} },
		"private, conn, rate":          func(c *Config) { c.Mode, c.Via, c.Rates = Private, ViaConn, []int{500} },
		"two fleets, smallest text":    func(c *Config) { c.Windows, c.Conns, c.Size = []int{1}, []int{2, 5}, OneSize(TextMin) },
		"receivers of our own dialect": func(c *Config) { c.Windows, c.Dialect = []int{1}, proto.DialectCIM },
		"receivers of dialect v1":      func(c *Config) { c.Windows, c.Dialect = []int{2}, proto.DialectV1 },
		"v1, conn, rate":               func(c *Config) { c.Via, c.Rates, c.Dialect = ViaConn, []int{200}, proto.DialectV1 },
		"v1, private, http, rate":      func(c *Config) { c.Mode, c.Rates, c.Dialect = Private, []int{500}, proto.DialectV1 },
		"mixed, http, rate":            func(c *Config) { c.Mode, c.Rates, c.Mix = Mixed, []int{500}, Mix{1, 4} },
		"mixed, conn, window 3":        func(c *Config) { c.Mode, c.Via, c.Windows, c.Conns = Mixed, ViaConn, []int{3}, []int{8} },
		"mixed, conn, two rates":       func(c *Config) { c.Mode, c.Via, c.Rates, c.Mix = Mixed, ViaConn, []int{200, 400}, Mix{1, 1} },
		"sizes of a range":             func(c *Config) { c.Mode, c.Rates, c.Size = Private, []int{500}, Sizes{Least: 64, Most: 1024} },
		"sizes around a mean, v1": func(c *Config) {
			c.Rates, c.Size, c.Dialect = []int{200}, Sizes{Least: 64, Most: 2000, Mean: 200}, proto.DialectV1
		},
		"thinking":                       func(c *Config) { c.Windows, c.Think = []int{2}, 5*time.Millisecond },
		"texts of many bytes, two loops": func(c *Config) { c.Windows, c.Size = []int{2}, OneSize(20_000) },
	}
	for name, load := range loads {
		t.Run(name, func(t *testing.T) {
			cfg := small(newPeer(t))
			cfg.Duration = time.Second // longer than a busy machine stands still: a message must arrive within it
			load(&cfg)
			r, err := Run(t.Context(), cfg, io.Discard)
			if err != nil {
				t.Fatal(err)
			}
			checkWhole(t, cfg, r)
		})
	}
}

func checkWhole(t *testing.T, cfg Config, r Report) {
	t.Helper()
	if err := r.Failed(); err != nil {
		t.Error(err)
	}
	if want := len(cfg.Conns) * len(cfg.loads()); len(r.Trials) != want {
		t.Fatalf("%d trials, want %d", len(r.Trials), want)
	}
	for _, trial := range r.Trials {
		receivers := 1
		if cfg.Mode == Group {
			receivers = trial.Conns - 1
		}
		if mixed := cfg.Mode == Mixed && trial.Received > trial.Delivered; !mixed && trial.Received != trial.Delivered*receivers || trial.Received == 0 {
			t.Errorf("received %d of %d messages to %d each", trial.Received, trial.Delivered, receivers)
		}
		l := trial.Latency
		if l.Count == 0 || l.P50 <= 0 || l.P50 > l.P99 || l.P99 > l.Max {
			t.Errorf("latency %+v", l)
		}
		if a := trial.Outcome; a.Count == 0 || a.P50 <= 0 || a.P50 > a.P99 || len(cfg.Rates) > 0 && a.Count != trial.Late.Count {
			t.Errorf("until answered %+v, of %d sends", a, trial.Late.Count)
		}
		checkProcesses(t, cfg, trial)
		if trial.LoginS <= 0 || trial.DeliveriesPerSecond <= 0 {
			t.Errorf("logins %v s, %v deliveries/s", trial.LoginS, trial.DeliveriesPerSecond)
		}
		if n := trial.Late.Count; len(cfg.Rates) > 0 && n != int64(float64(trial.Rate)*r.DurationS) {
			t.Errorf("%d sends of the measured time, want %v", n, float64(trial.Rate)*r.DurationS)
		}
	}
}

// checkProcesses checks that each process has a part, and that the parts add up to the whole.
func checkProcesses(t *testing.T, cfg Config, trial Trial) {
	t.Helper()
	var pids []int
	cpu, idle := 0.0, 0.0
	for _, p := range trial.Processes {
		pids = append(pids, p.PID)
		cpu += p.CPUus
		idle += p.IdleBytes
	}
	if !slices.Equal(pids, cfg.ServerPIDs) || cpu != trial.ServerCPUus || idle != trial.IdleBytes {
		t.Errorf("processes %+v of %g µs and %g bytes", trial.Processes, trial.ServerCPUus, trial.IdleBytes)
	}
}

// once does wrong to the fifth delivery of each session and to no other.
func once(wrong func(p *peer, s *peerSession, frame, body []byte) [][]byte) func(*peer, *peerSession, []byte) [][]byte {
	return func(p *peer, s *peerSession, body []byte) [][]byte {
		frame := proto.AppendDelivery(nil, body, s.user.ID)
		if s.delivered == 5 {
			return wrong(p, s, frame, body)
		}
		if s.held != nil {
			frame, s.held = append(frame, s.held...), nil
		}
		return [][]byte{frame}
	}
}

// TestFaultsAreFound lets the peer go wrong in one way at a time: the count of
// that way, and no other, is what the peer did.
func TestFaultsAreFound(t *testing.T) {
	const receivers = 3 // each has one delivery that goes wrong
	wrongs := map[string]struct {
		deliver func(*peer, *peerSession, []byte) [][]byte
		want    Trial
	}{
		"lost": {
			once(func(*peer, *peerSession, []byte, []byte) [][]byte { return nil }),
			Trial{Lost: receivers},
		},
		"doubled": {
			once(func(_ *peer, _ *peerSession, frame, _ []byte) [][]byte { return [][]byte{frame, frame} }),
			Trial{Doubled: receivers},
		},
		"reordered": {
			once(func(_ *peer, s *peerSession, frame, _ []byte) [][]byte { s.held = frame; return nil }),
			Trial{Reordered: receivers},
		},
		"for another receiver": {
			once(func(_ *peer, s *peerSession, _, body []byte) [][]byte {
				return [][]byte{proto.AppendDelivery(nil, body, s.user.ID+1)}
			}),
			Trial{Misdelivered: receivers, Lost: receivers},
		},
		"from another sender": {
			once(func(_ *peer, s *peerSession, frame, _ []byte) [][]byte {
				var v proto.View
				inner, _, _ := proto.NextFrame(frame, proto.FrameMax)
				v.Parse(inner)
				body := proto.AppendSentBody(nil, 7, "somebody", 1, v.Text)
				return [][]byte{proto.AppendDelivery(nil, body, s.user.ID)}
			}),
			Trial{WrongSender: receivers, Lost: receivers},
		},
		"of a text cut short": {
			once(func(_ *peer, s *peerSession, frame, _ []byte) [][]byte {
				var v proto.View
				inner, _, _ := proto.NextFrame(frame, proto.FrameMax)
				v.Parse(inner)
				body := proto.AppendSentBody(nil, s.user.ID, s.user.Name, 1, v.Text[:len(v.Text)-1])
				return [][]byte{proto.AppendDelivery(nil, body, s.user.ID)}
			}),
			Trial{Corrupt: receivers, Lost: receivers},
		},
	}
	for name, wrong := range wrongs {
		t.Run(name, func(t *testing.T) {
			t.Parallel() // they wait
			p := newPeer(t)
			p.deliver = wrong.deliver
			cfg := small(p)
			cfg.Mode, cfg.Via, cfg.Rates, cfg.Drain = Private, ViaConn, []int{300}, neverMax
			r, err := Run(t.Context(), cfg, io.Discard)
			if err != nil {
				t.Fatal(err)
			}
			got := r.Trials[0]
			if got.Lost != wrong.want.Lost || got.Doubled != wrong.want.Doubled ||
				got.Reordered != wrong.want.Reordered || got.Misdelivered != wrong.want.Misdelivered ||
				got.WrongSender != wrong.want.WrongSender || got.Corrupt != wrong.want.Corrupt {
				t.Errorf("%+v, want %+v", got, wrong.want)
			}
			if r.Failed() == nil {
				t.Error("the report does not count as failed")
			}
		})
	}
}

// TestOwnMessage delivers a group message to its sender too.
func TestOwnMessage(t *testing.T) {
	p := newPeer(t)
	p.deliver = func(p *peer, s *peerSession, body []byte) [][]byte {
		for _, other := range p.sessions {
			if strings.Contains(string(body), other.user.Name) {
				p.write(other, proto.AppendDelivery(nil, body, other.user.ID))
			}
		}
		return [][]byte{proto.AppendDelivery(nil, body, s.user.ID)}
	}
	cfg := small(p)
	cfg.Conns, cfg.Windows = []int{2}, []int{1}
	r, err := Run(t.Context(), cfg, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	// The last one may arrive when all else has and the trial is over.
	if got := r.Trials[0]; got.Misdelivered < got.Delivered-1 || got.Misdelivered == 0 || got.Lost != 0 {
		t.Errorf("misdelivered %d of %d, lost %d", got.Misdelivered, got.Delivered, got.Lost)
	}
}

// TestOffline delivers each message as an OFFLINE batch of two with the one
// after it, as a catch-up does.
func TestOffline(t *testing.T) {
	p := newPeer(t)
	p.answer = func(int) (proto.Code, bool) { return proto.CodeOffline, true }
	p.deliver = func(_ *peer, s *peerSession, body []byte) [][]byte {
		if s.held == nil {
			s.held = body
			return nil
		}
		frame := offlineFrame(t, s.user.ID, s.held, body)
		s.held = nil
		return [][]byte{frame}
	}
	cfg := small(p)
	cfg.Mode, cfg.Rates, cfg.Conns = Private, []int{400}, []int{2}
	cfg.Warmup = 0
	r, err := Run(t.Context(), cfg, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	got := r.Trials[0]
	if err := got.Failed(); err != nil || got.Offline != 80 || got.Received != 80 || got.Stored != 80 {
		t.Errorf("offline %d, received %d, stored %d, want 80 each: %v", got.Offline, got.Received, got.Stored, err)
	}
}

func offlineFrame(t *testing.T, receiver proto.UserID, bodies ...[]byte) []byte {
	t.Helper()
	m := proto.Message{Command: proto.CommandOffline}
	for _, body := range bodies {
		var v proto.View
		if reason := v.Parse(body); reason != proto.ReasonNone {
			t.Fatal(reason)
		}
		m.Batch = append(m.Batch, string(v.Text))
		m.Properties = nil
		v.EachProperty(func(key, value []byte) {
			m.Properties = append(m.Properties, proto.Property{Key: string(key), Value: string(value)})
		})
	}
	return proto.AppendDelivery(nil, proto.AppendBody(nil, m), receiver)
}

// TestRefusedIsNotOwed refuses every third message, by each way of sending.
func TestRefusedIsNotOwed(t *testing.T) {
	loads := map[string]func(*Config){
		"window, http":  func(c *Config) { c.Windows = []int{2} },
		"window, conn":  func(c *Config) { c.Via, c.Windows = ViaConn, []int{2} },
		"rate, http":    func(c *Config) { c.Mode, c.Rates = Private, []int{500} },
		"rate, conn":    func(c *Config) { c.Mode, c.Via, c.Rates = Private, ViaConn, []int{500} },
		"rate, to many": func(c *Config) { c.Via, c.Rates = ViaConn, []int{200} },
	}
	for name, load := range loads {
		t.Run(name, func(t *testing.T) {
			p := newPeer(t)
			p.answer = func(n int) (proto.Code, bool) {
				if n%3 == 0 {
					return proto.CodeLimit, false
				}
				return proto.CodeSuccess, true
			}
			cfg := small(p)
			load(&cfg)
			r, err := Run(t.Context(), cfg, io.Discard)
			if err != nil {
				t.Fatal(err)
			}
			got := r.Trials[0]
			if messages := p.messageCount(); got.Refused != messages/3 || got.Failed() != nil {
				t.Errorf("refused %d of %d: %v", got.Refused, messages, got.Failed())
			}
		})
	}
}

// TestFailedYetDelivered refuses every third message and delivers it nevertheless. The last third
// is not refused: a run waits only for owed messages, so each refused one must be followed by an
// owed one.
func TestFailedYetDelivered(t *testing.T) {
	for name, load := range map[string]func(*Config){
		"conn": func(c *Config) { c.Via = ViaConn },
		"http": func(c *Config) { c.Via = ViaHTTP },
	} {
		t.Run(name, func(t *testing.T) {
			p := newPeer(t)
			p.answer = func(n int) (proto.Code, bool) {
				if n%3 == 0 && n <= 50 { // of 75
					return proto.CodeLimit, true
				}
				return proto.CodeSuccess, true
			}
			cfg := small(p)
			cfg.Mode, cfg.Rates, cfg.Verify = Private, []int{300}, true
			load(&cfg)
			r, err := Run(t.Context(), cfg, io.Discard)
			if err != nil {
				t.Fatal(err)
			}
			if got := r.Trials[0]; got.FailedDelivered != got.Refused || got.Refused == 0 || got.Lost+got.Doubled != 0 {
				t.Errorf("%+v", got)
			}
		})
	}
}

// TestOutcomesAreChecked: each SEND has one outcome, not none and not two, and
// an error is named.
func TestOutcomesAreChecked(t *testing.T) {
	wrongs := map[string]struct {
		wrong func(*peer)
		bad   func(Trial) bool
	}{
		"twice": {func(p *peer) { p.repeatOutcome = true }, func(t Trial) bool { return t.FaultCount == t.Delivered }},
		"never": {func(p *peer) { p.muteOutcome = true }, func(t Trial) bool { return t.Unanswered == 75 && t.Lost == 0 }},
		"failed": {
			func(p *peer) { p.answer = func(int) (proto.Code, bool) { return proto.CodeFailure, false } },
			func(t Trial) bool {
				return t.Unknown == 75 && t.Lost == 0 && strings.Contains(t.Faults[0], "code 4000")
			},
		},
	}
	for name, wrong := range wrongs {
		t.Run(name, func(t *testing.T) {
			p := newPeer(t)
			wrong.wrong(p)
			cfg := small(p)
			cfg.Mode, cfg.Via, cfg.Rates, cfg.Drain = Private, ViaConn, []int{300}, neverMax
			r, err := Run(t.Context(), cfg, io.Discard)
			if err != nil {
				t.Fatal(err)
			}
			if got := r.Trials[0]; !wrong.bad(got) || got.Failed() == nil {
				t.Errorf("%+v", got)
			}
		})
	}
}

// TestWindowGivesUp loses one message for good: the slot stops within Drain and
// says so, and the message counts as lost.
func TestWindowGivesUp(t *testing.T) {
	p := newPeer(t)
	p.deliver = once(func(*peer, *peerSession, []byte, []byte) [][]byte { return nil })
	cfg := small(p)
	cfg.Mode, cfg.Windows, cfg.Drain = Private, []int{1}, neverMax
	r, err := Run(t.Context(), cfg, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	got := r.Trials[0]
	if got.Lost != 1 || got.FaultCount != 1 || !strings.Contains(got.Faults[0], "not received by all") {
		t.Errorf("lost %d, faults %q", got.Lost, got.Faults)
	}
}

// TestWindowEndsAtUnknown: a slot whose message failed sends no other, since the failed one might
// still arrive.
func TestWindowEndsAtUnknown(t *testing.T) {
	p := newPeer(t)
	p.answer = func(int) (proto.Code, bool) { return proto.CodeFailure, false }
	cfg := small(p)
	cfg.Windows = []int{3}
	r, err := Run(t.Context(), cfg, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	if got := r.Trials[0]; got.Unknown != 3 || got.FaultCount != 3 || p.messageCount() != 3 {
		t.Errorf("unknown %d, faults %q, %d messages, want 3 each", got.Unknown, got.Faults, p.messageCount())
	}
}

// TestLoginRefused names the user and the reason.
func TestLoginRefused(t *testing.T) {
	p := newPeer(t)
	p.refuseLogin = true
	cfg := small(p)
	cfg.Windows, cfg.Dialect = []int{1}, proto.DialectCIM
	_, err := Run(t.Context(), cfg, io.Discard)
	if err == nil || !strings.Contains(err.Error(), "log in load-1-0-") || !strings.Contains(err.Error(), "no_grant") {
		t.Errorf("error %v", err)
	}
}

// TestIdle measures memory and nothing else.
func TestIdle(t *testing.T) {
	p := newPeer(t)
	cfg := small(p)
	cfg.Mode, cfg.Conns = Idle, []int{20}
	r, err := Run(t.Context(), cfg, io.Discard)
	if err != nil || r.Failed() != nil {
		t.Fatal(err, r.Failed())
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.logins != 20 || p.pings < 20 || len(r.Trials) != 1 || r.Trials[0].LoginS <= 0 {
		t.Errorf("%d logins, %d pings, %+v", p.logins, p.pings, r.Trials)
	}
	checkProcesses(t, cfg, r.Trials[0])
}

// TestCancel ends a run in its warm-up.
func TestCancel(t *testing.T) {
	p := newPeer(t)
	ctx, cancel := context.WithCancel(t.Context())
	p.answer = func(n int) (proto.Code, bool) {
		if n == 3 {
			cancel()
		}
		return proto.CodeSuccess, true
	}
	cfg := small(p)
	cfg.Warmup, cfg.Rates = time.Hour, []int{100}
	began := time.Now()
	if _, err := Run(ctx, cfg, io.Discard); err == nil {
		t.Error("no error")
	}
	if took := time.Since(began); took > cfg.Drain/2 {
		t.Errorf("took %s", took)
	}
}
