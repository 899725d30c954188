package main

import (
	"os"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// TestSecondSignalEcho takes the same signal for a second one only when it does
// not come at once; another one is always a second one.
func TestSecondSignalEcho(t *testing.T) {
	for _, c := range []struct {
		next  os.Signal
		after time.Duration
		ends  bool
	}{
		{syscall.SIGINT, 0, false},
		{syscall.SIGINT, signalEcho - 1, false},
		{syscall.SIGINT, signalEcho, true},
		{syscall.SIGTERM, 0, true},
	} {
		synctest.Test(t, func(t *testing.T) {
			signals, second := make(chan os.Signal), make(chan struct{})
			go func() {
				awaitSecond(syscall.SIGINT, signals)
				close(second)
			}()
			synctest.Wait()
			time.Sleep(c.after)
			signals <- c.next
			synctest.Wait()
			select {
			case <-second:
				if !c.ends {
					t.Errorf("%v after %v is a second signal", c.next, c.after)
				}
				return
			default:
				if c.ends {
					t.Errorf("%v after %v is none", c.next, c.after)
				}
			}
			signals <- syscall.SIGTERM // ends the goroutine
		})
	}
}
