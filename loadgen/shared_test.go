package loadgen

import (
	"io"
	"strings"
	"testing"
	"time"

	"cim/proto"
)

// sharing is a load of group messages over that many processes.
func sharing(t *testing.T, p *peer, procs int, load func(*Config)) Config {
	cfg := small(p)
	cfg.Conns, cfg.Loops, cfg.Rates = []int{20}, 1, []int{200}
	load(&cfg)
	if procs > 1 {
		cfg = spawned(t, cfg, procs, -1)
	}
	return cfg
}

// deliveries counts what p sent to its clients, in all runs together.
func (p *peer) deliveries() (n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, s := range p.sessions {
		n += s.delivered
	}
	return n
}

// TestShared shares group messages over two and three processes: the report is as of one process.
func TestShared(t *testing.T) {
	for name, load := range map[string]func(*Config){
		"group, http":           func(*Config) {},
		"group, conn, v1":       func(c *Config) { c.Via, c.Dialect = ViaConn, proto.DialectV1 },
		"group, two, verified":  func(c *Config) { c.Rates, c.Conns, c.Verify = []int{200, 100}, []int{6, 20}, true },
		"group, sizes":          func(c *Config) { c.Size = Sizes{Least: 64, Most: 500} },
		"mixed, http":           func(c *Config) { c.Mode, c.Mix = Mixed, Mix{1, 4} },
		"mixed, conn, poisson":  func(c *Config) { c.Mode, c.Via, c.Mix, c.Arrivals = Mixed, ViaConn, Mix{1, 1}, Poisson },
		"mixed, http, verified": func(c *Config) { c.Mode, c.Mix, c.Verify = Mixed, Mix{1, 1}, true },
	} {
		t.Run(name, func(t *testing.T) {
			alone := newPeer(t)
			if _, err := Run(t.Context(), sharing(t, alone, 1, load), io.Discard); err != nil {
				t.Fatal(err)
			}
			for _, procs := range []int{2, 3} {
				p := newPeer(t)
				cfg := sharing(t, p, procs, load)
				r, err := Run(t.Context(), cfg, io.Discard)
				if err != nil || r.Failed() != nil {
					t.Fatal(err, r.Failed())
				}
				if got, want := p.messageCount(), alone.messageCount(); got != want {
					t.Errorf("%d processes sent %d messages, one sends %d", procs, got, want)
				}
				checkAllCame(t, cfg, r, p)
			}
		})
	}
}

func checkAllCame(t *testing.T, cfg Config, r Report, p *peer) {
	t.Helper()
	received, delivered := 0, 0
	for i, trial := range r.Trials {
		received, delivered = received+trial.Received, delivered+trial.Delivered
		if want := cfg.Conns[i/len(cfg.Rates)]; trial.Conns != want || trial.Rate != cfg.Rates[i%len(cfg.Rates)] {
			t.Errorf("%d clients at %d, want %d at one of %v", trial.Conns, trial.Rate, want, cfg.Rates)
		}
		if cfg.Mode == Group && trial.Received != trial.Delivered*(trial.Conns-1) {
			t.Errorf("received %d of %d messages", trial.Received, trial.Delivered)
		}
		if late := trial.Late.Count; cfg.Arrivals == Constant && late != int64(trial.Rate)/5 {
			t.Errorf("%d sends of the measured time, want %d", late, trial.Rate/5)
		}
		checkFollowed(t, cfg, trial)
		sent := 0
		for _, s := range trial.Series {
			sent += s.Sent
		}
		if trial.Latency.Count == 0 || sent == 0 || sent > trial.Delivered {
			t.Errorf("%d of %d messages in the series, latency of %d", sent, trial.Delivered, trial.Latency.Count)
		}
	}
	if here := p.deliveries(); len(cfg.Conns) == 1 && received != here { // a peer still sends to fleets that have gone
		t.Errorf("%d deliveries of %d", received, here)
	}
	if len(r.Trials) != len(cfg.Conns)*len(cfg.Rates) || delivered != p.messageCount() {
		t.Errorf("%d trials: %d messages of %d", len(r.Trials), delivered, p.messageCount())
	}
}

