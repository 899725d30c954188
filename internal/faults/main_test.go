package faults

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
)

var (
	whole = flag.Bool("faults", false, "run all fault tests, with the numbers of a real one")
	every = flag.Bool("every", false, "run all fault tests, with the small numbers of a quick one")
	seed  = flag.Uint64("seed", 0, "of the choices; 0 takes a random one")
	logs  = flag.String("logs", "", "folder that keeps the processes' logs")
)

const (
	// buildMax bounds the build of the executable.
	buildMax = 5 * time.Minute
	// waitMax bounds every wait for something that is due at once.
	waitMax = 30 * time.Second
	// pollEvery is the time between two looks at a state without an event.
	pollEvery = 10 * time.Millisecond
)

var (
	executable string // path of the binary cim, built by TestMain
	folder     string // of everything that the tests write; removed at the end
)

func TestMain(m *testing.M) {
	if order := os.Getenv(dialerOrder); order != "" {
		os.Exit(runDialer(order))
	}
	if order := os.Getenv(senderOrder); order != "" {
		os.Exit(runSender(order))
	}
	if order := os.Getenv(receiverOrder); order != "" {
		os.Exit(runReceiver(order))
	}
	flag.Parse()
	if *seed == 0 {
		*seed = rand.Uint64()
	}
	if *whole {
		fmt.Printf("faults: seed %d\n", *seed)
	}
	if err := prepare(); err != nil {
		fmt.Fprintln(os.Stderr, "faults:", err)
		os.Exit(1)
	}
	goleak.VerifyTestMain(m, goleak.Cleanup(func(status int) {
		if err := errors.Join(os.RemoveAll(folder), sweep()); err != nil {
			fmt.Fprintln(os.Stderr, "faults:", err)
			status = 1
		}
		os.Exit(status)
	}))
}

// prepare builds the executable, and removes what a test that was killed has
// left.
func prepare() (err error) {
	if err := sweep(); err != nil {
		return err
	}
	if *logs != "" {
		if err := os.MkdirAll(*logs, 0o700); err != nil {
			return err
		}
	}
	if folder, err = os.MkdirTemp("", fmt.Sprintf("%s%d-", folderPrefix, os.Getpid())); err != nil {
		return err
	}
	executable = filepath.Join(folder, "cim")
	ctx, cancel := context.WithTimeout(context.Background(), buildMax)
	defer cancel()
	args := append(append([]string{"build"}, buildFlags...), "-o", executable, "cim/cmd/cim")
	if out, err := exec.CommandContext(ctx, "go", args...).CombinedOutput(); err != nil {
		return fmt.Errorf("go build: %w\n%s", err, out)
	}
	return nil
}

// folderPrefix begins the names of the tests' folders: cim-faults-<pid>-<...>.
const folderPrefix = "cim-faults-"

// sweep removes what test processes that were killed have left. Their children
// have died with them.
func sweep() error {
	faults := []error{sweepNetworks()}
	folders, err := filepath.Glob(filepath.Join(os.TempDir(), folderPrefix+"*"))
	for _, path := range folders {
		if stale(filepath.Base(path), folderPrefix) {
			faults = append(faults, os.RemoveAll(path))
		}
	}
	return errors.Join(append(faults, err)...)
}

// stale reports whether a name, prefix<pid>-<...>, is of a process that does not
// run any more.
func stale(name, prefix string) bool {
	rest, ours := strings.CutPrefix(name, prefix)
	digits, _, _ := strings.Cut(rest, "-")
	pid, err := strconv.Atoi(digits)
	if !ours || err != nil {
		return false
	}
	_, err = os.Stat(fmt.Sprintf("/proc/%d", pid))
	return errors.Is(err, os.ErrNotExist)
}

// systemsMax bounds the systems that run at a time without -faults.
const systemsMax = 4

var slots = make(chan struct{}, systemsMax)

// share lets tests run side by side, but not with -faults, where each has the
// machine for itself.
func share(t *testing.T) {
	t.Helper()
	if *whole {
		return
	}
	t.Parallel()
	slots <- struct{}{}
	t.Cleanup(func() { <-slots })
}

// wholeOnly leaves a test to the runs with -faults, or with -every.
func wholeOnly(t *testing.T) {
	t.Helper()
	if !*whole && !*every {
		t.Skip("runs with -faults or -every only")
	}
}

// pick is the number of a real test with -faults, and a small one otherwise.
func pick[T any](real, small T) T {
	if *whole {
		return real
	}
	return small
}

// patient is a promised time with -faults, and four times as long otherwise,
// where other tests keep the machine busy.
func patient(promised time.Duration) time.Duration { return pick(promised, 4*promised) }

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

// eventually polls until holds, which must be within most.
func eventually(t *testing.T, most time.Duration, what string, holds func() bool) time.Duration {
	t.Helper()
	began := time.Now()
	if !within(most, holds) {
		t.Fatalf("not within %v: %s", most, what)
	}
	return time.Since(began)
}

// pass lets time go by: a fault or a load lasts for as long.
func pass(t *testing.T, d time.Duration) {
	t.Helper()
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-t.Context().Done():
	}
}
