// Package notice limits log lines about events that strangers can cause at any
// rate.
package notice

import (
	"log/slog"
	"sync"
	"time"
)

// Pause is the least time between two lines about the same thing, so that a
// stranger cannot fill the log. The metrics count all events.
const Pause = time.Second

// Notices writes at most one line per kind and Pause, with the number of lines left
// out before it. Kinds are constants of the caller, so there are few. Any goroutine
// may call it.
type Notices struct {
	log *slog.Logger

	mu    sync.Mutex
	kinds map[string]*notice
}

type notice struct {
	last    time.Time
	leftOut int
}

// New returns Notices that write to log.
func New(log *slog.Logger) *Notices {
	return &Notices{log: log, kinds: map[string]*notice{}}
}

// Say logs kind as the line's message, if its pause is over.
func (n *Notices) Say(kind string, attrs ...any) {
	leftOut, due := n.due(kind, time.Now())
	if !due {
		return
	}
	n.log.With("left_out", leftOut).Warn(kind, attrs...)
}

func (n *Notices) due(kind string, now time.Time) (leftOut int, due bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	k := n.kinds[kind]
	if k == nil {
		k = &notice{last: now.Add(-Pause)}
		n.kinds[kind] = k
	}
	if now.Sub(k.last) < Pause {
		k.leftOut++
		return 0, false
	}
	leftOut = k.leftOut
	k.last, k.leftOut = now, 0
	return leftOut, true
}
