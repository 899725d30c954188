package loadgen

import (
	"bytes"
	"encoding/csv"
	"strings"
	"testing"
	"time"
)

// measured is a trial with three deliveries of 1, 2 and 30 ms.
func measured() Trial {
	h := newHistogram()
	for _, d := range []time.Duration{time.Millisecond, 2 * time.Millisecond, 30 * time.Millisecond} {
		record(h, int64(d))
	}
	return Trial{
		Conns: 7, Rate: 50, Deliveries: 3, DeliveriesPerSecond: 1.5, Latency: quantilesOf(h), Histogram: encoded(h),
		Series: []Second{{Second: 0, Sent: 2, Deliveries: 1, P50: 1.5}, {Second: 1, Sent: 1, Deliveries: 2, Errors: 4}},
	}
}

// TestHistogramIsWhole reads back what a report carries.
func TestHistogramIsWhole(t *testing.T) {
	trial := measured()
	h, err := trial.decoded()
	if err != nil || quantilesOf(h) != trial.Latency {
		t.Errorf("%+v, want %+v: %v", quantilesOf(h), trial.Latency, err)
	}
	trial.Histogram = "nonsense"
	if err := trial.WriteHGRM(new(bytes.Buffer)); err == nil {
		t.Error("nonsense is a histogram")
	}
}

func TestWriteHGRM(t *testing.T) {
	var out strings.Builder
	if err := measured().WriteHGRM(&out); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"Value\tPercentile\tTotalCount", "\n       1.000     0.000000            1", "Total count    =            3"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q in\n%s", want, out.String())
		}
	}
}

func TestWriteCSV(t *testing.T) {
	var out strings.Builder
	if err := (Report{Trials: []Trial{{Conns: 1}, measured()}}).WriteCSV(&out); err != nil {
		t.Fatal(err)
	}
	rows, err := csv.NewReader(strings.NewReader(out.String())).ReadAll()
	if err != nil || len(rows) != 3 {
		t.Fatalf("%q: %v", rows, err)
	}
	if got := strings.Join(rows[1], " "); got != "2 7 0 50 0 2 1 0 1.5 0 0 0 0 0" {
		t.Errorf("row %q", got)
	}
	if (Report{Trials: []Trial{measured()}}).WriteCSV(brokenWriter{}) == nil {
		t.Error("a write that failed is not reported")
	}
}

// TestWriteBenchmark: a name without a space, a count, pairs of number and unit.
func TestWriteBenchmark(t *testing.T) {
	var out strings.Builder
	if err := (Report{System: "redis pubsub", Arrivals: Poisson, Mode: Private, Via: ViaConn, Size: "128", Trials: []Trial{measured()}}).WriteBenchmark(&out); err != nil {
		t.Fatal(err)
	}
	fields := strings.Fields(out.String())
	if fields[0] != "BenchmarkLoadgen/system=redis_pubsub/mode=private/via=conn/size=128/conns=7/rate=50/arrivals=poisson" || fields[1] != "3" || len(fields)%2 != 0 {
		t.Errorf("%q", out.String())
	}
	if !strings.Contains(out.String(), "1.5 deliveries/s") || strings.Contains(out.String(), "server-cpu") {
		t.Errorf("%q", out.String())
	}
}

// TestSLO holds each comparison against its edge.
func TestSLO(t *testing.T) {
	r := Report{Trials: []Trial{measured(), {Conns: 2, Window: 1, Lost: 3, Latency: Quantiles{Count: 1, P99: 20_000}}}}
	for text, missed := range map[string]int{
		"lost==3":                 1,
		"lost<=3,lost<4":          0,
		"lost<3":                  1,
		"lost>=0 , lost!=3":       1,
		"deliveries>1":            1,
		"p99<=20ms":               1, // the other one has 30
		"p99<20ms":                2,
		"p99<31ms,max<1s,lost==0": 1,
	} {
		slo, err := ParseSLO(text)
		if err != nil || slo.String() != strings.ReplaceAll(text, " ", "") {
			t.Errorf("%s: %q, %v", text, slo, err)
		}
		if got := slo.Missed(r); len(got) != missed {
			t.Errorf("%s: missed %q, want %d", text, got, missed)
		}
		if len(slo.Missed(Report{})) != 1 {
			t.Errorf("%s is met by a run without a trial", text)
		}
	}
	slo, err := ParseSLO("p50<1s")
	if err != nil || len(slo.Missed(Report{Trials: []Trial{{}}})) != 1 {
		t.Errorf("a latency that was not measured is met: %v", err)
	}
	for _, text := range []string{
		"", "p99", "p99<", "p98<1ms", "p99<20", "lost==x", "lost==0,,p99<1s", "lost=0", "lost!=NaN", "lost<Inf", "lost>-1", "p99>-1ms",
	} {
		if _, err := ParseSLO(text); err == nil {
			t.Errorf("%q was taken", text)
		}
	}
}

