package httpserve

import (
	"context"
	"net"
	"net/http"
	"strconv"
	"sync"
	"time"

	"cim/internal/admission"
)

// GuardConfig is what a Guard is told. All of it is needed.
type GuardConfig struct {
	// ConnsMax bounds the connections. It is more than all of Kinds together,
	// and what it is more is for Free.
	ConnsMax int
	// Addresses says how the connections are divided among addresses.
	Addresses admission.Policy
	// Kinds are the requests that may be in progress at once. A request is of
	// the first kind whose Of takes its path; one more is answered 503.
	Kinds []GuardKind
	// Free reports whether a path is always served. Its answer is short.
	Free func(path string) bool
	// Evicted is told of each connection whose place a newcomer took. It must
	// not wait.
	Evicted func(from net.Addr)
}

// GuardKind bounds one kind of requests.
type GuardKind struct {
	Of  func(path string) bool
	Max int
}

// Guard is the listener of an http.Server, some of whose paths must be answered
// whatever the others ask and however many connections are open.
type Guard struct {
	net.Listener
	config GuardConfig
	places *places
	slots  []chan struct{} // of Kinds
	left   chan struct{}   // of 1: a place may be free
	closed chan struct{}
	once   sync.Once // of closed
}

// guardRetry is how often a newcomer that finds all connections in use looks
// again: a slow one among them makes no sign.
const guardRetry = 50 * time.Millisecond

// NewGuard guards server, which has a handler, and returns the listener that
// it serves.
func NewGuard(listener net.Listener, server *http.Server, config GuardConfig) *Guard {
	g := &Guard{
		Listener: listener, config: config, places: newPlaces(config.ConnsMax, config.Addresses, config.Evicted),
		left: make(chan struct{}, 1), closed: make(chan struct{}),
	}
	spare := config.ConnsMax
	for _, kind := range config.Kinds {
		g.slots = append(g.slots, make(chan struct{}, kind.Max))
		spare -= kind.Max
	}
	g.places.comeMax = spare / 2 // so that what is free never waits for a slow request
	server.ConnState = g.stateChanged
	server.ConnContext = func(ctx context.Context, conn net.Conn) context.Context {
		return context.WithValue(ctx, guardKey{}, conn)
	}
	server.Handler = g.guard(server.Handler)
	return g
}

// guardKey is that of a request's guardedConn in its context.
type guardKey struct{}

// guardedConn gives its place back when it closes.
type guardedConn struct {
	*occupant
	guard *Guard
}

// Read implements net.Conn. http.Server tells of a request only when its header
// is there.
func (c *guardedConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if n > 0 {
		c.guard.places.firstByte(c.occupant)
	}
	return n, err
}

// Close implements net.Conn.
func (c *guardedConn) Close() error {
	err := c.Conn.Close()
	c.guard.places.leave(c.occupant)
	select {
	case c.guard.left <- struct{}{}:
	default:
	}
	return err
}

// Accept implements net.Listener. If all connections are in use the newcomer
// waits.
func (g *Guard) Accept() (net.Conn, error) {
	conn, err := g.Listener.Accept()
	if err != nil {
		return nil, err
	}
	for {
		if one := g.enter(conn); one != nil {
			return &guardedConn{one, g}, nil
		}
		select {
		case <-g.left:
		case <-time.After(guardRetry):
		case <-g.closed:
			_ = conn.Close() // nothing was sent
			return nil, net.ErrClosed
		}
	}
}

func (g *Guard) enter(conn net.Conn) *occupant {
	g.places.mu.Lock()
	one, victim := g.places.enter(conn)
	g.places.mu.Unlock()
	if victim != nil {
		_ = victim.Conn.Close() // it was idle or slow
	}
	return one
}

// Close implements net.Listener.
func (g *Guard) Close() error {
	g.once.Do(func() { close(g.closed) })
	return g.Listener.Close()
}

// Conns is how many connections are open.
func (g *Guard) Conns() int { return g.places.count() }

func (g *Guard) stateChanged(conn net.Conn, state http.ConnState) {
	one, ok := conn.(*guardedConn)
	if !ok {
		return
	}
	switch state {
	case http.StateActive:
		g.places.begin(one.occupant) // also where the first byte came with the request before
	case http.StateIdle:
		g.places.rest(one.occupant)
	}
}

// guard serves what is free at once, on a connection that may be evicted, and
// bounds the rest.
func (g *Guard) guard(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		one := r.Context().Value(guardKey{}).(*guardedConn).occupant
		if g.config.Free(r.URL.Path) {
			g.places.rest(one)
			// A peer that does not read keeps its place no longer than that. An
			// error is the end of the connection.
			_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(SendTimeout))
			next.ServeHTTP(w, r)
			return
		}
		if !g.places.read(one) {
			return // its connection is closed
		}
		slots := g.slotsOf(r.URL.Path)
		select {
		case slots <- struct{}{}:
			defer func() { <-slots }()
			next.ServeHTTP(w, r)
		default:
			w.Header().Set("Retry-After", "1")
			http.Error(w, strconv.Itoa(cap(slots))+" such requests are in progress, the most there may be: try again later",
				http.StatusServiceUnavailable)
		}
	})
}

func (g *Guard) slotsOf(path string) chan struct{} {
	for i, kind := range g.config.Kinds {
		if kind.Of(path) {
			return g.slots[i]
		}
	}
	return nil // which is always full
}
