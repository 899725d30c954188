package floor

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"syscall"

	"github.com/valyala/fasthttp"
)

// HTTPServer is the floor of messages that come over HTTP: a bare handler that
// writes each frame to its receiver's socket and answers that it has. It knows
// messages to one receiver only. One goroutine runs it.
type HTTPServer struct {
	Addr string // host:port, where clients connect
	HTTP string // host:port, where messages are posted

	conns, posts net.Listener
	receivers    [receiversMax]atomic.Pointer[socket] // by what they said they are
}

// ListenHTTP opens such a server at free ports of loopback. The caller runs it.
func ListenHTTP() (*HTTPServer, error) {
	s := new(HTTPServer)
	var err error
	if s.conns, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
		return nil, fmt.Errorf("floor: listen: %w", err)
	}
	if s.posts, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
		return nil, errors.Join(fmt.Errorf("floor: listen: %w", err), s.conns.Close())
	}
	s.Addr, s.HTTP = s.conns.Addr().String(), s.posts.Addr().String()
	return s, nil
}

// Run serves until ctx ends, and closes all.
func (s *HTTPServer) Run(ctx context.Context) error {
	handler := &fasthttp.Server{
		Handler: s.take, Logger: silent{}, CloseOnShutdown: true,
		NoDefaultServerHeader: true, NoDefaultDate: true, NoDefaultContentType: true,
	}
	ctx, end := context.WithCancel(ctx)
	defer end()
	var all sync.WaitGroup
	served := make(chan error, 1)
	all.Go(func() { served <- handler.Serve(s.posts) })
	all.Go(func() { s.accept(ctx, &all) })
	var err error
	select {
	case <-ctx.Done():
		err = handler.Shutdown()
	case err = <-served:
	}
	err = errors.Join(err, s.conns.Close())
	end()
	all.Wait()
	return err
}

// silent is for what fasthttp says of connections that end.
type silent struct{}

// Printf implements fasthttp.Logger.
func (silent) Printf(string, ...any) {}

// accept takes connections until the listener closes.
func (s *HTTPServer) accept(ctx context.Context, all *sync.WaitGroup) {
	for {
		conn, err := s.conns.Accept()
		if err != nil {
			return
		}
		all.Go(func() {
			stop := context.AfterFunc(ctx, func() { _ = conn.Close() }) // its reader sees the end
			defer stop()
			s.serve(conn.(*net.TCPConn))
		})
	}
}

// serve gives a connection its place as a receiver, and keeps it until it ends:
// a client has nothing more to say.
func (s *HTTPServer) serve(conn *net.TCPConn) {
	defer conn.Close()
	hello := make([]byte, headSize)
	if _, err := io.ReadFull(conn, hello); err != nil {
		return
	}
	n, err := frameSize(hello)
	receiver, _ := parts(hello)
	if err != nil || n != headSize || receiver >= receiversMax {
		return
	}
	raw, err := conn.SyscallConn()
	if err != nil {
		return
	}
	to := newSocket(raw)
	s.receivers[receiver].Store(to) // the last one to come is the receiver
	defer s.receivers[receiver].CompareAndSwap(to, nil)
	if to.send(hello) == nil {
		_, _ = conn.Read(hello) // it ends with the connection
	}
}

// take handles one request, whose body is a frame. An empty one is a login's, of a
// system whose logins need none: it costs what a request costs.
func (s *HTTPServer) take(ctx *fasthttp.RequestCtx) {
	frame := ctx.PostBody()
	if len(frame) == 0 {
		return
	}
	n, err := frameSize(frame)
	if err != nil || n != len(frame) || n < headSize {
		ctx.SetStatusCode(fasthttp.StatusBadRequest)
		return
	}
	receiver, _ := parts(frame)
	if receiver >= receiversMax {
		ctx.SetStatusCode(fasthttp.StatusBadRequest)
		return
	}
	to := s.receivers[receiver].Load()
	if to == nil {
		ctx.SetStatusCode(fasthttp.StatusNotFound)
		return
	}
	if err := to.send(frame); err != nil {
		ctx.SetStatusCode(fasthttp.StatusServiceUnavailable)
	}
}

// socket is a receiver's. Handlers share it.
type socket struct {
	mu    sync.Mutex
	raw   syscall.RawConn
	frame []byte
	err   error
	write func(fd uintptr) bool // made once, so that a frame allocates nothing
}

func newSocket(raw syscall.RawConn) *socket {
	s := &socket{raw: raw}
	s.write = func(fd uintptr) bool {
		n, err := write(int(fd), s.frame)
		if err == nil && n < len(s.frame) {
			err = io.ErrShortWrite
		}
		s.err = err
		return true // without waiting: a socket whose buffer is full gets no more
	}
	return s
}

// send writes a frame whole, or returns why the receiver may get no more.
func (s *socket) send(frame []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err != nil {
		return s.err
	}
	s.frame = frame
	err := s.raw.Write(s.write)
	s.frame = nil
	return errors.Join(err, s.err)
}
