// Package listener makes a listener that opens exactly the given address (Network),
// and one that survives a temporary shortage of descriptors or memory, of the
// process or the machine (Steady): it pauses and continues; accepted connections
// are not touched, and new ones wait in the kernel's queue.
package listener

import (
	"errors"
	"log/slog"
	"net"
	"sync"
	"syscall"
	"time"
)

const (
	// pause is how long accepting stops after a shortage.
	pause = 100 * time.Millisecond
	// calm is how long there must be no shortage until the log reports its end. So
	// repeated shortages cost at most two lines of log in that time.
	calm = time.Second
)

// Steady is a net.Listener whose Accept returns connections, or the listener's end.
type Steady struct {
	net.Listener
	port   string
	log    *slog.Logger
	paused func()

	closed chan struct{}
	once   sync.Once // of closed

	mu    sync.Mutex
	until time.Time // nothing is accepted before
	since time.Time // start of the shortage that has been logged; zero: none
	last  time.Time // when the shortage was last seen
}

// New returns inner with an Accept that survives shortages. The log calls it port;
// paused, unless nil, is called for each pause.
func New(inner net.Listener, port string, log *slog.Logger, paused func()) *Steady {
	return &Steady{Listener: inner, port: port, log: log, paused: paused, closed: make(chan struct{})}
}

// Accept implements net.Listener. During a shortage it waits. Its errors are
// final.
func (s *Steady) Accept() (net.Conn, error) {
	for {
		if !s.wait() {
			return nil, net.ErrClosed
		}
		conn, err := s.Listener.Accept()
		switch {
		case err == nil:
			s.recovered()
			return conn, nil
		case Shortage(err):
			s.Pause(err)
		case !gone(err):
			return nil, err
		}
	}
}

// Close implements net.Listener. It ends a pause too.
func (s *Steady) Close() error {
	s.once.Do(func() { close(s.closed) })
	return s.Listener.Close()
}

// Shortage reports whether err is a lack of descriptors, buffers or memory.
func Shortage(err error) bool {
	return isOne(err, syscall.EMFILE, syscall.ENFILE, syscall.ENOBUFS, syscall.ENOMEM)
}

// gone reports whether err belongs to one peer; Linux returns such errors from
// accept (accept(2): EPERM is a firewall, the others are the network's).
func gone(err error) bool {
	return isOne(err, goneOnLinux...) || isOne(err, syscall.ECONNABORTED, syscall.EPERM, syscall.EPROTO, syscall.ENETDOWN,
		syscall.ENOPROTOOPT, syscall.EHOSTDOWN, syscall.EHOSTUNREACH, syscall.ENETUNREACH)
}

func isOne(err error, of ...syscall.Errno) bool {
	for _, one := range of {
		if errors.Is(err, one) {
			return true
		}
	}
	return false
}

// Pause makes Accept wait for a while, after the shortage err; the owner may also
// have met it with an accepted connection.
func (s *Steady) Pause(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.last = time.Now()
	s.until = s.last.Add(pause)
	if s.since.IsZero() {
		s.since = s.last
		s.log.Warn("short of descriptors or memory: no new connections for now, those that are open go on; "+
			"if it lasts, raise `ulimit -n` or look for what else on the machine needs them", "port", s.port, "error", err)
	}
	if s.paused != nil {
		s.paused()
	}
}

// wait waits for the end of a pause. It returns false at the listener's end.
func (s *Steady) wait() bool {
	s.mu.Lock()
	left := time.Until(s.until)
	s.mu.Unlock()
	if left <= 0 {
		return true
	}
	timer := time.NewTimer(left)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-s.closed:
		return false
	}
}

func (s *Steady) recovered() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.since.IsZero() || time.Since(s.last) < calm {
		return
	}
	s.log.Info("the shortage of descriptors or memory is over", "port", s.port, "after", time.Since(s.since).Round(time.Millisecond))
	s.since = time.Time{}
}
