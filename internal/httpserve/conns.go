package httpserve

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/valyala/fasthttp"

	"cim/internal/admission"
)

const (
	// SurplusMax bounds the connections without a place that are being told so;
	// one more is closed without a word.
	SurplusMax = 64
	// acceptPause is how long nothing is accepted after the process ran out
	// of descriptors or buffers.
	acceptPause = 100 * time.Millisecond
	// slowAfter is how long a request may take to come in before a newcomer may
	// take its connection's place. Nearly all come at once.
	slowAfter = time.Second
	// slowLook is the time between two looks for slow requests.
	slowLook = 100 * time.Millisecond
)

// conns accepts the HTTP connections, bounds them and knows what each does: a
// newcomer that finds all places taken gets that of an idle or slow one, and
// a drain ends the idle ones at once and waits for the others.
type conns struct {
	listener net.Listener
	max      int
	idleMax  time.Duration
	policy   admission.Policy
	log      *slog.Logger
	serve    func(net.Conn) error
	refused  func(status int, from net.Addr)
	evicted  func(from net.Addr)
	surplus  []byte // what each is answered

	draining atomic.Bool

	mu     sync.Mutex
	table  *admission.Table[*httpConn]
	open   map[*httpConn]bool
	looked time.Time // when slow requests were last looked for
	// coming counts, by address, the requests that come in and may not be
	// evicted: at most the address' share.
	coming  map[netip.Addr]int
	telling int // <= SurplusMax
	ended   sync.WaitGroup
}

func newConns(listener net.Listener, config Config) *conns {
	return &conns{
		listener: listener, max: config.ConnsMax, idleMax: config.IdleTimeout, policy: config.Addresses, log: config.Log,
		refused: config.Refused, evicted: config.Evicted, surplus: surplusAnswer(),
		// Victims are closed and leave at once, so none is ever closing.
		table: admission.New[*httpConn](admission.Limits{Max: config.ConnsMax, ClosingMax: 1, Policy: config.Addresses}),
		open:  map[*httpConn]bool{}, coming: map[netip.Addr]int{},
	}
}

// run accepts until the listener is closed, and returns nil if the drain did
// that. ctx ends only its pauses.
func (c *conns) run(ctx context.Context) error {
	for {
		conn, err := c.listener.Accept()
		switch {
		case err == nil:
			c.admit(conn)
		case errors.Is(err, net.ErrClosed) && c.draining.Load():
			return nil
		case passes(err):
			c.log.Warn("cannot accept a connection", "error", err)
			sleep(ctx, acceptPause)
		default:
			return err
		}
	}
}

// passes tells a shortage or a peer that has already gone from the end of the
// listener.
func passes(err error) bool {
	for _, one := range []error{syscall.EMFILE, syscall.ENFILE, syscall.ENOBUFS, syscall.ENOMEM, syscall.ECONNABORTED} {
		if errors.Is(err, one) {
			return true
		}
	}
	return false
}

func (c *conns) admit(conn net.Conn) {
	victim, entered := c.enter(conn)
	if victim != nil {
		c.end(victim.Conn)
	}
	if entered {
		return
	}
	c.refused(fasthttp.StatusTooManyRequests, conn.RemoteAddr())
	if !c.enterSurplus(conn) {
		c.end(conn)
	}
}

// enter serves conn if there is a place for it, or a victim that the caller
// closes. A drain that begins meanwhile either sees conn or is seen here.
func (c *conns) enter(conn net.Conn) (victim *httpConn, entered bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.draining.Load() {
		return nil, false
	}
	c.listSlow(time.Now())
	one := newHTTPConn(conn, c.idleMax, c.policy)
	place, out, result := c.table.Enter(one.from, one)
	if result != admission.Admitted {
		return nil, false
	}
	if out != nil {
		victim = out.Conn
		victim.evicted.Store(true)
		c.table.Leave(out)
		c.evicted(victim.RemoteAddr())
	}
	one.place = place
	c.open[one] = true
	c.ended.Go(func() { c.serveOne(one) })
	return victim, true
}

