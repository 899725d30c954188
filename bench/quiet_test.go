package bench

import (
	"context"
	"math"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// TestCPUTime: idle time and time that waits for a disk are no work; of another file the time is
// unknown.
func TestCPUTime(t *testing.T) {
	for text, want := range map[string]struct {
		cpuTime
		known bool
	}{
		"cpu  1 2 3 40 50 6 7 8 9 10\ncpu0 1\n": {cpuTime{27, 117}, true},
		"cpu  1 2 3 40 50 6 7 8\n":              {cpuTime{27, 117}, true},
		"cpu  1 2 3 40 50 6 7\n":                {},
		"cpu0  1 2 3 40 50 6 7 8\n":             {},
		"cpu  1 2 3 x 50 6 7 8\n":               {},
		"":                                      {},
	} {
		path := filepath.Join(t.TempDir(), "stat")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if got, known := readCPUTime(path); known != want.known || known && got != want.cpuTime {
			t.Errorf("%q: %+v, %t, want %+v", text, got, known, want)
		}
	}
	if _, known := readCPUTime(filepath.Join(t.TempDir(), "none")); known {
		t.Error("known of a file that is not there")
	}
}

// TestOtherWork: a core that is busy while the machine is watched shows, a watch
// that was cut short does not count, and no watch is no work.
func TestOtherWork(t *testing.T) {
	var none, some otherWork
	if none.mean() != 0 {
		t.Errorf("mean of no checks: %v", none.mean())
	}
	ended, end := context.WithCancel(t.Context())
	end()
	none.watch(ended, time.Minute)
	if none.checks != 0 {
		t.Errorf("%d checks after the end", none.checks)
	}
	stop := make(chan struct{})
	done := make(chan struct{})
	go func() {
		defer close(done)
		for x := 1.0; ; x = math.Sqrt(x + 1) {
			select {
			case <-stop:
				return
			default:
			}
		}
	}()
	some.watch(t.Context(), 300*time.Millisecond)
	close(stop)
	<-done
	if some.checks != 1 || some.mean() <= 0 || some.mean() > 1 {
		t.Errorf("%d checks, mean %v", some.checks, some.mean())
	}
}
