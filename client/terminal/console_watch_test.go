package terminal

import (
	"context"
	"testing"
	"testing/synctest"
)

// TestWatchEnds: what the watch asks of the reading goroutine ends with the watch. A
// terminal that is closed brings SIGCONT behind SIGHUP, when nothing is read any more.
func TestWatchEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &console{calls: make(chan func()), closing: make(chan struct{}), ended: make(chan struct{})}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		c.resumed(ctx)
		c.resized(ctx)
	})
}
