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

// GuardConfig is the configuration of a Guard. All fields are required.
type GuardConfig struct {
	// ConnsMax bounds the connections. It is more than the sum of all Kinds; the
	// difference is for Free.
	ConnsMax int
	// Addresses divides the connections among addresses.
	Addresses admission.Policy
	// Kinds are the kinds of requests with a bound each. A request belongs to the
	// first kind whose Of accepts its path; beyond the bound it is answered 503.
	Kinds []GuardKind
	// Free reports whether a path is always served. Its answer must be short.
	Free func(path string) bool
	// Evicted is called for each evicted connection. It must not wait.
	Evicted func(from net.Addr)
}

// GuardKind bounds one kind of requests.
type GuardKind struct {
	Of  func(path string) bool
	Max int
}

// Guard is the listener of an http.Server with paths that must always be answered,
// whatever other requests and connections there are.
type Guard struct {
	net.Listener
	config GuardConfig
	places *places
	slots  []chan struct{} // of Kinds
	left   chan struct{}   // of 1: a place may be free
	closed chan struct{}
	once   sync.Once // of closed
}

// guardRetry is how often a new connection checks again if all connections are in
// use: a slow one becomes evictable without a signal.
const guardRetry = 50 * time.Millisecond

// NewGuard guards server, whose handler is set, and returns the listener for it.
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
	g.places.comeMax = spare / 2 // so that free paths never wait for a slow request
	server.ConnState = g.stateChanged
	server.ConnContext = func(ctx context.Context, conn net.Conn) context.Context {
		return context.WithValue(ctx, guardKey{}, conn)
	}
	server.Handler = g.guard(server.Handler)
	return g
}

// guardKey is the key of a request's guardedConn in its context.
type guardKey struct{}

// guardedConn frees its place when it closes.
type guardedConn struct {
	*occupant
	guard *Guard
}

// Read implements net.Conn. http.Server calls its handler only after the whole
// header.
func (c *guardedConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if n > 0 {
		c.guard.places.onFirstByte(c.occupant)
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

// Accept implements net.Listener. If all connections are in use the new one waits.
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

// Conns is the number of open connections.
func (g *Guard) Conns() int { return g.places.count() }

func (g *Guard) stateChanged(conn net.Conn, state http.ConnState) {
	one, ok := conn.(*guardedConn)
	if !ok {
		return
	}
	switch state {
	case http.StateActive:
		g.places.begin(one.occupant) // also if the first byte came with the request before
	case http.StateIdle:
		g.places.onAnswered(one.occupant)
	}
}

// guard serves free paths at once, on an evictable connection, and bounds the other
// kinds.
func (g *Guard) guard(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		one := r.Context().Value(guardKey{}).(*guardedConn).occupant
		if g.config.Free(r.URL.Path) {
			g.places.onAnswered(one)
			// A slow reader keeps its place no longer than that. An error is the
			// end of the connection.
			_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(SendTimeout))
			next.ServeHTTP(w, r)
			return
		}
		if !g.places.onRequestRead(one) {
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
	return nil // a nil channel is always full
}
