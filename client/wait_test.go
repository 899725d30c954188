package client

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"testing"
	"testing/synctest"
	"time"

	"cim/proto"
)

// pipe is a session of dialect and its server's end, without a socket: for
// tests of time, which run in a bubble.
func pipe(t *testing.T, dialect proto.Dialect) (*session, *peer) {
	ours, theirs := net.Pipe()
	s := newSession(ours, dialect)
	s.onText = func(Message, ackMark) {}
	s.settleHeartbeat()
	t.Cleanup(func() { _ = theirs.Close() })
	return s, &peer{t: t, conn: theirs, frames: frames{conn: theirs, silenceMax: time.Hour}}
}

// skip reads to the end, as a socket's buffer would take it.
func (p *peer) skip() {
	for {
		if _, err := p.frames.next(); err != nil {
			return
		}
	}
}

// TestHanging lets a server hang after two pings: it counts as dead 5 s after
// the third, whether it answered the others with pongs or with something else.
func TestHanging(t *testing.T) {
	for name, dialect := range map[string]proto.Dialect{"v2": proto.DialectV2, "ours": proto.DialectCIM} {
		for answer, bytes := range map[string]string{
			"pong": proto.Pong, "outcome": string(proto.AppendOutcome(nil, 1, 0, proto.OutcomeDelivered, proto.CodeSuccess)),
			"half a frame": proto.Pong[:1],
		} {
			t.Run(name+" "+answer, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					s, p := pipe(t, dialect)
					began := time.Now()
					ended := make(chan error, 1)
					go func() { ended <- s.serve(t.Context(), nil) }()
					for i := range 2 {
						if ping := p.read(); ping.Command != proto.CommandPing {
							t.Errorf("the client sends %+v, want a ping", ping)
						}
						time.Sleep(pongMax - time.Millisecond)
						p.write([]byte(bytes[:len(bytes)-i*(len(bytes)-1)])) // the second one is in pieces
					}
					p.read()
					err := <-ended
					want := s.heartbeat + pongMax
					if took := time.Since(began); took != want || !errors.Is(err, os.ErrDeadlineExceeded) {
						t.Errorf("ended after %v: %v, want %v", took, err, want)
					}
				})
			})
		}
	}
}

// TestSilent hangs a server whose heartbeat time is shorter than pongMax: that time counts then.
func TestSilent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, p := pipe(t, proto.DialectCIM)
		s.heartbeat, s.pause = time.Second, 0
		s.settleHeartbeat()
		began := time.Now()
		ended := make(chan error, 1)
		go func() { ended <- s.serve(t.Context(), nil) }()
		go p.skip()
		if err := <-ended; time.Since(began) != s.heartbeat || !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("ended after %v: %v, want %v", time.Since(began), err, s.heartbeat)
		}
	})
}

// TestSlowReader takes longer for a message than a pong may: the server is not
// to blame.
func TestSlowReader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, p := pipe(t, proto.DialectCIM)
		told := 0
		s.onText = func(Message, ackMark) { told++; time.Sleep(s.heartbeat) }
		ended := make(chan error, 1)
		go func() { ended <- s.serve(t.Context(), nil) }()
		go p.skip()
		for range 3 {
			p.deliver(0, "hi")
		}
		if err := p.conn.Close(); err != nil {
			t.Fatal(err)
		}
		if err := <-ended; told != 3 || errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("%d messages, then %v, want 3 and the end of the stream", told, err)
		}
	})
}

// TestLeave reads an old connection to its end, however slowly, but does not wait for a server that
// continues.
func TestLeave(t *testing.T) {
	for name, c := range map[string]struct {
		pause, slow time.Duration // between the server's frames; of the reader
		frames      int           // that come
		took        time.Duration
	}{
		"to the end":  {0, 10 * leaveMax, 10, 100 * leaveMax},
		"goes on":     {300 * time.Millisecond, 0, 3, leaveMax},
		"is silent":   {2 * leaveMax, 0, 0, leaveMax},
		"slow and on": {600 * time.Millisecond, 300 * time.Millisecond, 2, 1600 * time.Millisecond},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s, p := pipe(t, proto.DialectCIM)
				told := 0
				s.onText = func(Message, ackMark) { told++; time.Sleep(c.slow) }
				ended := make(chan error, 1)
				go func() { ended <- s.serve(t.Context(), nil) }()
				synctest.Wait()
				began := time.Now()
				if err := s.frames.readRest(leaveMax); err != nil {
					t.Fatal(err)
				}
				go p.skip()
				wrote := make(chan struct{})
				go func() {
					defer close(wrote)
					body := proto.AppendBody(nil, proto.MessageFrom(proto.CommandMessage, ann, 0, []string{"hi"}))
					for range 10 {
						time.Sleep(c.pause)
						if _, err := p.conn.Write(proto.AppendDelivery(nil, body, ann.ID)); err != nil {
							return
						}
					}
					_ = p.conn.Close()
				}()
				<-ended
				if took := time.Since(began); told != c.frames || took != c.took {
					t.Errorf("%d frames in %v, want %d in %v", told, took, c.frames, c.took)
				}
				<-wrote
			})
		})
	}
}

