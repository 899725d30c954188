package report

import (
	"encoding/json"
	"flag"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"

	"go.uber.org/goleak"

	"cim/loadgen"
)

var update = flag.Bool("update", false, "write the example runs of testdata anew")

// exampleRun is a run as bench writes it, made of nothing but its seed: cim, a
// peer and the floor under the same load, and cim alone under others.
func exampleRun(seed uint64) Run {
	random := rand.New(rand.NewPCG(seed, 1))
	group := func(system, guarantee string, factor float64) Outcome {
		one, ten := exampleTrial(random, 1001, 16, 0, factor), exampleTrial(random, 10001, 16, 0, factor)
		return Outcome{
			Name: "group, window 16", System: system, Guarantee: guarantee,
			Load:    []string{"--mode", "group", "--via", "http", "--conns", "1001,10001", "--window", "16"},
			Results: []Result{{Name: "CPU a delivery", Unit: "µs", Bound: AtMost, Reach: 0.6, Got: one.ServerCPUus, Met: one.ServerCPUus <= 0.6}},
			Report:  exampleReport(loadgen.Group, one, ten),
		}
	}
	private := exampleTrial(random, 1000, 0, 5000, 3)
	first := exampleTrial(random, 1000, 0, 5000, 3.1)
	return Run{
		Label: "example-" + string(rune('a'+seed-1)),
		Manifest: Manifest{
			Commit: "0123456789abcdef0123456789abcdef01234567", Go: "go1.26.8", Kernel: "6.18.44", CPU: "a made-up one", CPUs: 2, Memory: "24684096 kB",
			LoadBegan: "0.10 0.20 0.30 1/86 11807", LoadEnded: "1.10 0.60 0.40 1/86 11907",
			Began: time.Date(2026, 11, 23, 9, 0, int(seed), 0, time.UTC), Ended: time.Date(2026, 11, 23, 9, 2, int(seed), 0, time.UTC),
			Seed: seed, Settings: map[string]string{"group, window 16": "--window 16"},
			Programs: map[string]string{"nats-server": "2.9.10-1"}, Modules: map[string]string{"example.com/module": "v1.0.0"},
		},
		Outcomes: []Outcome{
			group("cim standalone", "taken or stored, in order", 1),
			group("nats", "at most once", 0.8),
			group(Floor, "none", 0.4),
			{
				Name: "private over HTTP", System: "cim standalone", Guarantee: "taken or stored, in order",
				Load: []string{"--mode", "private", "--rate", "5000"},
				Results: []Result{{
					Name: "p99", Unit: "ms", Bound: AtMost, Reach: 1.2, Got: private.Latency.P99 / 1000,
					Samples: []float64{private.Latency.P99 / 1000, first.Latency.P99 / 1000}, Low: 0.5, High: 1.9, Confidence: 0.9375,
				}},
				Report: exampleReport(loadgen.Private, private),
				Runs:   []loadgen.Report{exampleReport(loadgen.Private, first), exampleReport(loadgen.Private, private)},
			},
			{
				Name: "held", System: "cim standalone",
				Report: exampleReport(loadgen.Idle, loadgen.Trial{Conns: 10_000, LoginS: 0.98, IdleBytes: 1355, MeasuredS: 10}),
			},
		},
	}
}

func exampleReport(mode loadgen.Mode, trials ...loadgen.Trial) loadgen.Report {
	return loadgen.Report{
		Mode: mode, Via: loadgen.ViaHTTP, Dialect: "v2", TextBytes: 128, HTTPConns: 64, Loops: 1, Seed: 1,
		WarmupS: 2, DurationS: 5, Trials: trials,
	}
}

// exampleTrial has latencies of a long tail, longer by factor.
func exampleTrial(random *rand.Rand, conns, window, rate int, factor float64) loadgen.Trial {
	h := hdrhistogram.New(1, int64(time.Minute), 3)
	for range 50_000 {
		if err := h.RecordValue(int64(factor * 400_000 * math.Exp(0.7*random.NormFloat64()))); err != nil {
			panic(err)
		}
	}
	encoded, err := h.Encode(hdrhistogram.V2CompressedEncodingCookieBase)
	if err != nil {
		panic(err)
	}
	us := func(q float64) float64 { return float64(h.ValueAtQuantile(q)) / 1000 }
	latency := loadgen.Quantiles{
		Count: h.TotalCount(), P50: us(50), P90: us(90), P99: us(99), P999: us(99.9), P9999: us(99.99), Max: float64(h.Max()) / 1000,
	}
	perSecond := 1e6 / factor
	t := loadgen.Trial{
		Conns: conns, Window: window, Rate: rate, LoginS: 0.125, MeasuredS: 5, Deliveries: int(5 * perSecond), DeliveriesPerSecond: perSecond,
		ServerCPUus: 0.7 * factor * (1 + 0.1*random.Float64()), OwnCPUus: 0.5, Latency: latency, Service: latency,
		Delivered: 50_000, Received: 50_000, Histogram: string(encoded),
	}
	for s := range 5 {
		t.Series = append(t.Series, loadgen.Second{
			Second: s, Sent: 10_000, Deliveries: int(perSecond * (0.9 + 0.2*random.Float64())), P50: latency.P50, P99: latency.P99 * (0.8 + 0.4*random.Float64()),
			Max: latency.Max, ServerCPU: 0.9, OwnCPU: 0.6,
		})
	}
	return t
}

// TestMain writes testdata anew if it is asked to.
func TestMain(m *testing.M) {
	flag.Parse()
	if *update {
		for seed, folder := range map[uint64]string{1: "testdata/example-a", 2: "testdata/example-b"} {
			if err := writeExample(folder, exampleRun(seed)); err != nil {
				panic(err)
			}
		}
	}
	goleak.VerifyTestMain(m, goleak.IgnoreCurrent())
}

func writeExample(folder string, run Run) error {
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return err
	}
	for name, v := range map[string]any{"manifest.json": run.Manifest, "report.json": run.Outcomes} {
		text, err := json.MarshalIndent(v, "", " ")
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(folder, name), append(text, '\n'), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// example reads a run of testdata.
func example(t *testing.T, name string) Run {
	t.Helper()
	run := Run{Label: name}
	for file, v := range map[string]any{"manifest.json": &run.Manifest, "report.json": &run.Outcomes} {
		text, err := os.ReadFile(filepath.Join("testdata", name, file))
		if err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(text, v); err != nil {
			t.Fatalf("%s: %v", file, err)
		}
	}
	return run
}
