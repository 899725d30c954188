package floor

import (
	"context"
	"errors"
	"fmt"
	"net"
	"runtime"
	"runtime/debug"

	"golang.org/x/sys/unix"
)

const (
	backlog = 4096
	// eventsMax bounds the events of one wait, sendsMax the sends between two looks for new events.
	eventsMax = 256
	sendsMax  = 64
	// readSize is what one read takes; a connection has more to read for as long
	// as epoll says so.
	readSize = 64 << 10
	// writeSize bounds one send, lagMax what a connection may be behind: a
	// slower one is closed.
	writeSize = 64 << 10
	lagMax    = 8 << 20
	// stuckWait is how long the server waits, in ms, when all remaining data is for connections
	// whose sockets are full.
	stuckWait = 1
)

// Server is the floor. One goroutine runs it.
type Server struct {
	Addr string // host:port, where it listens

	poll, listener, bell int // descriptors; the bell ends the run
	conns                []*conn
	byFD                 map[int32]*conn
	receivers            [receiversMax]*conn // by what they said they are
	read                 []byte

	// Group messages are one stream of bytes. Each connection has a place in
	// it, and is sent all behind that in one call when its turn comes.
	stream []byte
	begin  int  // position of the stream's first byte
	turn   int  // of conns, the next in turn
	left   int  // turns until all have had everything
	least  int  // the least place that this round has seen
	behind int  // connections that this round has left with something to come
	moved  int  // bytes that this round has sent
	full   bool // the last round sent nothing, as all sockets that lack something are full
}

type conn struct {
	fd      int
	index   int    // in conns
	place   int    // in the stream of group messages
	partial []byte // an incomplete frame
	self    uint32 // as a receiver; allReceivers: not named yet
}

// Listen opens a server at a free port of loopback. The caller runs it.
func Listen() (*Server, error) {
	s := &Server{poll: -1, listener: -1, bell: -1, byFD: make(map[int32]*conn), read: make([]byte, readSize)}
	if err := s.listen(); err != nil {
		return nil, errors.Join(fmt.Errorf("floor: listen: %w", err), s.close())
	}
	return s, nil
}

func (s *Server) listen() (err error) {
	if s.poll, err = unix.EpollCreate1(unix.EPOLL_CLOEXEC); err != nil {
		return err
	}
	if s.bell, err = unix.Eventfd(0, unix.EFD_NONBLOCK|unix.EFD_CLOEXEC); err != nil {
		return err
	}
	if s.listener, err = unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0); err != nil {
		return err
	}
	if err = unix.Bind(s.listener, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		return err
	}
	if err = unix.Listen(s.listener, backlog); err != nil {
		return err
	}
	name, err := unix.Getsockname(s.listener)
	if err != nil {
		return err
	}
	s.Addr = fmt.Sprintf("%s:%d", net.IPv4(127, 0, 0, 1), name.(*unix.SockaddrInet4).Port)
	return errors.Join(s.watch(s.listener), s.watch(s.bell))
}

func (s *Server) watch(fd int) error {
	return unix.EpollCtl(s.poll, unix.EPOLL_CTL_ADD, fd, &unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(fd)})
}

// Run serves until ctx ends, and closes all.
func (s *Server) Run(ctx context.Context) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(max(2, runtime.GOMAXPROCS(0)))) // one P is this thread's
	defer debug.SetGCPercent(debug.SetGCPercent(-1))
	rung := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(rung)
		// It cannot fail: the bell is open until rung is closed, and counts to 1.
		_, _ = unix.Write(s.bell, []byte{1, 0, 0, 0, 0, 0, 0, 0})
	})
	err := s.serve()
	if !stop() {
		<-rung
	}
	return errors.Join(err, s.close())
}

func (s *Server) serve() error {
	events := make([]unix.EpollEvent, eventsMax)
	for {
		n, err := wait(s.poll, events, s.patience())
		if err != nil && !errors.Is(err, unix.EINTR) {
			return fmt.Errorf("floor: wait: %w", err)
		}
		for _, e := range events[:max(0, n)] {
			switch int(e.Fd) {
			case s.bell:
				return nil
			case s.listener:
				s.accept()
			default:
				s.take(s.byFD[e.Fd])
			}
		}
		s.sendOn()
	}
}

// patience is how long the next wait may last, in ms.
func (s *Server) patience() int {
	switch {
	case s.left == 0:
		return -1
	case s.full:
		return stuckWait
	}
	return 0
}

// accept takes waiting connections. One that cannot be taken stays in the backlog.
func (s *Server) accept() {
	for {
		fd, _, err := unix.Accept4(s.listener, unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC)
		if err != nil {
			return
		}
		c := &conn{fd: fd, index: len(s.conns), place: s.begin + len(s.stream), self: allReceivers}
		err = errors.Join(unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1), s.watch(fd))
		s.conns, s.byFD[int32(fd)] = append(s.conns, c), c
		if err != nil {
			s.drop(c)
		}
	}
}