// TestSettle waits for the outcomes that are due, for the end, or for its
// bound.
func TestSettle(t *testing.T) {
	result := Result{Outcome: proto.OutcomeDelivered, Code: proto.CodeSuccess}
	for name, c := range map[string]struct {
		how  func(s *session, first, second uint64)
		took time.Duration
	}{
		"both come": {func(s *session, first, second uint64) {
			s.resolve(first, result)
			time.Sleep(time.Millisecond)
			s.resolve(second, result)
		}, 2 * time.Millisecond},
		"one given up": {func(s *session, first, second uint64) { s.resolve(first, result); s.forget(second) }, time.Millisecond},
		"one is due":   {func(s *session, first, _ uint64) { s.resolve(first, result) }, settleMax},
		"the end":      {func(s *session, _, _ uint64) { s.end() }, time.Millisecond},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s, _ := pipe(t, proto.DialectCIM)
				first, _ := s.expect()
				second, _ := s.expect()
				go func() {
					time.Sleep(time.Millisecond)
					c.how(s, first, second)
				}()
				began := time.Now()
				s.settle(settleMax)
				if took := time.Since(began); took != c.took {
					t.Errorf("settled after %v, want %v", took, c.took)
				}
				synctest.Wait()
				s.forget(first)
				s.forget(second)
				s.settle(settleMax)
				if took := time.Since(began); took != c.took {
					t.Errorf("nothing is due, and it took %v more", took-c.took)
				}
			})
		})
	}
}

// TestMovingDeadline gives up a send during a move when the caller's context ends: nothing was
// sent. Other sends go over the present session.
func TestMovingDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &Client{ctx: t.Context(), inbox: newInbox()}
		s, p := pipe(t, proto.DialectCIM)
		c.setSession(s)
		c.beginMoving()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err := c.SendGroup(ctx, "hello?")
		if !errors.Is(err, ErrNotConnected) || !errors.Is(err, context.DeadlineExceeded) || errors.Is(err, ErrUnknown) {
			t.Errorf("SendGroup: %v, want that it was not sent in time", err)
		}
		sent := sending(t, c, "early")
		synctest.Wait()
		c.giveUpMoving()
		if got := p.read(); string(got.Text) != "early" {
			t.Errorf("the server reads %+v", got)
		}
		s.resolve(1, Result{Outcome: proto.OutcomeDelivered, Code: proto.CodeSuccess})
		if err := <-sent; err != nil {
			t.Errorf("SendGroup after the move: %v", err)
		}
		s.end()
		if _, err := c.SendGroup(t.Context(), "late"); !errors.Is(err, ErrNotConnected) {
			t.Errorf("SendGroup over an ended session: %v, want ErrNotConnected", err)
		}
	})
}

// roundTrip is a route without a socket.
type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// moving is a client without goroutines whose session is asked to move.
func moving(t *testing.T, s *session, route roundTrip) *move {
	c := &Client{
		ctx: t.Context(), loginCtx: t.Context(), config: Config{Log: slog.New(slog.DiscardHandler)},
		routes: &routes{urls: []string{"http://route"}, http: &http.Client{Transport: route}},
	}
	c.setSession(s)
	return &move{session: s, client: c}
}

// TestMoveSettles logs in when the outcomes that are due have come, or after
// settleMax: a login would end the session that they come over.
func TestMoveSettles(t *testing.T) {
	for name, c := range map[string]struct{ outcome, login time.Duration }{
		"none is due": {0, 0},
		"it comes":    {settleMax / 3, settleMax / 3},
		"it does not": {time.Hour, settleMax},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s, _ := pipe(t, proto.DialectCIM)
				began := time.Now()
				var login time.Duration
				m := moving(t, s, func(*http.Request) (*http.Response, error) {
					login = time.Since(began)
					s.end()
					return nil, errors.New("no route")
				})
				if c.outcome > 0 {
					id, _ := s.expect()
					resolve := time.AfterFunc(c.outcome, func() { s.forget(id) })
					defer resolve.Stop()
				}
				m.start()
				m.searching.Wait()
				if login != c.login {
					t.Errorf("login after %v, want %v", login, c.login)
				}
			})
		})
	}
}

// TestMoveTries asks again with longer and longer pauses while the old session
// lasts, but not where it is refused for good.
func TestMoveTries(t *testing.T) {
	for code, c := range map[proto.Code]struct{ least, most int }{
		proto.CodeNoServer: {6, 60}, proto.CodeRepeatLogin: {1, 1},
	} {
		t.Run(code.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s, _ := pipe(t, proto.DialectCIM)
				logins := 0
				m := moving(t, s, func(*http.Request) (*http.Response, error) {
					logins++
					answer := proto.AppendAnswer(nil, code, "", "")
					return &http.Response{StatusCode: http.StatusOK, Body: io.NopCloser(bytes.NewReader(answer))}, nil
				})
				end := time.AfterFunc(time.Minute, s.end)
				m.start()
				m.searching.Wait()
				if early := end.Stop(); early != (c.most == 1) || logins < c.least || logins > c.most {
					t.Errorf("%d logins, given up early: %t", logins, early)
				}
			})
		})
	}
}
