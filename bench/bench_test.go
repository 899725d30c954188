package bench

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"cim/bench/report"
	"cim/internal/child"
	"cim/loadgen"
)

// fakeVariable makes this test binary a cim: its value is what goes wrong.
const fakeVariable = "BENCH_TEST_FAKE"

// pidVariable is the file that gets the pid of a fake standalone.
const pidVariable = "BENCH_TEST_PID"

func TestMain(m *testing.M) {
	if wrong, fake := os.LookupEnv(fakeVariable); fake {
		os.Exit(fakeCim(wrong, os.Args[1:]))
	}
	goleak.VerifyTestMain(m, goleak.IgnoreCurrent())
}

func fakeCim(wrong string, args []string) int {
	for _, entry := range os.Environ() {
		if strings.HasPrefix(entry, "CIM_") {
			return 5 // a setting of this machine's would change the benchmark
		}
	}
	switch args[0] {
	case "standalone":
		return fakeStandalone(wrong)
	case "loadgen":
		return fakeLoadgen(wrong, args)
	}
	return 2
}

func fakeStandalone(wrong string) int {
	if syscall.Getpgrp() != os.Getpid() {
		return 4 // a terminal's Ctrl-C would reach it twice
	}
	asked := make(chan os.Signal, 1)
	signal.Notify(asked, syscall.SIGTERM)
	if err := os.WriteFile(os.Getenv(pidVariable), []byte(strconv.Itoa(os.Getpid())), 0o600); err != nil {
		return 3
	}
	switch wrong {
	case "dies":
		return 1
	case "garbage":
		fmt.Println("good morning")
	default:
		fmt.Printf(`{"cim":"127.0.0.1:1","http":"127.0.0.1:2","route":"127.0.0.1:3","admin":"127.0.0.1:4","pid":%d}`+"\n", os.Getpid())
	}
	<-asked
	if wrong == "ends badly" {
		return 1
	}
	return 0
}

func fakeLoadgen(wrong string, args []string) int {
	if !slices.Contains(args, "http://127.0.0.1:3") || !slices.Contains(args, "--json") {
		return 2
	}
	trial := loadgen.Trial{Conns: 10, Window: 1, Deliveries: 1000, ServerCPUus: 5, DeliveriesPerSecond: 200}
	switch wrong {
	case "no report":
		fmt.Fprintf(os.Stderr, "at work\ncim: the reason\n")
		return 1
	case "loses":
		trial.Lost = 7
	case "hangs":
		asked := make(chan os.Signal, 1)
		signal.Notify(asked, syscall.SIGTERM)
		fmt.Fprintln(os.Stderr, "hanging")
		<-asked
		return 1
	}
	if err := json.NewEncoder(os.Stdout).Encode(loadgen.Report{Seed: seedOf(args), Trials: []loadgen.Trial{trial}}); err != nil {
		return 3
	}
	return min(trial.Lost, 1)
}

func seedOf(args []string) uint64 {
	at := slices.Index(args, "--seed")
	if at < 0 {
		return 0
	}
	seed, err := strconv.ParseUint(args[at+1], 10, 64)
	if err != nil {
		panic(err)
	}
	return seed
}

func fakeConfig(t *testing.T, wrong string) Config {
	t.Helper()
	binary, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	out := filepath.Join(t.TempDir(), "latest")
	t.Setenv(fakeVariable, wrong)
	t.Setenv("CIM_LOG_LEVEL", "debug")
	t.Setenv(pidVariable, filepath.Join(t.TempDir(), "pid"))
	t.Setenv("TMPDIR", t.TempDir())
	t.Setenv("GORACE", "atexit_sleep_ms=0") // else each process of a test ends a second late
	return Config{Binary: binary, Out: out, Scenarios: []Scenario{{
		Name: "a small one", Load: []string{"--conns", "10"},
		Figures: []Figure{cpu("CPU", 0, 5), cpu("CPU too", 0, 4), rate("deliveries", 0, 200), rate("more", 0, 400)},
	}}}
}