// ofWorker does wrong to the fifth delivery of each client of one worker, of a
// run's first fleet.
func ofWorker(number string, wrong func(s *peerSession, frame, body []byte) [][]byte) func(*peer, *peerSession, []byte) [][]byte {
	return once(func(_ *peer, s *peerSession, frame, body []byte) [][]byte {
		if !strings.HasPrefix(s.user.Name, "load-1-"+number+"-") {
			return [][]byte{frame}
		}
		return wrong(s, frame, body)
	})
}

// TestSharedFaults lets deliveries to one worker that only receives go wrong:
// the sum of all has each, once.
func TestSharedFaults(t *testing.T) {
	const receivers = 6 // of worker 2 of 3
	for name, wrong := range map[string]struct {
		deliver func(*peer, *peerSession, []byte) [][]byte
		want    Trial
	}{
		"lost": {
			ofWorker("2", func(*peerSession, []byte, []byte) [][]byte { return nil }),
			Trial{Lost: receivers},
		},
		"doubled": {
			ofWorker("2", func(_ *peerSession, frame, _ []byte) [][]byte { return [][]byte{frame, frame} }),
			Trial{Doubled: receivers},
		},
		"of another sender": {
			ofWorker("2", func(s *peerSession, _, body []byte) [][]byte {
				var v proto.View
				v.Parse(body)
				return [][]byte{proto.AppendDelivery(nil, proto.AppendSentBody(nil, s.user.ID, s.user.Name, 1, v.Text), s.user.ID)}
			}),
			Trial{WrongSender: receivers, Lost: receivers},
		},
		"of a trial of the receiver's own": {
			ofWorker("2", func(s *peerSession, _, body []byte) [][]byte {
				return [][]byte{forged(s, body, func(h *heading) { h.trial += 2 << fleetShift })}
			}),
			Trial{Misdelivered: receivers, Lost: receivers},
		},
		"past the schedule": {
			ofWorker("2", func(s *peerSession, frame, body []byte) [][]byte {
				return [][]byte{frame, forged(s, body, func(h *heading) { h.sequence += 1 << 20 })}
			}),
			Trial{Misdelivered: receivers},
		},
	} {
		for _, verify := range []bool{false, true} {
			t.Run(name, func(t *testing.T) {
				t.Parallel() // they wait
				p := newPeer(t)
				p.deliver = wrong.deliver
				r, err := Run(t.Context(), sharing(t, p, 3, func(c *Config) { c.Verify, c.Drain = verify, neverMax }), io.Discard)
				if err != nil {
					t.Fatal(err)
				}
				got := r.Trials[0]
				if got.Lost != wrong.want.Lost || got.Doubled != wrong.want.Doubled || got.Reordered != 0 ||
					got.Misdelivered != wrong.want.Misdelivered || got.WrongSender != wrong.want.WrongSender {
					t.Errorf("verify %v: %+v, want %+v", verify, got, wrong.want)
				}
				if r.Failed() == nil || len(got.Examples) == 0 || !strings.HasPrefix(got.Examples[0], "worker 2: ") {
					t.Errorf("failed: %v, examples %q", r.Failed(), got.Examples)
				}
			})
		}
	}
}

// forged is a delivery to s of body with another heading.
func forged(s *peerSession, body []byte, change func(*heading)) []byte {
	var v proto.View
	v.Parse(body)
	h, _ := parseText(v.Text)
	change(&h)
	text := string(appendText(nil, h, string(v.Text[paddingAt:])))
	return proto.AppendDelivery(nil, []byte(strings.Replace(string(body), string(v.Text), text, 1)), s.user.ID)
}

