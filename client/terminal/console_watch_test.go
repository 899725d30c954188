package terminal

import (
	"context"
	"testing"
	"testing/synctest"
)

// TestWatchEnds: requests of the watch to the reading goroutine end with the watch. When a terminal
// is closed, SIGCONT follows SIGHUP, at a time when nothing is read any more.
func TestWatchEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &console{calls: make(chan func()), closing: make(chan struct{}), ended: make(chan struct{})}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		c.resumed(ctx)
		c.resized(ctx)
	})
}
