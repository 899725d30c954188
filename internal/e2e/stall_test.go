package e2e

import (
	"bytes"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

const (
	// stallMin is how late the test's own process has to be woken to count: where
	// that happens no process is certain to answer in its 300 ms.
	stallMin = 100 * time.Millisecond
	// runsMax bounds how often a test is run that fails as the machine stands
	// still.
	runsMax = 3
)

// stallSign is what a process logs of itself, or a server of an event loop,
// once it goes on. That others found a server or the store silent is no sign: a
// fault of the product does that too.
var stallSign = []byte("stood still")

// stalls knows which tests of a run have failed, and whether something stood
// still meanwhile: then what was sent is stored or refused, as is right, and a
// test that wants it delivered says nothing.
type stalls struct {
	ours atomic.Int64 // stalls of the test's own process

	mu      sync.Mutex
	stalled map[string]bool // failed tests with a stall
	others  bool            // failed without one
}

var stalled stalls

// watch counts the stalls of this process until stop.
func (s *stalls) watch(stop <-chan struct{}) {
	ticker := time.NewTicker(stallMin / 10)
	defer ticker.Stop()
	for last := time.Now(); ; last = time.Now() {
		select {
		case <-stop:
			return
		case <-ticker.C:
		}
		if time.Since(last) > stallMin {
			s.ours.Add(1)
		}
	}
}

// note takes the end of a test that had these processes, and began with so many
// stalls of ours.
func (s *stalls) note(t *testing.T, before int64, processes []*process) {
	if !t.Failed() {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ours.Load() == before && !slices.ContainsFunc(processes, (*process).stalled) {
		s.others = true
		return
	}
	if s.stalled == nil {
		s.stalled = map[string]bool{}
	}
	name, _, _ := strings.Cut(t.Name(), "/")
	s.stalled[name] = true
}

// take returns the tests whose failure proves nothing and that must run again, none if another test
// has failed, and starts over.
func (s *stalls) take() (again []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.others {
		again = slices.Sorted(maps.Keys(s.stalled))
	}
	s.stalled, s.others = nil, false
	return again
}

func (p *process) stalled() bool { return bytes.Contains(p.log.bytes(), stallSign) }