// listSlow lets the connections be evicted whose requests take long to come
// in, if there is no place left. The caller holds the lock.
func (c *conns) listSlow(now time.Time) {
	if c.table.Len() < c.max || now.Sub(c.looked) < slowLook {
		return
	}
	c.looked = now
	for conn := range c.open {
		if conn.phase == phaseReading && now.Sub(conn.since) >= slowAfter {
			c.table.Idle(conn.place)
			c.uncount(conn)
		}
	}
}

// enterSurplus tells conn that there is no room, if few enough are being told.
func (c *conns) enterSurplus(conn net.Conn) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.telling >= SurplusMax || c.draining.Load() {
		return false
	}
	c.telling++
	c.ended.Go(func() { c.tell(conn) })
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
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.open, conn)
	c.uncount(conn)
	c.table.Leave(conn.place)
}

func (c *conns) tell(conn net.Conn) {
	if err := conn.SetWriteDeadline(time.Now().Add(lingerTime)); err == nil {
		if _, err = conn.Write(c.surplus); err == nil {
			lingerOn(conn)
		}
	}
	c.end(conn)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.telling--
}

// stateChanged is fasthttp's hook.
func (c *conns) stateChanged(conn net.Conn, state fasthttp.ConnState) {
	one, ok := conn.(*httpConn)
	if !ok {
		return
	}
	switch state {
	case fasthttp.StateActive:
		c.begin(one)
	case fasthttp.StateIdle:
		c.rest(one)
	}
}

// begin is the first byte of a request: the connection is not evicted for a
// while, unless its address has many that have only begun. If it was evicted
// meanwhile, its Read fails next.
func (c *conns) begin(conn *httpConn) {
	c.mu.Lock()
	defer c.mu.Unlock()
	conn.phase, conn.since = phaseReading, time.Now()
	switch {
	case !c.table.Use(conn.place) || !conn.source.IsValid():
	case c.coming[conn.source] >= c.policy.ShareOf(c.max):
		c.table.Idle(conn.place)
	default:
		c.coming[conn.source]++
		conn.counted = true
	}
}

// uncount ends what begin has counted. The caller holds the lock.
func (c *conns) uncount(conn *httpConn) {
	if !conn.counted {
		return
	}
	conn.counted = false
	if c.coming[conn.source]--; c.coming[conn.source] == 0 {
		delete(c.coming, conn.source)
	}
}

// read is the end of a request. It reports whether it may be served: a slow
// one's connection may have been evicted.
func (c *conns) read(conn *httpConn) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	conn.phase = phaseServing
	c.uncount(conn)
	return c.table.Use(conn.place)
}

// rest is the end of an answer.
func (c *conns) rest(conn *httpConn) {
	c.mu.Lock()
	defer c.mu.Unlock()
	conn.phase = phaseIdle
	c.table.Idle(conn.place)
	if c.draining.Load() {
		c.end(conn.Conn)
	}
}

func (c *conns) count() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.open)
}

// drain accepts nothing more, ends the idle connections, and waits for the
// others until their request is answered or ctx ends; then it ends them too.
func (c *conns) drain(ctx context.Context) {
	c.mu.Lock()
	c.draining.Store(true)
	c.mu.Unlock()
	c.end(c.listener)
	c.endOpen(func(conn *httpConn) bool { return conn.phase == phaseIdle })
	ended := make(chan struct{})
	go func() { c.ended.Wait(); close(ended) }()
	select {
	case <-ended:
	case <-ctx.Done():
		c.endOpen(func(*httpConn) bool { return true })
		<-ended
	}
}

func (c *conns) endOpen(which func(*httpConn) bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for conn := range c.open {
		if which(conn) {
			c.end(conn.Conn)
		}
	}
}

// sleep waits for d or for the end of ctx.
func sleep(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}
