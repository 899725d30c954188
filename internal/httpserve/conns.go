package httpserve

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/valyala/fasthttp"

	"cim/internal/listener"
)

const (
	// SurplusMax bounds the connections without a place that are being told so;
	// one more is closed without a word.
	SurplusMax = 64
	// comeSpare is the part of the places, one in so many, that requests which
	// come in do not keep from newcomers, from however many addresses they are:
	// those who send the first bytes of requests and stop, again and again, would
	// have all. A request of which all bytes come at once is not evicted there
	// unless the whole part changes hands meanwhile.
	comeSpare = 4
)

// conns accepts the HTTP connections. A drain ends the idle ones at once and
// waits for the others.
type conns struct {
	*places
	listener net.Listener
	idleMax  time.Duration
	log      *slog.Logger
	serve    func(net.Conn) error
	refused  func(status int, from net.Addr)
	surplus  []byte // what each is answered

	draining atomic.Bool

	memory   memory
	relieved time.Time // when large requests that are slow were last ended; places' lock guards it

	telling int // <= SurplusMax; places' lock guards it
	ended   sync.WaitGroup
}

func newConns(inner net.Listener, config Config) *conns {
	places := newPlaces(config.ConnsMax, config.Addresses, config.Evicted)
	places.comeMax = config.ConnsMax - config.ConnsMax/comeSpare
	return &conns{
		places:   places,
		listener: listener.New(inner, config.Port, config.Log, config.Paused), idleMax: config.IdleTimeout, log: config.Log,
		refused: config.Refused, surplus: surplusAnswer(), memory: memory{most: BodiesBytesMax, budget: config.Budget, holders: map[*occupant]bool{}},
	}
}

// run accepts until the listener is closed, and returns nil if the drain did
// that.
func (c *conns) run() error {
	for {
		conn, err := c.listener.Accept()
		switch {
		case err == nil:
			c.admit(conn)
		case errors.Is(err, net.ErrClosed) && c.draining.Load():
			return nil
		default:
			return err
		}
	}
}

func (c *conns) admit(conn net.Conn) {
	if !c.enterAndServe(conn) && !c.enterSurplus(conn) {
		c.refused(fasthttp.StatusTooManyRequests, conn.RemoteAddr())
		c.end(conn)
	}
}

// enterAndServe serves conn if there is a place for it, or a victim. A drain that
// begins meanwhile either sees conn or is seen here.
func (c *conns) enterAndServe(conn net.Conn) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.draining.Load() {
		return false
	}
	one, victim := c.enter(conn)
	if one == nil {
		return false
	}
	if victim != nil {
		c.end(victim.Conn)
	}
	c.ended.Go(func() { c.serveOne(newHTTPConn(one, c)) })
	return true
}

// enterSurplus has conn wait for a place or be told that there is none, if few
// enough do so.
func (c *conns) enterSurplus(conn net.Conn) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.telling >= SurplusMax || c.draining.Load() {
		return false
	}
	c.telling++
	c.ended.Go(func() { c.serveSurplus(conn) })
	return true
}

// end closes a connection that nothing is lost with.
func (c *conns) end(conn io.Closer) {
	if err := conn.Close(); err != nil {
		c.log.Debug("close of a connection", "error", err)
	}
}

// serveOne serves conn until it ends. The error is how the peer left, or what
// it was already told; it may quote a request, which no log may.
func (c *conns) serveOne(conn *httpConn) {
	_ = c.serve(conn)
	conn.release()
	c.leave(conn.occupant)
}

// serveSurplus gives conn the place of a request that is answered meanwhile or
// proves to be slow in coming in, or tells it that there is none.
func (c *conns) serveSurplus(conn net.Conn) {
	entered := false
	for end := time.Now().Add(slowAfter + 2*slowLook); !entered && !c.draining.Load(); {
		last := !time.Now().Before(end)
		time.Sleep(slowLook / 2)
		if entered = c.enterAndServe(conn); last {
			break
		}
	}
	if !entered {
		c.refused(fasthttp.StatusTooManyRequests, conn.RemoteAddr())
		c.tell(conn)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.telling--
}

// tell tells conn that there is no place, and closes it.
func (c *conns) tell(conn net.Conn) {
	if err := conn.SetWriteDeadline(time.Now().Add(lingerTime)); err == nil {
		if _, err = conn.Write(c.surplus); err == nil {
			lingerOn(conn)
		}
	}
	c.end(conn)
}

// stateChanged is fasthttp's hook. Of a connection that was evicted the next
// Read fails. An idle connection is seen by the drain or sees it here.
func (c *conns) stateChanged(conn net.Conn, state fasthttp.ConnState) {
	one, ok := conn.(*httpConn)
	if !ok {
		return
	}
	switch state {
	case fasthttp.StateActive:
		one.answers.begin()
	case fasthttp.StateIdle:
		one.release()
		one.answers.rest()
	}
}

// restOrEnd is the end of an answer. The drain sees a connection that rests, or
// is seen here.
func (c *conns) restOrEnd(one *httpConn) {
	c.rest(one.occupant)
	if c.draining.Load() {
		c.end(one.Conn)
	}
}

// drain accepts nothing more, ends the idle connections, and waits for the
// others until their request is answered or ctx ends; then it ends them too.
func (c *conns) drain(ctx context.Context) {
	c.mu.Lock()
	c.draining.Store(true)
	c.mu.Unlock()
	c.end(c.listener)
	c.endOpen(func(one *occupant) bool { return one.phase == phaseIdle })
	ended := make(chan struct{})
	go func() { c.ended.Wait(); close(ended) }()
	select {
	case <-ended:
	case <-ctx.Done():
		c.endOpen(func(*occupant) bool { return true })
		<-ended
	}
}

func (c *conns) endOpen(which func(*occupant) bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for conn := range c.open {
		if which(conn) {
			c.end(conn.Conn)
		}
	}
}
