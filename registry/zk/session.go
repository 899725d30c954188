package zk

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-zookeeper/zk"
)

const (
	// callMaxMin is the least that a call may take, with short sessions too.
	callMaxMin = 3 * time.Second
	// dialMax bounds one attempt to connect, with its look-up of the name.
	dialMax = time.Second
	// packetMax bounds a packet of ZooKeeper's, which by default takes no node
	// with more than 1 MiB of data itself.
	packetMax = 4 << 20
	// requestMax bounds a packet of ours.
	requestMax = 64 << 10
)

var (
	errAway   = errors.New("the connection to ZooKeeper is lost")
	errHung   = errors.New("no answer in time")
	errClosed = errors.New("the registry is closed")
)

// session is one session with ZooKeeper over one connection. The library tries
// until it has that. When it is lost, or when a call hangs, the session is over
// and the watcher makes another, which replaces the nodes in one step. The
// library would go on with the old one; but it does not say whether the watches
// went on too, it would be refused for ever by a ZooKeeper that lost its data,
// and an answer could be of a session that has expired meanwhile.
type session struct {
	conn   *zk.Conn
	events <-chan zk.Event // closed once the library's goroutines have ended
	log    *slog.Logger

	root    string
	nodeACL []zk.ACL
	rootACL []zk.ACL
	refused func(error)   // called when a connection could not be made
	callMax time.Duration // the library finds a lost connection sooner; what outlasts this is not one

	ctx   context.Context // ends when the session is over, with the reason as its cause
	end   context.CancelCauseFunc
	wires context.Context // ends all connections
	cut   context.CancelFunc
	calls sync.WaitGroup // the calls that still run

	// Set by the library's goroutines; they set the flags before they poke.
	poke    chan struct{} // one place: something below has changed
	up      atomic.Bool   // the session has begun
	watched atomic.Bool   // ZooKeeper will tell of the next change of the root
}

func openSession(ctx context.Context, c Config, refused func(error)) *session {
	s := &session{
		log: c.Log, root: c.Root, nodeACL: c.nodeACL(), rootACL: c.rootACL(), refused: refused,
		callMax: max(callMaxMin, c.SessionTimeout),
		poke:    make(chan struct{}, 1),
	}
	s.ctx, s.end = context.WithCancelCause(ctx)
	s.wires, s.cut = context.WithCancel(context.Background())
	var err error
	s.conn, s.events, err = zk.Connect(c.Servers, c.SessionTimeout,
		zk.WithDialer(s.dial), zk.WithHostProvider(&hosts{}), zk.WithEventCallback(s.event),
		zk.WithLogger(printer{c.Log}), zk.WithLogInfo(false),
		zk.WithMaxBufferSize(packetMax), zk.WithMaxConnBufferSize(requestMax))
	if err != nil {
		panic("registry/zk: a checked configuration is refused: " + err.Error())
	}
	return s
}

// abandon leaves a session that is over to its time-out: its nodes stay until
// they are replaced.
func (s *session) abandon() {
	s.cut()
	s.close()
}

// close ends the session, and with it its nodes, if ZooKeeper listens. It takes
// a second at most, and leaves nothing running.
func (s *session) close() {
	s.end(errClosed)
	s.conn.Close() // waits a second for an answer
	s.cut()
	for range s.events { // until the library's last goroutine closes it
	}
	s.calls.Wait()
}

// event runs on the library's goroutines and must not wait. Its channel of
// events would lose what does not fit.
func (s *session) event(e zk.Event) {
	switch {
	case e.Type != zk.EventSession:
		if e.Path == s.root {
			s.watched.Store(false)
		}
	case e.State == zk.StateHasSession:
		s.up.Store(true)
	case s.up.Load():
		s.end(errAway)
	}
	select {
	case s.poke <- struct{}{}:
	default:
	}
}

// dial gives the library connections that end with the session.
func (s *session) dial(network, addr string, _ time.Duration) (net.Conn, error) {
	dialer := net.Dialer{Timeout: dialMax}
	conn, err := dialer.DialContext(s.wires, network, addr)
	if err != nil {
		s.refused(err)
		return nil, err
	}
	stop := context.AfterFunc(s.wires, func() { conn.Close() })
	return &wire{Conn: conn, stop: stop, helloMax: s.callMax}, nil
}

// wire bounds the reads of one connection: the library waits much too long for
// the first part of the answer to its hello, and without a bound for the rest.
type wire struct {
	net.Conn
	stop     func() bool // watching for the session's end
	helloMax time.Duration
	greeted  bool // the library's reading goroutine only, which changes once
}

// SetReadDeadline keeps the present deadline where the library would read
// without one: it sets the next one before it reads on.
func (w *wire) SetReadDeadline(t time.Time) error {
	if t.IsZero() {
		return nil
	}
	if latest := time.Now().Add(w.helloMax); !w.greeted && t.After(latest) {
		t = latest
	}
	w.greeted = true
	return w.Conn.SetReadDeadline(t)
}

func (w *wire) Close() error {
	w.stop()
	return w.Conn.Close()
}

// result is what a call came to.
type result[T any] struct {
	value T
	err   error
}

// call runs one request, which has no time-out of its own. If it hangs the
// session is over, so that it cannot take effect later.
func call[T any](s *session, what string, request func() (T, error)) (T, error) {
	if s.ctx.Err() != nil {
		var none T
		return none, fmt.Errorf("%s: %w", what, context.Cause(s.ctx))
	}
	done := make(chan result[T], 1)
	s.calls.Go(func() {
		value, err := request()
		done <- result[T]{value, err}
	})
	late := time.NewTimer(s.callMax)
	defer late.Stop()
	r := result[T]{}
	select {
	case r = <-done:
	case <-s.ctx.Done():
		r.err = context.Cause(s.ctx)
	case <-late.C:
		r.err = errHung
		s.end(fmt.Errorf("%s: %w", what, errHung))
	}
	switch {
	case errors.Is(r.err, zk.ErrNoAuth):
		return r.value, fmt.Errorf("%s: our user lacks the right (zk-auth; getAcl shows who has it): %w", what, r.err)
	case r.err != nil:
		return r.value, fmt.Errorf("%s: %w", what, r.err)
	}
	return r.value, nil
}

// hosts hands out the servers by name, in turns: the library's own would look
// the names up once and for all, and fail if it cannot.
type hosts struct {
	names  []string
	handed int // the library's connecting goroutine only
}

// Init implements zk.HostProvider.
func (h *hosts) Init(servers []string) error {
	h.names = servers
	return nil
}

// Len implements zk.HostProvider.
func (h *hosts) Len() int { return len(h.names) }

// Next implements zk.HostProvider. The library waits for a second before the
// server that true comes with, and looks only then whether it is to end: so
// each further round begins with it.
func (h *hosts) Next() (name string, wait bool) {
	at := h.handed % len(h.names)
	wait = h.handed > 0 && at == 0
	h.handed++
	return h.names[at], wait
}

// Connected implements zk.HostProvider.
func (h *hosts) Connected() {}

// printer takes the library's own words: each failure that matters shows in
// what the watcher says too.
type printer struct{ log *slog.Logger }

// Printf implements zk.Logger.
func (p printer) Printf(format string, args ...any) {
	p.log.Debug("zookeeper: " + fmt.Sprintf(format, args...))
}
