package faults

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"sync"
	"testing"
	"time"

	"cim/proto"
)

// twin is a user with a client of ours that logs in again while its old connection still stands,
// and that continues to read the old one. A user must not receive on two sessions: what comes over
// the old one after the new one was taken is a fault.
type twin struct {
	crowd *crowd
	user  proto.User

	ticket  string
	running sync.WaitGroup

	mu       sync.Mutex
	sessions []*twinSession
	texts    map[string]int // arrivals of each text, over both
	stale    int            // arrivals over an old session
}

// twinSession is one of its connections. Guarded by the twin's mu.
type twinSession struct {
	conn  net.Conn
	taken bool // the server has taken its login
	ended bool
	old   bool // a newer one was taken
}

// newTwin registers a user and logs it in at the route of that number.
func newTwin(c *crowd, number int) *twin {
	c.t.Helper()
	w := &twin{crowd: c, texts: map[string]int{}}
	w.user.Name = fmt.Sprintf("%s-twin-%d", c.system.run, number)
	c.t.Cleanup(w.close)
	var body proto.UserBody
	a, err := call(c.ctx, c.client, c.system.routeURLs()[0]+proto.PathRegister, proto.RegisterRequest{UserName: w.user.Name})
	if err == nil {
		err = a.read(&body)
	}
	if err != nil {
		c.t.Fatal(err)
	}
	w.user.ID = body.UserID
	if err := w.logIn(number); err != nil {
		c.t.Fatal(err)
	}
	return w
}

// logIn logs in at a route, and reads the new connection besides the old one.
func (w *twin) logIn(route int) error {
	c := w.crowd
	urls := c.system.routeURLs()
	request := proto.LoginRequest{UserID: proto.Number(w.user.ID), UserName: w.user.Name, Client: 1, Ticket: w.ticket}
	var at proto.LoginBody
	a, err := call(c.ctx, c.client, urls[route%len(urls)]+proto.PathLogin, request)
	if err == nil {
		err = a.read(&at)
	}
	if err != nil {
		return err
	}
	dialer := net.Dialer{Timeout: enterMax}
	conn, err := dialer.DialContext(c.ctx, "tcp", net.JoinHostPort(at.IP, strconv.Itoa(at.CIMServerPort)))
	if err != nil {
		return err
	}
	var ticket proto.Ticket
	if _, err := hex.Decode(ticket[:], []byte(at.Ticket)); err != nil {
		return err
	}
	w.ticket = at.Ticket
	s := &twinSession{conn: conn}
	w.mu.Lock()
	w.sessions = append(w.sessions, s)
	w.mu.Unlock()
	w.running.Go(func() { w.read(s) })
	if _, err := conn.Write(proto.AppendLogin(nil, w.user, proto.DialectCIM, ticket)); err != nil {
		return err
	}
	if !within(enterMax, func() bool { w.mu.Lock(); defer w.mu.Unlock(); return s.taken }) {
		return errors.New("the login of a twin was not answered")
	}
	return nil
}

// read books what comes over one connection until it ends.
func (w *twin) read(s *twinSession) {
	var buffer []byte
	part := make([]byte, readMax)
	var view proto.View
	pinged := time.Now()
	for {
		// Whatever comes, it pings in time.
		_ = s.conn.SetReadDeadline(time.Now().Add(originalPing / 2))
		n, err := s.conn.Read(part)
		if errors.Is(err, os.ErrDeadlineExceeded) || err == nil && time.Since(pinged) > originalPing {
			pinged = time.Now()
			_, err = s.conn.Write([]byte(proto.Ping))
		}
		if err != nil {
			w.mu.Lock()
			s.ended = true
			w.mu.Unlock()
			return
		}
		buffer = append(buffer, part[:n]...)
		for {
			frame, size, reason := proto.NextFrame(buffer, proto.FrameMax)
			if reason != proto.ReasonNone || frame == nil {
				break
			}
			if view.Parse(frame) == proto.ReasonNone {
				w.take(s, &view)
			}
			buffer = buffer[size:]
		}
	}
}

func (w *twin) take(s *twinSession, v *proto.View) {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch v.Command {
	case proto.CommandLoginAnswer:
		if s.taken = v.Reason == proto.ReasonNone; s.taken {
			for _, other := range w.sessions {
				other.old = other != s
			}
		}
	case proto.CommandMessage, proto.CommandOffline:
		v.EachText(func(text []byte) {
			w.texts[string(text)]++
			if s.old {
				w.stale++
			}
		})
	}
}

// oldEnded reports whether all but the last session have ended.
func (w *twin) oldEnded() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, s := range w.sessions[:len(w.sessions)-1] {
		if !s.ended {
			return false
		}
	}
	return true
}

func (w *twin) close() {
	w.mu.Lock()
	for _, s := range w.sessions {
		_ = s.conn.Close() // it may have ended
	}
	w.mu.Unlock()
	w.running.Wait()
}

// stare sends each twin a text now and then, until ctx ends, and returns how
// many were promised to each.
func stare(ctx context.Context, t *testing.T, twins []*twin) <-chan map[*twin][]string {
	t.Helper()
	result := make(chan map[*twin][]string, 1)
	go func() {
		promised := map[*twin][]string{}
		ticker := time.NewTicker(200 * time.Millisecond)
		defer ticker.Stop()
		for i := 0; ; i++ {
			select {
			case <-ctx.Done():
				result <- promised
				return
			case <-ticker.C:
			}
			for _, w := range twins {
				text := fmt.Sprintf("twin %d", i)
				request := proto.PrivateRequest{
					UserID: proto.Number(w.crowd.members[0].user.ID), ReceiveUserID: proto.Number(w.user.ID), Msg: &text,
				}
				urls := w.crowd.system.routeURLs()
				a, err := call(context.WithoutCancel(ctx), w.crowd.client, urls[i%len(urls)]+proto.PathPrivate, request)
				if err == nil && (a.code == proto.CodeSuccess || a.code == proto.CodeOffline) {
					promised[w] = append(promised[w], text)
				}
			}
		}
	}()
	return result
}