func TestRun(t *testing.T) {
	cfg := fakeConfig(t, "")
	var out bytes.Buffer
	if err := Run(t.Context(), cfg, &out, io.Discard); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"a small one", "CPU too", "All figures and charts: " + filepath.Join(cfg.Out, "report.html") + "\n"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("the summary lacks %q:\n%s", want, &out)
		}
	}
	text, err := os.ReadFile(filepath.Join(cfg.Out, "report.txt"))
	if err != nil || !strings.Contains(string(text), "a small one") {
		t.Errorf("report.txt: %v", err)
	}
	var outcomes []Outcome
	readJSON(t, filepath.Join(cfg.Out, "report.json"), &outcomes)
	if len(outcomes) != 1 || len(outcomes[0].Results) != 4 || outcomes[0].Report.Trials[0].Deliveries != 1000 {
		t.Errorf("report.json: %+v", outcomes)
	}
	var m report.Manifest
	readJSON(t, filepath.Join(cfg.Out, "manifest.json"), &m)
	if m.Go == "" || m.Kernel == unknown || m.CPU == unknown || m.Memory == unknown || m.LoadEnded == unknown || m.OtherChecks != 1 || m.OtherCPU < 0 || m.OtherCPU > 1 ||
		m.CPUs < 1 || m.Cores != runtime.GOMAXPROCS(0) || m.Settings["a small one"] != "--conns 10" || m.Ended.Before(m.Began) {
		t.Errorf("manifest.json: %+v", m)
	}
	checkGone(t)
}

func readJSON(t *testing.T, path string, v any) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(b, v); err != nil {
		t.Fatalf("%s: %v", path, err)
	}
}

// checkGone finds neither the fake standalone nor its data.
func checkGone(t *testing.T) {
	t.Helper()
	b, err := os.ReadFile(os.Getenv(pidVariable))
	if err != nil {
		t.Fatal(err)
	}
	pid, err := strconv.Atoi(string(b))
	if err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(pid, 0); !errors.Is(err, syscall.ESRCH) {
		t.Errorf("the standalone, process %d, is still there: %v", pid, err)
	}
	if left, err := filepath.Glob(filepath.Join(os.TempDir(), "cim-bench-*")); err != nil || len(left) != 0 {
		t.Errorf("data left behind: %q %v", left, err)
	}
}

// TestFailures: each failure is named, written down, and leaves nothing behind.
func TestFailures(t *testing.T) {
	for wrong, want := range map[string]string{
		"dies":       "ended before it was ready",
		"garbage":    `"good morning"`,
		"ends badly": "did not end well",
		"no report":  "no report: exit status 1: the reason; loadgen was run with",
		"loses":      "lost 7",
	} {
		t.Run(wrong, func(t *testing.T) {
			cfg := fakeConfig(t, wrong)
			var out bytes.Buffer
			err := Run(t.Context(), cfg, &out, io.Discard)
			if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "a small one") {
				t.Errorf("error %v, want %q", err, want)
			}
			if !strings.Contains(out.String(), "FAILED") {
				t.Errorf("the table does not say:\n%s", &out)
			}
			checkGone(t)
		})
	}
}

// writerFunc is an io.Writer.
type writerFunc func(p []byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }

// TestCancel ends a run while its load generator works: both processes end.
func TestCancel(t *testing.T) {
	cfg := fakeConfig(t, "hangs")
	ctx, cancel := context.WithCancelCause(t.Context())
	stop := errors.New("enough")
	began := time.Now()
	progress := writerFunc(func(p []byte) (int, error) {
		if strings.Contains(string(p), "hanging") {
			cancel(stop)
		}
		return len(p), nil
	})
	if err := Run(ctx, cfg, io.Discard, progress); !errors.Is(err, stop) {
		t.Errorf("error %v, want %v", err, stop)
	}
	if took := time.Since(began); took > child.StopMax {
		t.Errorf("took %s", took)
	}
	checkGone(t)
}

