package loadgen

import (
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"cim/proto"
)

// TestStorm logs all in, cuts them and logs them in again.
func TestStorm(t *testing.T) {
	p := newPeer(t)
	cfg := small(p)
	cfg.Mode, cfg.Conns, cfg.Verify = Storm, []int{20}, true
	cfg.Sources = []netip.Addr{netip.MustParseAddr("127.0.0.2"), netip.MustParseAddr("127.0.0.3")}
	r, err := Run(t.Context(), cfg, io.Discard)
	if err != nil || r.Failed() != nil || len(r.Trials) != 2 {
		t.Fatal(err, r.Failed(), r.Trials)
	}
	for i, phase := range []string{phaseLogin, phaseBack} {
		if got := r.Trials[i]; got.Phase != phase || got.Logins.Count != 20 || got.LoginsPerSecond <= 0 || got.Logins.P50 <= 0 {
			t.Errorf("%+v", got)
		}
	}
	sources := map[string]int{}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.logins != 40 {
		t.Errorf("%d logins, want 40", p.logins)
	}
	for _, s := range p.sessions {
		sources[s.conn.RemoteAddr().(*net.TCPAddr).IP.String()]++
	}
	if len(sources) != 2 || sources["127.0.0.2"] != 10 || sources["127.0.0.3"] != 10 {
		t.Errorf("connections from %v", sources)
	}
}

// TestChurn cuts clients in turn at a rate; only those due in the measured time
// count.
func TestChurn(t *testing.T) {
	p := newPeer(t)
	cfg := small(p)
	cfg.Mode, cfg.Conns, cfg.Rates = Churn, []int{20}, []int{200, 100}
	r, err := Run(t.Context(), cfg, io.Discard)
	if err != nil || r.Failed() != nil || len(r.Trials) != 2 {
		t.Fatal(err, r.Failed(), r.Trials)
	}
	for i, want := range []int64{40, 20} {
		if got := r.Trials[i]; got.Phase != phaseChurn || got.Logins.Count != want || got.Late.Count != want || got.Unsent != 0 {
			t.Errorf("%+v, want %d logins", got, want)
		}
	}
}

// TestLoginCPU: the report has the CPU time of a login in the processes under test, for each kind
// of logins.
func TestLoginCPU(t *testing.T) {
	const burnt = 10 * time.Millisecond
	for mode, trials := range map[Mode]int{Storm: 2, Churn: 1, Idle: 0} {
		p := newPeer(t)
		p.refusePlace = func(int) proto.Code { // no refusal, but work
			used, err := cpuTime(os.Getpid())
			for end := used + burnt; err == nil && used < end; {
				used, err = cpuTime(os.Getpid())
			}
			return proto.CodeSuccess
		}
		cfg := small(p)
		cfg.Mode, cfg.Conns, cfg.Rates, cfg.ServerPIDs, cfg.Warmup = mode, []int{10}, []int{20}, []int{os.Getpid()}, 0
		cfg.Duration = 500 * time.Millisecond
		r, err := Run(t.Context(), cfg, io.Discard)
		if err != nil || r.Failed() != nil {
			t.Fatal(err, r.Failed())
		}
		told := 0
		for _, got := range r.Trials {
			if us := got.LoginCPUus; us >= float64(burnt.Microseconds())/2 {
				told++
			} else if us != 0 {
				t.Errorf("%s: %v µs a login of %s at least", mode, us, burnt)
			}
		}
		if told != trials {
			t.Errorf("%s: %d trials tell of it, want %d: %+v", mode, told, trials, r.Trials)
		}
	}
}

// TestChurnFails: a login that is refused ends the run, though others wait for
// the client that it was of.
func TestChurnFails(t *testing.T) {
	p := newPeer(t)
	p.refusePlace = func(n int) proto.Code {
		if n > 1 {
			time.Sleep(50 * time.Millisecond) // meanwhile others want the client
			return proto.CodeAccountMismatch
		}
		return proto.CodeSuccess
	}
	cfg := long(p)
	cfg.Mode, cfg.Conns, cfg.Rates, cfg.LoginsAtOnce = Churn, []int{1}, []int{500}, 3
	if _, err := runSoon(t.Context(), t, cfg); err == nil || !strings.Contains(err.Error(), "log in load-1-0-0") {
		t.Errorf("error %v", err)
	}
}

// TestRamp starts the last login when it is due, and counts no wait.
func TestRamp(t *testing.T) {
	p := newPeer(t)
	cfg := small(p)
	cfg.Mode, cfg.Conns, cfg.Ramp, cfg.Duration = Idle, []int{11}, 100, time.Millisecond
	r, err := Run(t.Context(), cfg, io.Discard)
	if err != nil || r.Failed() != nil {
		t.Fatal(err, r.Failed())
	}
	if got := r.Trials[0]; got.LoginS < 0.1 || got.Logins.Count != 11 {
		t.Errorf("%+v", got)
	}
}

// TestInterruptedGhosts: users who are still online when a run is stopped are asked for again.
func TestInterruptedGhosts(t *testing.T) {
	p := newPeer(t)
	p.ghostAsks = 2
	ctx, cancel := context.WithCancelCause(t.Context())
	p.answer = func(n int) (proto.Code, bool) {
		if n > 20 {
			cancel(errors.New("signal: interrupt"))
		}
		return proto.CodeSuccess, true
	}
	cfg := long(p)
	cfg.Mode, cfg.Conns, cfg.Rates, cfg.Verify = Private, []int{5}, []int{500}, true
	r, err := runSoon(ctx, t, cfg)
	if err != nil || r.Trials[0].Ghosts != 0 || p.ghostAsks > 0 {
		t.Errorf("%v: %+v", err, r)
	}
}

// TestGhosts names who is online though all connections have ended.
func TestGhosts(t *testing.T) {
	const forEver = 1 << 30
	for asks, ghosts := range map[int]bool{0: false, 2: false, forEver: true} {
		p := newPeer(t)
		p.ghostAsks = asks
		cfg := small(p)
		cfg.Mode, cfg.Conns, cfg.Rates, cfg.Verify = Private, []int{5}, []int{100}, true
		if ghosts {
			cfg.Drain = neverMax
		}
		r, err := Run(t.Context(), cfg, io.Discard)
		if err != nil {
			t.Fatal(err)
		}
		want, examples := 0, 0
		if ghosts {
			want, examples = 5, ghostsNamed
		}
		if got := r.Trials[0]; got.Ghosts != want || len(got.Examples) != examples || (r.Failed() != nil) != ghosts {
			t.Errorf("%+v, want %d ghosts: %v", got, want, r.Failed())
		}
	}
}
