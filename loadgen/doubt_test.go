package loadgen

import (
	"runtime"
	"strings"
	"testing"
	"time"
)

// TestDoubts goes to each limit and one past it.
func TestDoubts(t *testing.T) {
	cores := float64(runtime.NumCPU())
	late := func(us float64) Quantiles { return Quantiles{Count: 1, P99: us} }
	for _, c := range []struct {
		via           Via
		late, latency Quantiles
		used          strain
		want          string
	}{
		{ViaHTTP, late(5000), late(9000), strain{}, ""},
		{ViaHTTP, late(5001), late(90_000), strain{}, "5.0 ms late"},
		{ViaConn, late(400), late(800), strain{}, ""},
		{ViaConn, late(401), late(800), strain{}, "0.40 ms late, which is much of a p99 of 0.80 ms"},
		{ViaHTTP, late(401), late(800), strain{}, ""},
		{ViaConn, late(200), late(201), strain{}, ""},
		{ViaConn, late(401), Quantiles{}, strain{}, ""},
		{ViaHTTP, late(1), late(1), strain{own: 0.9, busiest: 0.9, servers: 0.9*cores - 0.91}, ""},
		{ViaHTTP, late(1), late(1), strain{own: 1, busiest: 0.91}, "a thread of the load generator used 0.91 of a core"},
		{ViaHTTP, late(1), late(1), strain{own: 0.5, servers: 0.9*cores - 0.49}, "the machine was full"},
		{ViaHTTP, late(1), late(1), strain{own: 0.9*cores + 0.01}, "a machine of its own"},
	} {
		f := &fleet{cfg: Config{Via: c.via}}
		got := strings.Join(f.doubts(c.late, c.latency, c.used), "; ")
		if !strings.Contains(got, c.want) || (got == "") != (c.want == "") {
			t.Errorf("%+v: %q", c, got)
		}
	}
}

// TestRefusals: figures of a few messages that were taken are no good news.
func TestRefusals(t *testing.T) {
	for refused, want := range map[int]int{0: 0, 1: 0, 2: 1} {
		trial := Trial{Delivered: 90, Stored: 9, Refused: refused}
		if trial.refusals(); len(trial.Warnings) != want {
			t.Errorf("%d refused: %q", refused, trial.Warnings)
		}
	}
}

// TestBusiest: the thread that used most CPU of a process is known.
func TestBusiest(t *testing.T) {
	u := usage{threads: map[string]time.Duration{"1": 5e9, "2": 9e9}}.since(usage{threads: map[string]time.Duration{"1": 1e9, "2": 8e9}})
	if got := u.strain(8); got.busiest != 0.5 {
		t.Errorf("%+v", got)
	}
	if got := u.strain(0); got != (strain{}) {
		t.Errorf("%+v in no time", got)
	}
	now, err := usageOf(nil)
	if err != nil || len(now.threads) == 0 {
		t.Errorf("%+v: %v", now, err)
	}
}