// TestOnly runs the scenarios with a text in their name, and fails if none has
// it.
func TestOnly(t *testing.T) {
	cfg := fakeConfig(t, "")
	other := cfg.Scenarios[0]
	other.Name = "a large one"
	cfg.Scenarios = append(cfg.Scenarios, other)
	cfg.Only = "large"
	var progress strings.Builder
	if err := Run(t.Context(), cfg, io.Discard, &progress); err != nil || progress.String() != "bench: scenario 1 of 1: a large one, cim standalone\n" {
		t.Errorf("%q, %v", progress.String(), err)
	}
	cfg.Only = "huge"
	if err := Run(t.Context(), cfg, io.Discard, io.Discard); err == nil || !strings.Contains(err.Error(), `"huge"`) {
		t.Errorf("no scenario, and error %v", err)
	}
}

// TestCancelReports: scenarios that were complete when a run was stopped are reported, marked.
func TestCancelReports(t *testing.T) {
	cfg := fakeConfig(t, "")
	cfg.Repeat = 3
	ctx, cancel := context.WithCancelCause(t.Context())
	stop := errors.New("enough")
	begun := 0
	progress := writerFunc(func(p []byte) (int, error) {
		if strings.HasPrefix(string(p), "bench: ") {
			if begun++; begun == 2*len(cfg.Scenarios)+1 {
				cancel(stop)
			}
		}
		return len(p), nil
	})
	var out strings.Builder
	if err := Run(ctx, cfg, &out, progress); !errors.Is(err, stop) {
		t.Errorf("error %v, want %v", err, stop)
	}
	runs, err := read(cfg.Out)
	if err != nil || runs[0].Manifest.Stopped != "enough" || len(runs[0].Outcomes) != len(cfg.Scenarios) || len(runs[0].Outcomes[0].Runs) != 2 {
		t.Errorf("%+v: %v", runs, err)
	}
	if !strings.Contains(out.String(), "Stopped before all was measured: enough") {
		t.Errorf("not reported:\n%s", out.String())
	}
	checkGone(t)
}

// TestFigureEdge: a figure exactly at its bound is met, one above it is not.
func TestFigureEdge(t *testing.T) {
	report := loadgen.Report{Trials: []loadgen.Trial{{ServerCPUus: 6.5, DeliveriesPerSecond: 140_000}}}
	for _, c := range []struct {
		figure Figure
		met    bool
	}{
		{cpu("", 0, 6.5), true},
		{cpu("", 0, 6.49), false},
		{rate("", 0, 140_000), true},
		{rate("", 0, 140_001), false},
	} {
		got, err := c.figure.result([]loadgen.Report{report})
		if err != nil || got.Met != c.met {
			t.Errorf("%+v: %v", got, err)
		}
	}
	two := []loadgen.Report{{Trials: []loadgen.Trial{{Conns: 5, Ended: 1}}}, {Trials: []loadgen.Trial{{Conns: 4}}}}
	if got, err := held(8).result(two); err != nil || got.Got != 8 || !got.Met {
		t.Errorf("held by two load generators: %+v, %v", got, err)
	}
	if got, err := held(9).result(two); err != nil || got.Met {
		t.Errorf("one more than are held: %+v, %v", got, err)
	}
	if _, err := cpu("", 1, 1).result([]loadgen.Report{report}); err == nil {
		t.Error("a figure of a trial that was not reported")
	}
}

// TestFiguresPass checks that the load of every scenario makes the trials that
// its figures read.
func TestFiguresPass(t *testing.T) {
	for _, s := range slices.Concat(Figures(false), Figures(true), Peers()) {
		trials := 1
		for _, flag := range []string{"--window", "--conns", "--rate"} {
			if at := slices.Index(s.Load, flag); at >= 0 {
				trials *= len(strings.Split(s.Load[at+1], ","))
			}
		}
		if slices.Contains(s.Load, "storm") {
			trials = 2 // the logins, and those after all were cut off
		}
		for _, f := range s.Figures {
			if f.Trial >= trials {
				t.Errorf("%s: %s is of trial %d, there are %d", s.Name, f.Name, f.Trial, trials)
			}
		}
	}
}
