package main

import (
	"net/http"
	"net/http/pprof"
	"runtime"
	"sync"
)

const (
	// mutexFraction is of how many contended locks one is recorded.
	mutexFraction = 5
	// blockRate is for how many ns of waiting one wait is recorded.
	blockRate = 10_000
)

// contention is the profile of waits for locks and channels. Recording costs time, so it is on only
// while a request with ?seconds=N runs; the answer is what was recorded in these seconds.
type contention struct {
	mu     sync.Mutex
	askers int
}

func (c *contention) handler(name string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if r.FormValue("seconds") != "" {
			c.begin()
			defer c.end()
		}
		pprof.Handler(name).ServeHTTP(w, r)
	}
}

func (c *contention) begin() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.askers++; c.askers == 1 {
		runtime.SetMutexProfileFraction(mutexFraction)
		runtime.SetBlockProfileRate(blockRate)
	}
}

func (c *contention) end() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.askers--; c.askers == 0 {
		runtime.SetMutexProfileFraction(0)
		runtime.SetBlockProfileRate(0)
	}
}
