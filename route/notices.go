package route

import (
	"log/slog"
	"sync"
	"time"
)

// noticePause is the least time between two lines about the same thing, so
// that a stranger cannot fill the log. The metrics count all.
const noticePause = time.Second

// notices writes about what may happen at any rate: at most one line per kind
// and noticePause, which tells how many were left out before it. Kinds are
// names from this package, so there are few.
type notices struct {
	log *slog.Logger

	mu    sync.Mutex
	kinds map[string]*notice
}

type notice struct {
	last    time.Time
	leftOut int
}

func newNotices(log *slog.Logger) *notices {
	return &notices{log: log, kinds: map[string]*notice{}}
}

// say logs about kind, which is the line's message, if its pause is over.
func (n *notices) say(kind string, attrs ...any) {
	leftOut, due := n.due(kind, time.Now())
	if !due {
		return
	}
	n.log.With("left_out", leftOut).Warn(kind, attrs...)
}

func (n *notices) due(kind string, now time.Time) (leftOut int, due bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	k := n.kinds[kind]
	if k == nil {
		k = &notice{last: now.Add(-noticePause)}
		n.kinds[kind] = k
	}
	if now.Sub(k.last) < noticePause {
		k.leftOut++
		return 0, false
	}
	leftOut = k.leftOut
	k.last, k.leftOut = now, 0
	return leftOut, true
}