// take reads once from c. c is nil if it was dropped since epoll spoke.
func (s *Server) take(c *conn) {
	if c == nil {
		return
	}
	n, err := read(c.fd, s.read)
	if errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EINTR) {
		return
	}
	if err != nil || n <= 0 || !s.split(c, s.read[:n]) {
		s.drop(c)
	}
}

// split forwards the whole frames of data; false: c must be dropped.
func (s *Server) split(c *conn, data []byte) bool {
	if len(c.partial) > 0 {
		c.partial = append(c.partial, data...)
		data = c.partial
	}
	for {
		n, err := frameSize(data)
		if err != nil {
			return false
		}
		if n == 0 || n > len(data) {
			break
		}
		if !s.forward(c, data[:n]) {
			return false
		}
		data = data[n:]
	}
	c.partial = append(c.partial[:0], data...)
	return true
}

// forward sends a frame to its receiver, or puts it into the stream; false: c
// broke the rules.
func (s *Server) forward(c *conn, frame []byte) bool {
	receiver, text := parts(frame)
	switch {
	case len(text) == 0:
		return s.name(c, receiver, frame)
	case receiver == allReceivers:
		s.stream = append(s.stream, frame...)
		s.left, s.full = len(s.conns), false
	case receiver < receiversMax && s.receivers[receiver] != nil:
		s.send(s.receivers[receiver], frame)
	}
	return true // a sender may send a message without a receiver
}

// name gives c its place as a receiver.
func (s *Server) name(c *conn, receiver uint32, frame []byte) bool {
	if receiver >= receiversMax || s.receivers[receiver] != nil || c.self != allReceivers {
		return false
	}
	c.self, s.receivers[receiver] = receiver, c
	s.send(c, frame)
	return true
}

// send writes a frame to one receiver, which is dropped if its socket is full.
func (s *Server) send(c *conn, frame []byte) {
	n, err := write(c.fd, frame)
	if err != nil || n < len(frame) {
		s.shut(c)
	}
}

// shut ends a connection while another one is being served: epoll reports its end, and take drops
// it.
func (s *Server) shut(c *conn) {
	// An error is a connection that has ended already.
	_ = unix.Shutdown(c.fd, unix.SHUT_RDWR)
}

// sendOn gives the next connections what they lack of the stream.
func (s *Server) sendOn() {
	for range min(sendsMax, s.left) {
		if s.turn >= len(s.conns) {
			s.turn = 0
		}
		if s.turn == 0 {
			s.forget()
		}
		c := s.conns[s.turn]
		s.turn++
		s.left--
		s.bring(c)
		s.least = min(s.least, c.place)
	}
	if s.left == 0 && s.behind > 0 {
		s.left = len(s.conns)
	}
}

// forget drops the bytes that all had at the end of the last round, and starts a round.
func (s *Server) forget() {
	if gone := s.least - s.begin; gone > 0 {
		s.stream = append(s.stream[:0], s.stream[gone:]...)
		s.begin = s.least
	}
	s.full = s.behind > 0 && s.moved == 0
	s.least, s.behind, s.moved = s.begin+len(s.stream), 0, 0
}

// bring sends c the bytes that it lacks, as many as its socket takes.
func (s *Server) bring(c *conn) {
	lacks := s.stream[c.place-s.begin:]
	if len(lacks) == 0 {
		return
	}
	n, err := write(c.fd, lacks[:min(len(lacks), writeSize)])
	switch {
	case err == nil:
		c.place += n
		s.moved += n
	case !errors.Is(err, unix.EAGAIN):
		s.shut(c)
		c.place = s.begin + len(s.stream)
		return
	}
	if n < len(lacks) {
		s.behind++
	}
	if len(lacks) > lagMax {
		s.shut(c)
		c.place = s.begin + len(s.stream)
	}
}

// drop closes c and fills its place in the round with the last one.
func (s *Server) drop(c *conn) {
	last := s.conns[len(s.conns)-1]
	s.conns[c.index], last.index = last, c.index
	s.conns = s.conns[:len(s.conns)-1]
	s.least = min(s.least, last.place) // the round may have passed its new place
	if s.left > 0 {
		s.left = len(s.conns)
	}
	if c.self != allReceivers {
		s.receivers[c.self] = nil
	}
	delete(s.byFD, int32(c.fd))
	// The descriptor is gone, also after an error.
	_ = unix.Close(c.fd)
}

func (s *Server) close() error {
	for len(s.conns) > 0 {
		s.drop(s.conns[len(s.conns)-1])
	}
	var errs []error
	for _, fd := range []int{s.poll, s.listener, s.bell} {
		if fd >= 0 {
			errs = append(errs, unix.Close(fd))
		}
	}
	return errors.Join(errs...)
}
