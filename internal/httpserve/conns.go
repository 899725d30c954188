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
	// SurplusMax bounds the connections without a place that are being answered
	// 429; one more is closed without an answer.
	SurplusMax = 64
	// comeSpare: new connections can always get one place in comeSpare from
	// connections whose request is incomplete, whatever their addresses. Otherwise
	// clients that send the first bytes of requests and stop, again and again,
	// would take all places. A request that arrives at once is evicted there only
	// if that whole part changes hands meanwhile.
	comeSpare = 4
)

// conns accepts the HTTP connections. A drain ends the idle ones at once and waits
// for the others.
type conns struct {
	*places
	listener net.Listener
	idleMax  time.Duration
	log      *slog.Logger
	serve    func(net.Conn) error
	refused  func(status int, from net.Addr)
	surplus  []byte // the answer for each

	draining atomic.Bool

	memory   memory
	relieved time.Time // when large slow requests were last ended; places' lock guards it

	refusing int // <= SurplusMax; places' lock guards it
	ended    sync.WaitGroup
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

// run accepts until the listener is closed, and returns nil if the drain closed it.
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
// begins meanwhile either finds conn or is noticed here.
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

// enterSurplus has conn wait for a place or get the 429, if few enough do so.
func (c *conns) enterSurplus(conn net.Conn) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.refusing >= SurplusMax || c.draining.Load() {
		return false
	}
	c.refusing++
	c.ended.Go(func() { c.serveSurplus(conn) })
	return true
}

// end closes a connection without outstanding answers.
func (c *conns) end(conn io.Closer) {
	if err := conn.Close(); err != nil {
		c.log.Debug("close of a connection", "error", err)
	}
}

// serveOne serves conn until it ends. It ignores the error: the peer's end, or a
// refusal that was answered; it may quote a request, which must not be logged.
func (c *conns) serveOne(conn *httpConn) {
	_ = c.serve(conn)
	conn.release()
	c.leave(conn.occupant)
}

// serveSurplus gives conn the place of a request that is answered meanwhile or
// proves to be slow, or refuses it.
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
		c.refuse(conn)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.refusing--
}

// refuse answers conn with 429, and closes it.
func (c *conns) refuse(conn net.Conn) {
	if err := conn.SetWriteDeadline(time.Now().Add(lingerTime)); err == nil {
		if _, err = conn.Write(c.surplus); err == nil {
			lingerOn(conn)
		}
	}
	c.end(conn)
}

// stateChanged is fasthttp's hook. For an evicted connection the next Read fails.
// The drain finds an idle connection, or the drain is noticed here.
func (c *conns) stateChanged(conn net.Conn, state fasthttp.ConnState) {
	one, ok := conn.(*httpConn)
	if !ok {
		return
	}
	switch state {
	case fasthttp.StateActive:
		one.answers.onFirstByte()
	case fasthttp.StateIdle:
		one.release()
		one.answers.onResponse()
	}
}

// restOrEnd ends an answer. The drain finds a resting connection, or is noticed
// here.
func (c *conns) restOrEnd(one *httpConn) {
	c.onAnswered(one.occupant)
	if c.draining.Load() {
		c.end(one.Conn)
	}
}

// drain stops accepting, ends the idle connections, and waits for the others until
// their request is answered or ctx ends; then it ends them too.
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