// TestSLOUnmeasured: a figure that was not measured is missed, and terms that a run would not
// measure are refused before.
func TestSLOUnmeasured(t *testing.T) {
	group := whole()
	pids, verified, storm := whole(), whole(), whole()
	pids.ServerPIDs = []int{7}
	verified.Verify = true
	storm.Mode = Storm
	idle := pids
	idle.Mode = Idle
	for _, c := range []struct {
		term          string
		lacks, has    Config
		unmeasured, m Trial
	}{
		{"cpu<5us", group, pids, Trial{Window: 1, Deliveries: 5}, Trial{Window: 1, Deliveries: 5, Processes: []Process{{}}}},
		{"cpu<5us", idle, pids, Trial{Window: 1, Processes: []Process{{}}}, Trial{Window: 1, Deliveries: 5, Processes: []Process{{}}}},
		{"memory<5", pids, idle, Trial{}, Trial{Processes: []Process{{}}}},
		{"late<5ms", group, rated(), Trial{Window: 1}, Trial{Rate: 1, Late: Quantiles{Count: 1}}},
		{"skew<5ms", storm, group, Trial{Window: 1}, Trial{Window: 1, Skew: Quantiles{Count: 1}}},
		{"p99<5ms", storm, group, Trial{Window: 1}, Trial{Window: 1, Latency: Quantiles{Count: 1}}},
		{"outcome_p99<5ms", storm, group, Trial{Window: 1}, Trial{Window: 1, Outcome: Quantiles{Count: 1}}},
		{"deliveries<5", storm, group, Trial{Phase: phaseBack}, Trial{Window: 1}},
	} {
		slo, err := ParseSLO(c.term)
		if err != nil {
			t.Fatal(err)
		}
		if slo.Check(c.lacks) == nil || slo.Check(c.has) != nil {
			t.Errorf("%s: %v; %v", c.term, slo.Check(c.lacks), slo.Check(c.has))
		}
		for met, trial := range map[bool]Trial{false: c.unmeasured, true: c.m} {
			if missed := slo.Missed(Report{Trials: []Trial{trial}}); (len(missed) == 0) != met {
				t.Errorf("%s: met %t, missed %q", c.term, met, missed)
			}
		}
	}
	ghosts, err := ParseSLO("ghosts==0")
	if err != nil || ghosts.Check(group) == nil || ghosts.Check(verified) != nil {
		t.Errorf("ghosts: %v", err)
	}
	if len(ghosts.Missed(Report{Trials: []Trial{{}}})) != 1 || len(ghosts.Missed(Report{Verified: true, Trials: []Trial{{}}})) != 0 {
		t.Error("ghosts nobody looked for")
	}
}

func rated() Config {
	c := whole()
	c.Windows, c.Rates = nil, []int{5}
	return c
}

// TestSLOJudges: a count that the SLO names fails the run by the SLO alone.
func TestSLOJudges(t *testing.T) {
	r := Report{Trials: []Trial{{Window: 1, Deliveries: 1, Lost: 2}}}
	slo, err := ParseSLO("lost<=2,doubled==0")
	if err != nil || r.FailedBut(slo) != nil || r.Failed() == nil {
		t.Errorf("%v; %v; %v", err, r.FailedBut(slo), r.Failed())
	}
	r.Trials[0].Corrupt = 1
	if r.FailedBut(slo) == nil {
		t.Error("what the SLO does not name is borne")
	}
}

// TestBenchmarkPhases: the two halves of a storm are two benchmarks.
func TestBenchmarkPhases(t *testing.T) {
	var out strings.Builder
	r := Report{Mode: Storm, Trials: []Trial{{Conns: 5, Phase: phaseLogin, LoginS: 1}, {Conns: 5, Phase: phaseBack, LoginS: 2}}}
	if err := r.WriteBenchmark(&out); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"/conns=5/phase=login\t", "/conns=5/phase=back\t", "\t2000000000 all-logins-ns"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q in %q", want, out.String())
		}
	}
}

// TestSizes: lengths within their bounds, the same again, and spread as asked.
func TestSizes(t *testing.T) {
	for text, mean := range map[string]float64{"64": 64, "128": 128, "64-1024": 544, "exp:200": 200, "32768": 32768} {
		s, err := ParseSizes(text)
		if err != nil || s.Check() != nil || s.String() != text {
			t.Errorf("%s: %+v, %q, %v, %v", text, s, s.String(), err, s.Check())
		}
		sum := 0
		const n = 20_000
		for i := range uint32(n) {
			size := s.of(1, i%7, i)
			if size < s.Least || size > s.Most || size != s.of(1, i%7, i) {
				t.Fatalf("%s: %d", text, size)
			}
			sum += size
		}
		if got := float64(sum) / n; got < 0.97*mean || got > 1.03*mean {
			t.Errorf("%s: mean %v, want %v", text, got, mean)
		}
	}
	for _, text := range []string{"", "x", "63", "32769", "64-", "-64", "1024-64", "exp:", "exp:63", "exp:-200", "64-1024-2048"} {
		if s, err := ParseSizes(text); err == nil && s.Check() == nil {
			t.Errorf("%q was taken", text)
		}
	}
}

// TestBook goes to the edges of words.
func TestBook(t *testing.T) {
	var b book
	for _, sequence := range []uint32{0, 63, 64, 130} {
		b.note(sequence, Delivered)
	}
	b.note(5, Refused)
	b.note(6, Unknown)
	for _, c := range []struct{ first, end, n, lowest uint32 }{
		{0, 131, 4, 0}, {1, 131, 3, 63}, {63, 64, 1, 63}, {64, 65, 1, 64}, {65, 130, 0, 0}, {65, 1000, 1, 130}, {131, 131, 0, 0}, {0, 0, 0, 0}, {500, 1000, 0, 0},
	} {
		lowest, found := b.promised.first(c.first, c.end)
		if n := b.promised.count(c.first, c.end); n != int(c.n) || found != (c.n > 0) || lowest != c.lowest {
			t.Errorf("%+v: %d from %d (%t)", c, n, lowest, found)
		}
	}
	if !b.failed.has(5) || b.failed.has(6) || b.promised.has(5) || b.promised.has(6) || b.failed.has(1<<20) {
		t.Errorf("%+v", b)
	}
}
