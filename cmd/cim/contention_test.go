package main

import (
	"net/http/httptest"
	"runtime"
	"testing"
	"testing/synctest"
	"time"
)

// TestContention records waits while a request runs, and no longer.
func TestContention(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var c contention
		fraction := func() int { return runtime.SetMutexProfileFraction(-1) }
		ask := func(path string) <-chan int {
			done := make(chan int, 1)
			go func() {
				answer := httptest.NewRecorder()
				c.handler("mutex")(answer, httptest.NewRequest("GET", path, nil))
				done <- answer.Code
			}()
			return done
		}
		first := ask("/debug/pprof/mutex?seconds=2")
		synctest.Wait()
		if got := fraction(); got != mutexFraction {
			t.Errorf("asked: fraction %d, want %d", got, mutexFraction)
		}
		time.Sleep(time.Second)
		second := ask("/debug/pprof/mutex?seconds=5")
		if code := <-first; code != 200 || fraction() != mutexFraction {
			t.Errorf("status %d, fraction %d while another one asks", code, fraction())
		}
		if code := <-second; code != 200 || fraction() != 0 {
			t.Errorf("status %d, fraction %d without a request", code, fraction())
		}
		if code := <-ask("/debug/pprof/mutex"); code != 200 || fraction() != 0 {
			t.Errorf("without seconds: status %d, fraction %d", code, fraction())
		}
	})
}
