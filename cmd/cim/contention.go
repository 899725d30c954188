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

// contention shows who waits for locks and channels. Recording that costs
// time, so it is done only while somebody asks for ?seconds=N of it: then what
// those seconds brought is the answer.
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
