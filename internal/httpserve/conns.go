package httpserve

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/valyala/fasthttp"

	"cim/proto"
)

const (
	// lingerTime and lingerBytesMax bound how long a connection that was
	// refused is still read from: closed with bytes unread it would be reset,
	// and the peer might never see why. It is more than the largest body.
	lingerTime     = time.Second
	lingerBytesMax = proto.IntakeBodyMax + 1<<20
	// SurplusMax bounds the connections above the cap that are being told so;
	// one more is closed without a word.
	SurplusMax = 64
	// acceptPause is how long nothing is accepted after the process ran out
	// of descriptors or buffers.
	acceptPause = 100 * time.Millisecond
)

// conns accepts the HTTP connections, bounds them and knows which are idle, so
// that a drain can end those at once and wait for the others.
type conns struct {
	listener net.Listener
	max      int
	log      *slog.Logger
	serve    func(net.Conn) error
	refused  func(status int, from net.Addr)
	surplus  []byte // what each is answered

	draining atomic.Bool

	mu      sync.Mutex
	open    map[*httpConn]bool
	telling int // <= SurplusMax
	ended   sync.WaitGroup
}

func newConns(listener net.Listener, config Config) *conns {
	return &conns{
		listener: listener, max: config.ConnsMax, log: config.Log, refused: config.Refused,
		surplus: surplusAnswer(), open: map[*httpConn]bool{},
	}
}

// httpConn is one connection. Its server closes it, or the drain does.
type httpConn struct {
	net.Conn
	idle   atomic.Bool // no request is being read or answered
	linger atomic.Bool // the peer was refused
}

// Close closes, after a while of reading on if the peer was refused.
func (c *httpConn) Close() error {
	if c.linger.Load() {
		lingerOn(c.Conn)
	}
	return c.Conn.Close()
}

// lingerOn says that nothing more comes and reads what the peer still sends,
// within its bounds. Its errors are the peer's end, which is what it waits for.
func lingerOn(c net.Conn) {
	half, ok := c.(*net.TCPConn)
	if !ok || half.CloseWrite() != nil || c.SetReadDeadline(time.Now().Add(lingerTime)) != nil {
		return
	}
	_, _ = io.CopyN(io.Discard, c, lingerBytesMax)
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
	if c.enter(conn) {
		return
	}
	c.refused(fasthttp.StatusTooManyRequests, conn.RemoteAddr())
	if !c.enterSurplus(conn) {
		c.end(conn)
	}
}

// enter serves conn if there is room for it. A drain that begins meanwhile
// either sees it or is seen here.
func (c *conns) enter(conn net.Conn) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.open) >= c.max || c.draining.Load() {
		return false
	}
	one := &httpConn{Conn: conn}
	one.idle.Store(true)
	c.open[one] = true
	c.ended.Go(func() { c.serveOne(one) })
	return true
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

// stateChanged is fasthttp's hook. It and the drain each write their own flag
// before they read the other's, so an idle connection is seen by one of them.
func (c *conns) stateChanged(conn net.Conn, state fasthttp.ConnState) {
	one, ok := conn.(*httpConn)
	if !ok {
		return
	}
	one.idle.Store(state == fasthttp.StateIdle)
	if state == fasthttp.StateIdle && c.draining.Load() {
		c.end(one.Conn)
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
	c.endOpen(func(conn *httpConn) bool { return conn.idle.Load() })
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
