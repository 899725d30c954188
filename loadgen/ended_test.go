package loadgen

import (
	"context"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"cim/proto"
)

// long is a load that must be stopped: otherwise it takes an hour.
func long(p *peer) Config {
	cfg := small(p)
	cfg.Warmup, cfg.Duration, cfg.Drain = 0, time.Hour, time.Minute
	return cfg
}

// soon is far less than such a load would take, and its Drain.
const soon = 30 * time.Second

// runSoon fails if the run does not end soon.
func runSoon(ctx context.Context, t *testing.T, cfg Config) (Report, error) {
	t.Helper()
	began := time.Now()
	r, err := Run(ctx, cfg, io.Discard)
	if took := time.Since(began); took > soon {
		t.Errorf("took %s", took)
	}
	return r, err
}

// TestServerEnds closes every receiver's connection in the middle of each kind
// of load, with a CLOSE and without: the run ends at once, says so, and what
// they lack is not lost.
func TestServerEnds(t *testing.T) {
	loads := map[string]func(*Config){
		"group, http, window":  func(c *Config) { c.Windows = []int{3} },
		"group, conn, window":  func(c *Config) { c.Via, c.Windows = ViaConn, []int{3} },
		"private, http, rate":  func(c *Config) { c.Mode, c.Rates = Private, []int{500} },
		"private, conn, rate":  func(c *Config) { c.Mode, c.Via, c.Rates = Private, ViaConn, []int{500} },
		"group, http, 2 lists": func(c *Config) { c.Windows, c.Conns = []int{1, 2}, []int{6, 5} },
	}
	for name, load := range loads {
		for _, reason := range []proto.Reason{proto.ReasonNone, proto.ReasonDraining} {
			t.Run(name+" "+reason.String(), func(t *testing.T) {
				p := newPeer(t)
				p.deliver = func(p *peer, s *peerSession, body []byte) [][]byte {
					if s.delivered < 5 {
						return [][]byte{proto.AppendDelivery(nil, body, s.user.ID)}
					}
					if s.delivered == 5 && reason != proto.ReasonNone {
						p.write(s, proto.AppendClose(nil, reason))
					}
					s.conn.Close()
					return nil
				}
				cfg := long(p)
				load(&cfg)
				r, err := runSoon(t.Context(), t, cfg)
				if err != nil || len(r.Trials) != 1 {
					t.Fatal(err, len(r.Trials))
				}
				got := r.Trials[0]
				if got.Lost != 0 || got.Ended == 0 || got.Undelivered == 0 || !got.Partial || got.MeasuredS > soon.Seconds() {
					t.Errorf("%+v", got)
				}
				if !strings.Contains(r.Stopped, "the server ended ") || r.Failed() == nil {
					t.Errorf("stopped %q, failed %v", r.Stopped, r.Failed())
				}
				if named := strings.Contains(r.Stopped, proto.ReasonDraining.String()); named != (reason != proto.ReasonNone) {
					t.Errorf("stopped %q of CLOSE %s", r.Stopped, reason)
				}
			})
		}
	}
}

// TestServerEndsIdle measures nothing and says why.
func TestServerEndsIdle(t *testing.T) {
	p := newPeer(t)
	cfg := long(p)
	cfg.Mode = Idle
	progress := writerFunc(func(b []byte) (int, error) {
		if strings.Contains(string(b), "logins in") {
			p.mu.Lock()
			defer p.mu.Unlock()
			for _, s := range p.sessions {
				s.conn.Close()
			}
		}
		return len(b), nil
	})
	_, err := Run(t.Context(), cfg, progress)
	if err == nil || err.Error() != "loadgen: nothing was measured: the server ended 6 of 6 connections" {
		t.Errorf("error %v", err)
	}
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(b []byte) (int, error) { return f(b) }

// TestInterrupted ends a run while it measures: what there is is reported, as
// a part, and the run counts as failed.
func TestInterrupted(t *testing.T) {
	loads := map[string]func(*Config){
		"window, http": func(c *Config) { c.Windows = []int{2, 1} },
		"window, conn": func(c *Config) { c.Via, c.Windows = ViaConn, []int{2} },
		"rate, http":   func(c *Config) { c.Rates = []int{500} },
		"rate, conn":   func(c *Config) { c.Via, c.Rates = ViaConn, []int{500} },
	}
	for name, load := range loads {
		t.Run(name, func(t *testing.T) {
			p := newPeer(t)
			ctx, cancel := context.WithCancelCause(t.Context())
			cfg := long(p)
			cfg.Watch = func(m Moment) {
				if m.Stage == "" { // a second of the measured time is over
					cancel(errors.New("signal: interrupt"))
				}
			}
			load(&cfg)
			r, err := runSoon(ctx, t, cfg)
			if err != nil || len(r.Trials) != 1 {
				t.Fatal(err, len(r.Trials))
			}
			got := r.Trials[0]
			if !got.Partial || got.Deliveries == 0 || got.MeasuredS <= 0 || got.Lost+got.Ended+got.Unsent+got.FaultCount != 0 {
				t.Errorf("%+v", got)
			}
			if err := r.Failed(); err == nil || !strings.Contains(err.Error(), "stopped early: signal: interrupt") {
				t.Errorf("failed %v", err)
			}
		})
	}
}

// TestInterruptedDrains: what comes a while after the run was stopped is not
// lost.
func TestInterruptedDrains(t *testing.T) {
	p := newPeer(t)
	ctx, cancel := context.WithCancelCause(t.Context())
	p.deliver = func(p *peer, s *peerSession, body []byte) [][]byte {
		cancel(errors.New("signal: interrupt"))
		frame := proto.AppendDelivery(nil, body, s.user.ID)
		p.all.Add(1)
		time.AfterFunc(drainEnded+200*time.Millisecond, func() {
			defer p.all.Done()
			p.mu.Lock()
			defer p.mu.Unlock()
			p.write(s, frame)
		})
		return nil
	}
	cfg := long(p)
	cfg.Rates = []int{50}
	r, err := runSoon(ctx, t, cfg)
	if err != nil || len(r.Trials) != 1 {
		t.Fatal(err, len(r.Trials))
	}
	if got := r.Trials[0]; got.Received == 0 || got.Lost != 0 {
		t.Errorf("%+v", got)
	}
}

// TestMoved: a server that drains asks its clients to log in elsewhere. That is
// no fault; if it then ends their connections, the run says why.
func TestMoved(t *testing.T) {
	for _, ends := range []bool{false, true} {
		p := newPeer(t)
		p.deliver = func(p *peer, s *peerSession, body []byte) [][]byte {
			if s.delivered == 3 {
				p.write(s, proto.AppendMove(nil, proto.ReasonDraining))
			}
			if ends && s.delivered == 5 {
				s.conn.Close()
				return nil
			}
			return [][]byte{proto.AppendDelivery(nil, body, s.user.ID)}
		}
		cfg := small(p)
		if ends {
			cfg = long(p)
		}
		cfg.Rates, cfg.Dialect = []int{100}, proto.DialectCIM
		r, err := runSoon(t.Context(), t, cfg)
		if err != nil || len(r.Trials) != 1 {
			t.Fatal(err, len(r.Trials))
		}
		if got := r.Trials[0]; got.Moved == 0 || got.FaultCount != 0 || (r.Failed() != nil) != ends {
			t.Errorf("ends %t: %+v, %v", ends, got, r.Failed())
		}
		if ends != strings.Contains(r.Stopped, "of them to log in elsewhere, which the load generator does not do") {
			t.Errorf("ends %t: stopped %q", ends, r.Stopped)
		}
	}
}
