package loadgen_test

import (
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"cim/loadgen"
	"cim/proto"
)

// TestWants runs private messages of each want over a real server and route.
// Their outcomes are what the want promises, nothing is lost, and what the clients
// received is acknowledged: a text of want 1 is answered as received only then.
func TestWants(t *testing.T) {
	for _, via := range []loadgen.Via{loadgen.ViaConn, loadgen.ViaHTTP} {
		for _, want := range []proto.Want{proto.WantReceived, proto.WantStored} {
			t.Run(fmt.Sprintf("%s, want %d", via, want), func(t *testing.T) {
				t.Parallel()
				s := startSystem(t)
				cfg := loadgen.Defaults()
				cfg.Routes, cfg.Conns, cfg.HTTPConns, cfg.LoginsAtOnce = []string{s.url}, []int{12}, 32, 8
				cfg.Mode, cfg.Via, cfg.Want, cfg.Rates, cfg.Verify = loadgen.Private, via, want, []int{300}, true
				cfg.Warmup, cfg.Duration, cfg.Drain = 0, time.Second, 20*time.Second
				x := newProxy(t, s.listed, s.listens, 1, 0)
				r, err := loadgen.Run(t.Context(), cfg, io.Discard)
				x.close()
				if err != nil {
					t.Fatal(err)
				}
				if err := r.Failed(); err != nil {
					t.Fatal(err)
				}
				checkWant(t, r, want)
			})
		}
	}
}

func checkWant(t *testing.T, r loadgen.Report, want proto.Want) {
	t.Helper()
	got := r.Trials[0]
	taken := got.OutcomeReceived + got.Stored + got.Refused
	if taken != 300 || got.Delivered != 0 || got.Outcome.Count == 0 || r.Dialect != "cim" || r.Want != int(want) {
		t.Errorf("outcomes of 300 messages: %+v", got)
	}
	if received := got.OutcomeReceived > 0; received != (want == proto.WantReceived) {
		t.Errorf("want %d: %d messages answered as received", want, got.OutcomeReceived)
	}
	var out strings.Builder
	if err := r.Print(&out, 0); err != nil || !strings.Contains(out.String(), fmt.Sprintf("want %d: received %d, stored %d", want, got.OutcomeReceived, got.Stored)) {
		t.Errorf("printed %q, %v", out.String(), err)
	}
}
