package e2e

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
)

const (
	// buildMax bounds the build of the executable.
	buildMax = 5 * time.Minute
	// waitMax bounds every wait for something that is due at once.
	waitMax = 30 * time.Second
	// pollEvery is the time between two looks at a state without an event.
	pollEvery = 5 * time.Millisecond
)

// executable is the path of the binary cim, built by TestMain.
var executable string

func TestMain(m *testing.M) {
	folder, err := os.MkdirTemp("", "cim-e2e-")
	if err == nil {
		executable = filepath.Join(folder, "cim")
		err = build()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "e2e:", err)
		os.Exit(1)
	}
	goleak.VerifyTestMain(&runs{m}, goleak.Cleanup(func(status int) {
		if err := os.RemoveAll(folder); err != nil {
			fmt.Fprintln(os.Stderr, "e2e:", err)
			status = 1
		}
		os.Exit(status)
	}))
}

// runs runs all tests on each kind of system that is asked for.
type runs struct{ m *testing.M }

// Run implements goleak.TestingM.
func (r *runs) Run() int {
	stop := make(chan struct{})
	var watching sync.WaitGroup
	watching.Go(func() { stalled.watch(stop) })
	status := r.each()
	close(stop)
	watching.Wait()
	if err := stopZooKeeper(); err != nil {
		fmt.Fprintln(os.Stderr, "e2e:", err)
		status = 1
	}
	return status
}

func (r *runs) each() int {
	flag.Parse()
	for _, kind := range []string{standaloneKind, clusterKind} {
		if !strings.Contains(*kinds, kind) {
			continue
		}
		clustered = kind == clusterKind
		fmt.Println("e2e: on a", kind)
		if status := r.run(); status != 0 {
			return status
		}
	}
	return 0
}

// run runs the tests on the present kind of system. Those that failed as the
// machine stood still are run again.
func (r *runs) run() int {
	asked := flag.Lookup("test.run").Value
	before := asked.String()
	defer func() { _ = asked.Set(before) }() // it was its value
	for tries := 1; ; tries++ {
		status := r.m.Run()
		again := stalled.take()
		if status == 0 || len(again) == 0 || tries == runsMax {
			return status
		}
		fmt.Println("e2e: once more, since a process stood still:", again)
		if err := asked.Set("^(" + strings.Join(again, "|") + ")$"); err != nil {
			panic(err)
		}
	}
}

func build() error {
	ctx, cancel := context.WithTimeout(context.Background(), buildMax)
	defer cancel()
	args := append(append([]string{"build"}, buildFlags...), "-o", executable, "cim/cmd/cim")
	if out, err := exec.CommandContext(ctx, "go", args...).CombinedOutput(); err != nil {
		return fmt.Errorf("go build: %w\n%s", err, out)
	}
	return nil
}

// eventually polls until holds, which must be within waitMax.
func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	if !within(waitMax, holds) {
		t.Fatalf("not within %v: %s", waitMax, what)
	}
}

// within polls until holds, and reports whether it did in time.
func within(most time.Duration, holds func() bool) bool {
	poll := time.NewTicker(pollEvery)
	defer poll.Stop()
	deadline := time.Now().Add(most)
	for !holds() {
		if time.Now().After(deadline) {
			return false
		}
		<-poll.C
	}
	return true
}

// together runs all of work at once and reports each error.
func together(t *testing.T, work ...func() error) {
	t.Helper()
	var running sync.WaitGroup
	errs := make([]error, len(work))
	for i, one := range work {
		running.Go(func() { errs[i] = one() })
	}
	running.Wait()
	for _, err := range errs {
		if err != nil {
			t.Error(err)
		}
	}
	if t.Failed() {
		t.FailNow()
	}
}
