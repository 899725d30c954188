package standalone

import (
	"context"
	"errors"
	"log/slog"
	"sync"

	"cim/internal/link"
	"cim/proto"
)

// links connects the route to the server of the same process. Each link has a
// goroutine here for the server's end.
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

// dial is the route's function to connect to a member, of which there is one. When
// the server goes down it waits for ctx, since another try is useless.
func (l *links) dial(ctx context.Context, m proto.Member) (*link.Conn, error) {
	if conn := l.pair(m); conn != nil {
		return conn, nil
	}
	<-ctx.Done()
	return nil, errors.New("standalone: link: the server is going down")
}

// pair makes a link and serves the server's end of it; nil after refuse.
func (l *links) pair(m proto.Member) *link.Conn {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.refused {
		return nil
	}
	routeEnd, serverEnd := link.Pair(link.WaitingMaxDefault)
	l.ends.Go(func() {
		l.log.Debug("link ended", "server", m.Name(), "why", l.serve(l.ctx, serverEnd))
	})
	return routeEnd
}

// refuse prevents new links.
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