// TestSharedNeverSent delivers messages that the schedule has and no worker sent: they are found at
// the end.
func TestSharedNeverSent(t *testing.T) {
	p := newPeer(t)
	p.deliver = ofWorker("1", func(s *peerSession, frame, body []byte) [][]byte {
		return [][]byte{frame, forged(s, body, func(h *heading) { h.sequence += 100 })}
	})
	r, err := Run(t.Context(), sharing(t, p, 3, func(*Config) {}), io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	if got := r.Trials[0]; got.Misdelivered != 7 || got.Lost != 0 || got.Received != got.Delivered*19 || got.Failed() == nil {
		t.Errorf("%+v", got)
	}
}

// TestSharedRefused refuses every third message, with and without delivering it.
func TestSharedRefused(t *testing.T) {
	for name, brought := range map[string]bool{"kept by nobody": false, "brought": true} {
		for _, via := range []Via{ViaHTTP, ViaConn} {
			t.Run(name+", "+string(via), func(t *testing.T) {
				p := newPeer(t)
				p.answer = func(n int) (proto.Code, bool) {
					if n%3 == 0 {
						return proto.CodeLimit, brought
					}
					return proto.CodeSuccess, true
				}
				cfg := sharing(t, p, 3, func(c *Config) { c.Via, c.Verify = via, brought })
				r, err := Run(t.Context(), cfg, io.Discard)
				if err != nil {
					t.Fatal(err)
				}
				wrong := 0
				if brought {
					wrong = r.Trials[0].Refused * 19
				}
				got := r.Trials[0]
				if got.Refused != p.messageCount()/3 || got.Refused == 0 || got.FailedDelivered != wrong || got.Lost+got.Doubled+got.FaultCount != 0 {
					t.Errorf("%d failed and came, want %d: %+v", got.FailedDelivered, wrong, got)
				}
			})
		}
	}
}

// TestSharedEnds ends the connections of one worker in the first of two trials: the run ends with
// what there is, and no worker waits for the one that left.
func TestSharedEnds(t *testing.T) {
	for name, number := range map[string]string{"sender": "0", "receiver": "2"} {
		t.Run(name, func(t *testing.T) {
			p := newPeer(t)
			p.deliver = ofWorker(number, func(s *peerSession, frame, _ []byte) [][]byte {
				s.conn.Close() // a client that has gone is what this is about
				return nil
			})
			cfg := sharing(t, p, 3, func(c *Config) { c.Duration, c.Rates = time.Second, []int{100, 50} })
			began := time.Now()
			r, err := Run(t.Context(), cfg, io.Discard)
			if err != nil {
				t.Fatal(err)
			}
			if len(r.Trials) != 1 || !r.Trials[0].Partial || r.Trials[0].Ended == 0 || r.Trials[0].Lost != 0 || !strings.Contains(r.Stopped, "the server ended") {
				t.Errorf("stopped %q: %+v", r.Stopped, r.Trials)
			}
			if took := time.Since(began); took > 20*time.Second {
				t.Errorf("took %s", took)
			}
		})
	}
}

// TestSharedWindow keeps group messages outstanding over two and three processes: each message
// reaches all, its skew is known, and its sender gets the credit.
func TestSharedWindow(t *testing.T) {
	for name, of := range map[string]struct {
		procs int
		load  func(*Config)
	}{
		"group, http":         {3, func(c *Config) { c.Windows = []int{1, 3} }},
		"group, conn, v1":     {2, func(c *Config) { c.Via, c.Dialect, c.Windows, c.Verify = ViaConn, proto.DialectV1, []int{3}, true }},
		"group, two fleets":   {2, func(c *Config) { c.Windows, c.Conns = []int{2}, []int{6, 20} }},
		"mixed, http, thinks": {3, func(c *Config) { c.Mode, c.Mix, c.Windows, c.Think = Mixed, Mix{1, 2}, []int{3, 2}, time.Millisecond }},
		"mixed, conn":         {2, func(c *Config) { c.Mode, c.Via, c.Mix, c.Windows, c.Verify = Mixed, ViaConn, Mix{1, 1}, []int{4}, true }},
	} {
		t.Run(name, func(t *testing.T) {
			p := newPeer(t)
			cfg := sharing(t, p, of.procs, func(c *Config) { c.Rates, c.Duration = nil, 500*time.Millisecond; of.load(c) })
			r, err := Run(t.Context(), cfg, io.Discard)
			if err != nil || r.Failed() != nil {
				t.Fatal(err, r.Failed())
			}
			if len(r.Trials) != len(cfg.Conns)*len(cfg.Windows) {
				t.Fatalf("%d trials", len(r.Trials))
			}
			skews := int64(0)
			for i, trial := range r.Trials {
				if trial.Window != cfg.Windows[i%len(cfg.Windows)] || trial.Rate != 0 {
					t.Errorf("window %d, rate %d", trial.Window, trial.Rate)
				}
				checkFollowed(t, cfg, trial)
				skews += trial.Skew.Count
			}
			if skews == 0 {
				t.Error("the skew of no message is known")
			}
		})
	}
}

// checkFollowed checks that each group message has reached all, and that this is known.
func checkFollowed(t *testing.T, cfg Config, trial Trial) {
	t.Helper()
	groups := (trial.Received - trial.Delivered) / (trial.Conns - 2) // each has so many receivers more
	if trial.Received != trial.Delivered+groups*(trial.Conns-2) || cfg.Mode == Group && groups != trial.Delivered {
		t.Errorf("received %d of %d messages", trial.Received, trial.Delivered)
	}
	got, alone := trial.Skew, trial.Latency.Count-trial.Skew.Count*int64(trial.Conns-1)
	if trial.Unfollowed != 0 || alone < 0 || cfg.Mode == Group && alone > 0 || got.Max > trial.Latency.Max {
		t.Errorf("%d of %d messages not followed, skew %+v, latency %+v", trial.Unfollowed, groups, got, trial.Latency)
	}
	if n := trial.Credit.Count; trial.Window == 0 && n > 0 || trial.Window > 0 && n < got.Count || n > int64(groups) {
		t.Errorf("%d credits of %d messages, skew of %d", n, groups, got.Count)
	}
}

// TestSharedWindowFaults: a window ends where a message does not reach all, and
// is no other for messages that were refused.
func TestSharedWindowFaults(t *testing.T) {
	windowed := func(c *Config) { c.Rates, c.Windows, c.Via, c.Duration = nil, []int{2}, ViaConn, time.Second }
	t.Run("lost", func(t *testing.T) {
		p := newPeer(t)
		p.deliver = ofWorker("2", func(*peerSession, []byte, []byte) [][]byte { return nil })
		r, err := Run(t.Context(), sharing(t, p, 3, windowed), io.Discard)
		if err != nil {
			t.Fatal(err)
		}
		got := r.Trials[0]
		if got.Lost != 6 || got.Unfollowed == 0 || got.FaultCount == 0 || !strings.Contains(got.Faults[0], "not received by all") {
			t.Errorf("%+v", got)
		}
	})
	t.Run("doubled", func(t *testing.T) {
		p := newPeer(t)
		p.deliver = ofWorker("2", func(_ *peerSession, frame, _ []byte) [][]byte { return [][]byte{frame, frame} })
		r, err := Run(t.Context(), sharing(t, p, 3, func(c *Config) { windowed(c); c.Verify = true }), io.Discard)
		if err != nil {
			t.Fatal(err)
		}
		if got := r.Trials[0]; got.Doubled != 6 || got.Lost+got.Misdelivered+got.Unfollowed+got.FaultCount != 0 || got.Received != got.Delivered*19 {
			t.Errorf("%+v", got)
		}
	})
	t.Run("refused", func(t *testing.T) {
		p := newPeer(t)
		p.answer = func(n int) (proto.Code, bool) {
			if n%3 == 0 {
				return proto.CodeLimit, false
			}
			return proto.CodeSuccess, true
		}
		r, err := Run(t.Context(), sharing(t, p, 3, windowed), io.Discard)
		if err != nil || r.Failed() != nil {
			t.Fatal(err, r.Failed())
		}
		if got := r.Trials[0]; got.Refused != p.messageCount()/3 || got.Unfollowed != 0 || got.Received != got.Delivered*19 {
			t.Errorf("%+v", got)
		}
	})
	for name, number := range map[string]string{"sender ends": "0", "receiver ends": "2"} {
		t.Run(name, func(t *testing.T) {
			p := newPeer(t)
			p.deliver = ofWorker(number, func(s *peerSession, frame, _ []byte) [][]byte {
				s.conn.Close() // a client that has gone is what this is about
				return nil
			})
			began := time.Now()
			r, err := Run(t.Context(), sharing(t, p, 3, windowed), io.Discard)
			if err != nil {
				t.Fatal(err)
			}
			if len(r.Trials) != 1 || r.Trials[0].Ended == 0 || r.Trials[0].Lost != 0 || !strings.Contains(r.Stopped, "the server ended") {
				t.Errorf("stopped %q: %+v", r.Stopped, r.Trials)
			}
			if took := time.Since(began); took > 20*time.Second {
				t.Errorf("took %s", took)
			}
		})
	}
}
