package main

import (
	"context"
	"errors"
	"log/slog"
	"sync"

	"cim/internal/link"
	"cim/proto"
)

// links connects the route to the server of the same process. The server's end
// of each link has a goroutine here.
type links struct {
	serve func(context.Context, *link.Conn) error
	log   *slog.Logger
	ctx   context.Context // of the server's ends
	stop  context.CancelFunc

	mu      sync.Mutex
	refused bool // the server is going down
	ends    sync.WaitGroup
}

func newLinks(serve func(context.Context, *link.Conn) error, log *slog.Logger) *links {
	ctx, stop := context.WithCancel(context.Background())
	return &links{serve: serve, log: log, ctx: ctx, stop: stop}
}

// dial is the route's way to connect to a member, of which there is one.
func (l *links) dial(_ context.Context, m proto.Member) (*link.Conn, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.refused {
		return nil, errors.New("standalone: link: the server is going down")
	}
	routeEnd, serverEnd := link.Pair(linkBytesMax)
	l.ends.Go(func() {
		l.log.Debug("link ended", "server", m.Name(), "why", l.serve(l.ctx, serverEnd))
	})
	return routeEnd, nil
}

// refuse lets no new link begin.
func (l *links) refuse() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.refused = true
}

// close ends all links and waits for them.
func (l *links) close() {
	l.refuse()
	l.stop()
	l.ends.Wait()
}
