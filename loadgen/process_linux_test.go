package loadgen

import (
	"errors"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestUsage burns CPU until the reading says so.
func TestUsage(t *testing.T) {
	before, err := usageOf([]int{os.Getpid()})
	if err != nil {
		t.Fatal(err)
	}
	deadline := time.Now().Add(20 * time.Second)
	for after := before; after.own < before.own+3*clockTick; {
		if time.Now().After(deadline) {
			t.Fatalf("the process used %s, was %s", after.own, before.own)
		}
		if after, err = usageOf([]int{os.Getpid()}); err != nil {
			t.Fatal(err)
		}
	}
}

// TestUsageIsFine looks at a process that has used less than a tick: programs
// that only start do.
func TestUsageIsFine(t *testing.T) {
	cmd := exec.CommandContext(t.Context(), "sleep", "60")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	used, err := cpuTime(cmd.Process.Pid)
	for deadline := time.Now().Add(20 * time.Second); err == nil && used == 0 && time.Now().Before(deadline); {
		used, err = cpuTime(cmd.Process.Pid) // it counts once the process has waited for the first time
	}
	if err != nil || used <= 0 || used%clockTick == 0 {
		t.Errorf("the process used %s, want some time that is no number of ticks: %v", used, err)
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Error(err)
	}
	if err := cmd.Wait(); err == nil {
		t.Error("the process was killed and ended well")
	}
}

// TestUsageOfEndedThreads: what a thread has used counts when it is gone.
func TestUsageOfEndedThreads(t *testing.T) {
	before, err := cpuTime(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	const burnt = 50 * time.Millisecond
	task := <-burnThread(burnt)
	for deadline := time.Now().Add(20 * time.Second); ; runtime.Gosched() {
		if _, err := os.Stat(task); errors.Is(err, os.ErrNotExist) {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s is still there", task)
		}
	}
	if after, err := cpuTime(os.Getpid()); err != nil || after-before < burnt {
		t.Errorf("the process used %s more, want %s at least: %v", after-before, burnt, err)
	}
}

// burnThread uses that much CPU time on a thread that ends with it, and returns the thread's
// folder. The first thread of a process never ends, so it is not used.
func burnThread(d time.Duration) chan string {
	folder := make(chan string, 1)
	go func() {
		runtime.LockOSThread() // and no unlock: the thread ends with the goroutine
		id := unix.Gettid()
		if id == os.Getpid() {
			folder <- <-burnThread(d)
			runtime.UnlockOSThread()
			return
		}
		used, err := clockTime(id, scheduledClock|threadClock)
		for end := used + d; err == nil && used < end; {
			used, err = clockTime(id, scheduledClock|threadClock)
		}
		folder <- "/proc/self/task/" + strconv.Itoa(id)
	}()
	return folder
}

// TestTicks: without the clocks the same is read in ticks.
func TestTicks(t *testing.T) {
	clock, err1 := cpuTime(os.Getpid())
	ticks, err2 := statTime("/proc/self/stat")
	later, err3 := cpuTime(os.Getpid())
	if err := errors.Join(err1, err2, err3); err != nil {
		t.Fatal(err)
	}
	if ticks < clock-2*clockTick || ticks > later+2*clockTick || ticks%clockTick != 0 {
		t.Errorf("%s in ticks, between %s and %s by the clock", ticks, clock, later)
	}
}

// TestResidentBytes maps memory past Go's heap, which might have as much that
// is free but still resident.
func TestResidentBytes(t *testing.T) {
	before, err := residentBytes(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	const more = 256 << 20
	block, err := unix.Mmap(-1, 0, more, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON|unix.MAP_POPULATE)
	if err != nil {
		t.Fatal(err)
	}
	after, err := residentBytes(os.Getpid())
	if err := errors.Join(err, unix.Munmap(block)); err != nil {
		t.Fatal(err)
	}
	if grown := after - before; grown < more*3/4 || grown > more*5/4 {
		t.Errorf("grown by %d bytes of %d", grown, more)
	}
}

// TestNoProcess asks for an impossible process: pids end far below.
func TestNoProcess(t *testing.T) {
	const nobody = 1<<22 + 1
	if _, err := usageOf([]int{os.Getpid(), nobody}); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("CPU time: %v", err)
	}
	if _, err := residentBytes(nobody); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("memory: %v", err)
	}
}
