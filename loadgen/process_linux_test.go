package loadgen

import (
	"errors"
	"os"
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

// TestNoProcess asks for one that cannot be: pids end far below.
func TestNoProcess(t *testing.T) {
	const nobody = 1<<22 + 1
	if _, err := usageOf([]int{os.Getpid(), nobody}); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("CPU time: %v", err)
	}
	if _, err := residentBytes(nobody); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("memory: %v", err)
	}
}
