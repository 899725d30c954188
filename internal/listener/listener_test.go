package listener

import (
	"bytes"
	"errors"
	"log/slog"
	"net"
	"os"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// scripted is a listener that returns the given results, then blocks until it is
// closed.
type scripted struct {
	net.Listener
	results []error // nil: a connection
	closed  chan struct{}
	accepts []time.Time
}

func (s *scripted) Accept() (net.Conn, error) {
	s.accepts = append(s.accepts, time.Now())
	if len(s.results) == 0 {
		<-s.closed
		return nil, net.ErrClosed
	}
	err := s.results[0]
	s.results = s.results[1:]
	if err != nil {
		return nil, &net.OpError{Op: "accept", Err: os.NewSyscallError("accept4", err)}
	}
	return &net.TCPConn{}, nil
}

func (s *scripted) Close() error { close(s.closed); return nil }

func play(results ...error) *scripted {
	return &scripted{results: results, closed: make(chan struct{})}
}

// TestShortagePauses: each kind of shortage costs a pause, one line of log, and
// no connection.
func TestShortagePauses(t *testing.T) {
	for _, short := range []error{syscall.EMFILE, syscall.ENFILE, syscall.ENOBUFS, syscall.ENOMEM} {
		synctest.Test(t, func(t *testing.T) {
			var log bytes.Buffer
			pauses := 0
			s := New(play(short, short, short, nil), "cim-port", slog.New(slog.NewTextHandler(&log, nil)), func() { pauses++ })
			began := time.Now()
			if _, err := s.Accept(); err != nil {
				t.Fatalf("%v: %v", short, err)
			}
			if waited := time.Since(began); waited != 3*pause || pauses != 3 {
				t.Errorf("%v: waited %v in %d pauses, want 3 of %v", short, waited, pauses, pause)
			}
			if n := strings.Count(log.String(), "\n"); n != 1 || !strings.Contains(log.String(), "port=cim-port") {
				t.Errorf("%v: %d lines of log, want one that names the port: %s", short, n, &log)
			}
		})
	}
}

// TestEndOfShortageIsLogged: the end is logged after a while without shortage, and
// the next shortage is logged again.
func TestEndOfShortageIsLogged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		s := New(play(syscall.ENFILE, nil, nil, syscall.ENFILE, nil), "x", slog.New(slog.NewTextHandler(&log, nil)), nil)
		for _, want := range []int{1, 2, 3} { // lines so far
			if _, err := s.Accept(); err != nil {
				t.Fatal(err)
			}
			if got := strings.Count(log.String(), "\n"); got != want {
				t.Fatalf("%d lines of log, want %d: %s", got, want, &log)
			}
			time.Sleep(calm)
		}
	})
}

// TestPeersThatHaveGoneCostNothing: errors of peers do not end or pause the
// listener.
func TestPeersThatHaveGoneCostNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := New(play(syscall.ECONNABORTED, syscall.EPERM, syscall.EPROTO, nil), "x", slog.New(slog.DiscardHandler), nil)
		began := time.Now()
		if _, err := s.Accept(); err != nil || time.Since(began) != 0 {
			t.Errorf("%v after %v, want a connection at once", err, time.Since(began))
		}
	})
}

// TestEndIsReturned: Accept returns a permanent error, and the listener's close,
// also within a pause.
func TestEndIsReturned(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := New(play(syscall.EINVAL), "x", slog.New(slog.DiscardHandler), nil)
		if _, err := s.Accept(); !errors.Is(err, syscall.EINVAL) {
			t.Errorf("%v, want EINVAL", err)
		}
		s = New(play(syscall.EMFILE), "x", slog.New(slog.DiscardHandler), nil)
		go func() {
			time.Sleep(pause / 2)
			_ = s.Close()
		}()
		began := time.Now()
		if _, err := s.Accept(); !errors.Is(err, net.ErrClosed) || time.Since(began) != pause/2 {
			t.Errorf("%v after %v, want closed within the pause", err, time.Since(began))
		}
	})
}
