package loadgen

import (
	"errors"
	"fmt"
	"sync"
)

// faultsKept bounds the faults that are named; the rest are only counted.
const faultsKept = 5

// faults gathers what went wrong that no counter stands for. Any goroutine
// may add.
type faults struct {
	mu    sync.Mutex
	count int
	named []string // len <= faultsKept
}

func (f *faults) add(format string, args ...any) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.count++
	if len(f.named) < faultsKept {
		f.named = append(f.named, fmt.Sprintf(format, args...))
	}
}

// addWrite adds the failed write of a SEND. A connection that has ended is
// counted as such.
func (f *faults) addWrite(s *slot, err error) {
	if !errors.Is(err, errClosed) {
		f.add("slot %d: %v", s.index, err)
	}
}

// take returns the faults so far and starts again.
func (f *faults) take() (count int, named []string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	count, named = f.count, f.named
	f.count, f.named = 0, nil
	return count, named
}
