package loadgen

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// workerVariable makes the test binary a worker; its value is the config. Its
// number is in the arguments.
const workerVariable = "LOADGEN_TEST_WORKER"

// workInstead does what a worker's command does, if this process is one.
func workInstead() {
	text := os.Getenv(workerVariable)
	if text == "" {
		return
	}
	cfg := Defaults()
	number, err1 := strconv.Atoi(os.Args[1])
	of, err2 := strconv.Atoi(os.Args[2])
	err := errors.Join(err1, err2, json.Unmarshal([]byte(text), &cfg))
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	if err == nil && os.Args[3] == strconv.Itoa(number) {
		os.Exit(7) // this one fails
	}
	if err == nil {
		err = Work(ctx, cfg, number, of, os.Stdin, os.Stdout)
	}
	if err != nil {
		_, _ = io.WriteString(os.Stderr, err.Error()+"\n")
		os.Exit(1)
	}
	os.Exit(0)
}

// Spawned is spawned for the tests of this package from outside.
var Spawned = spawned

// spawned is cfg with workers that are this test's binary. The one with the
// number fails ends at once.
func spawned(t *testing.T, cfg Config, procs, fails int) Config {
	t.Helper()
	cfg.Procs = procs
	text, err := json.Marshal(cfg)
	if err != nil {
		t.Fatal(err)
	}
	cfg.Spawn = func(ctx context.Context, number, of int) *exec.Cmd {
		cmd := exec.CommandContext(ctx, os.Args[0], strconv.Itoa(number), strconv.Itoa(of), strconv.Itoa(fails))
		cmd.Env = append(os.Environ(), workerVariable+"="+string(text))
		cmd.Stderr = os.Stderr
		return cmd
	}
	return cfg
}

// TestProcs shares each kind of load over three processes: the report is as of
// one.
func TestProcs(t *testing.T) {
	for name, load := range map[string]func(*Config){
		"rate":   func(c *Config) { c.Mode, c.Rates = Private, []int{300, 150} },
		"window": func(c *Config) { c.Mode, c.Via, c.Windows = Private, ViaConn, []int{4} },
		"idle":   func(c *Config) { c.Mode = Idle },
		"storm":  func(c *Config) { c.Mode = Storm },
		"churn":  func(c *Config) { c.Mode, c.Rates = Churn, []int{150} },
	} {
		t.Run(name, func(t *testing.T) {
			cfg := small(newPeer(t))
			cfg.Conns, cfg.Loops = []int{20}, 1
			load(&cfg)
			cfg = spawned(t, cfg, 3, -1)
			r, err := Run(t.Context(), cfg, io.Discard)
			if err != nil || r.Failed() != nil {
				t.Fatal(err, r.Failed())
			}
			if want := max(1, len(cfg.loads())); cfg.Mode != Storm && len(r.Trials) != want || r.Procs != 3 || r.System != "cim" {
				t.Fatalf("%d trials of %d processes of %q", len(r.Trials), r.Procs, r.System)
			}
			for _, trial := range r.Trials {
				checkShared(t, cfg, trial)
			}
		})
	}
}

func checkShared(t *testing.T, cfg Config, trial Trial) {
	t.Helper()
	if trial.Conns != 20 || trial.Logins.Count == 0 || trial.LoginS <= 0 {
		t.Errorf("%+v", trial)
	}
	if trial.quiet() {
		return
	}
	if trial.Received != trial.Delivered || trial.Received == 0 || trial.Latency.Count == 0 || trial.Service.Count != trial.Latency.Count {
		t.Errorf("%+v", trial)
	}
	if trial.Rate > 0 && (!slices.ContainsFunc(cfg.Rates, func(r int) bool { return r == trial.Rate }) || trial.Late.Count != int64(trial.Rate)/5) {
		t.Errorf("%d sends at a rate of %d", trial.Late.Count, trial.Rate)
	}
	if sum := trial.Series[0].Deliveries; len(trial.Series) != 1 || sum == 0 || sum > trial.Deliveries || len(trial.Processes) != len(cfg.ServerPIDs) || trial.OwnCPUus < 0 {
		t.Errorf("%+v", trial)
	}
}

// TestProcFails ends one worker at once: the others end too, soon, and the
// error says which.
func TestProcFails(t *testing.T) {
	cfg := long(newPeer(t))
	cfg.Mode, cfg.Rates, cfg.Conns = Private, []int{100}, []int{20}
	began := time.Now()
	_, err := Run(t.Context(), spawned(t, cfg, 3, 1), io.Discard)
	if err == nil || !strings.Contains(err.Error(), "worker 1 ended without a report") {
		t.Errorf("error %v", err)
	}
	if took := time.Since(began); took > soon {
		t.Errorf("took %s", took)
	}
}

// TestPart: the parts add up, and what does not divide goes to the first.
func TestPart(t *testing.T) {
	c := whole()
	c.Conns, c.Rates, c.Windows = []int{10, 3}, []int{7}, []int{3}
	conns, rates := [2]int{}, 0
	for i := range 3 {
		part := c.part(i, 3)
		conns[0] += part.Conns[0]
		conns[1] += part.Conns[1]
		rates += part.Rates[0]
		if part.Conns[1] != 1 || part.Windows[0] != 1 || part.ServerPIDs != nil || part.Procs != 1 {
			t.Errorf("%+v", part)
		}
	}
	if conns != [2]int{10, 3} || rates != 7 || c.Conns[0] != 10 || c.part(0, 3).Conns[0] != 4 {
		t.Errorf("%v, %d", conns, rates)
	}
}

// TestObserveSeconds: the CPU time of the processes under test is measured for each second, the
// last one shorter, and for all of them.
func TestObserveSeconds(t *testing.T) {
	clock, err := newClock()
	if err != nil {
		t.Fatal(err)
	}
	cfg := Config{ServerPIDs: []int{os.Getpid()}, Duration: 1100 * time.Millisecond}
	o := &observed{ready: make(chan struct{})}
	var stop atomic.Bool
	go func() { // what uses CPU time
		for !stop.Load() {
			continue
		}
	}()
	o.observe(t.Context(), clock, cfg, clock.now())
	stop.Store(true)
	if o.err != nil || len(o.cores) != 2 || o.cores[0] == 0 || o.used.ofServers() == 0 {
		t.Errorf("%v, %v, %v", o.cores, o.used, o.err)
	}
}
