package client

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"cim/proto"
)

// sendingTo sends text to one user, and returns a channel for the outcome.
func sendingTo(t *testing.T, c *Client, receiver proto.UserID, text string, options SendOptions) <-chan sent {
	done := make(chan sent, 1)
	go func() {
		result, err := c.SendWith(t.Context(), receiver, text, options)
		done <- sent{text, result, err}
	}()
	return done
}

// readSend reads the next frame that is no ping, a SEND of text.
func (p *peer) readSend(text string) proto.View {
	p.t.Helper()
	frame := p.read()
	for frame.Command == proto.CommandPing {
		frame = p.read()
	}
	if frame.Command != proto.CommandSend || string(frame.Text) != text {
		p.t.Fatalf("the server reads %+v, want a SEND of %q", frame, text)
	}
	return *frame
}

func (p *peer) outcome(of proto.View, outcome proto.Outcome, code proto.Code) {
	p.t.Helper()
	p.write(proto.AppendOutcome(nil, of.MessageID, of.TextID(), outcome, code))
}

// TestSendOptions sends with each want, with an id of the application's and without. Group
// messages, and those of a session that does not acknowledge, have the same bytes as before.
func TestSendOptions(t *testing.T) {
	f := newAckFake(t)
	c, p := f.logIn(f.config())
	for want, onWire := range map[Want]proto.Want{WantTaken: 0, WantReceived: 1, WantStored: 2} {
		done := sendingTo(t, c, 9, "hi", SendOptions{ID: 77, Want: want})
		frame := p.readSend("hi")
		if frame.TextID() != 77 || frame.Want != onWire {
			t.Errorf("%v: id %d and want %d, want 77 and %d", want, frame.TextID(), frame.Want, onWire)
		}
		p.outcome(frame, proto.OutcomeReceived, proto.CodeSuccess)
		if s := await(t, done); s.err != nil || s.result.Err() != nil || s.result.Outcome != proto.OutcomeReceived || s.result.ID != 77 {
			t.Errorf("%v: %+v", want, s)
		}
	}
	var ids []proto.TextID
	for range 2 {
		done := sendingTo(t, c, 9, "hi", SendOptions{})
		frame := p.readSend("hi")
		ids = append(ids, frame.TextID())
		p.outcome(frame, proto.OutcomeStored, proto.CodeOffline)
		if s := await(t, done); s.err != nil || s.result.Outcome != proto.OutcomeStored {
			t.Errorf("%+v", s)
		}
	}
	if ids[0] == 0 || ids[1] == 0 || ids[0] == ids[1] {
		t.Errorf("ids %v, want two that are not 0", ids)
	}
	all := sending(t, c, "to all")
	if frame := p.readSend("to all"); frame.TextID() != 0 || frame.Want != 0 {
		t.Errorf("to all: id %d, want %d; want none", frame.TextID(), frame.Want)
	} else {
		p.outcome(frame, proto.OutcomeDelivered, proto.CodeSuccess)
	}
	if err := await(t, all); err != nil {
		t.Error(err)
	}

	old := newFake(t, ticketOne)
	c, p = old.logIn(old.config())
	done := sendingTo(t, c, 9, "hi", SendOptions{ID: 77, Want: WantStored})
	if frame := p.readSend("hi"); frame.TextID() != 0 || frame.Want != 0 {
		t.Errorf("without acknowledgements: id %d, want %d; want none", frame.TextID(), frame.Want)
	} else {
		p.outcome(frame, proto.OutcomeUnknown, proto.CodeFailure)
	}
	if s := await(t, done); !errors.Is(s.err, ErrUnknown) {
		t.Errorf("without acknowledgements: %+v, want ErrUnknown", s)
	}
}

// TestResend sends again under the same id until the outcome is known; a refusal of a later try
// says nothing about the first.
func TestResend(t *testing.T) {
	type answer struct {
		outcome proto.Outcome
		code    proto.Code
	}
	unknown := answer{proto.OutcomeUnknown, proto.CodeFailure}
	received := answer{proto.OutcomeReceived, proto.CodeSuccess}
	busy, failed := answer{proto.OutcomeBusy, proto.CodeLimit}, answer{proto.OutcomeFailed, proto.CodeFailure}
	nobody := answer{proto.OutcomeFailed, proto.CodeAccountMismatch}
	for name, c := range map[string]struct {
		answers []answer
		err     error // of Send
		outcome proto.Outcome
	}{
		"received":         {[]answer{unknown, unknown, received}, nil, proto.OutcomeReceived},
		"busy then":        {[]answer{unknown, busy, failed, received}, nil, proto.OutcomeReceived},
		"busy":             {[]answer{busy}, nil, proto.OutcomeBusy},
		"failed":           {[]answer{failed}, nil, proto.OutcomeFailed},
		"refused for good": {[]answer{unknown, nobody}, ErrUnknown, proto.OutcomeFailed},
	} {
		t.Run(name, func(t *testing.T) {
			f := newAckFake(t)
			client, p := f.logIn(f.config())
			done := sendingTo(t, client, 9, "hi", SendOptions{})
			var id proto.TextID
			for i, a := range c.answers {
				frame := p.readSend("hi")
				if i > 0 && frame.TextID() != id {
					t.Errorf("try %d has the id %d, the first one %d", i+1, frame.TextID(), id)
				}
				id = frame.TextID()
				p.outcome(frame, a.outcome, a.code)
			}
			s := await(t, done)
			if !errors.Is(s.err, c.err) || s.result.Outcome != c.outcome {
				t.Errorf("%+v, want %v and outcome %v", s, c.err, c.outcome)
			}
			if c.err != nil && !errors.Is(s.err, ErrNoSuchUser) {
				t.Errorf("%v, want the refusal too", s.err)
			}
		})
	}
}

// TestResendLost loses the connection with messages of both kinds outstanding. Over the next one
// they are sent again, in order and before later ones; messages to another receiver do not wait.
func TestResendLost(t *testing.T) {
	f := newAckFake(t)
	config := f.config()
	seen := states(&config)
	c, p := f.logIn(config)
	got := make(chan sent, 10)
	var ids []proto.TextID
	for i := range 4 {
		sendAsync(t, c, fmt.Sprint(i), got)
		frame := p.readSend(fmt.Sprint(i))
		ids = append(ids, frame.TextID())
	}
	p.close()
	wantState(t, seen, StateReconnecting)
	next := f.takeLogin(proto.LoginAnswer{User: ann.ID, Heartbeat: 30})
	wantState(t, seen, StateReady)
	late := sendingTo(t, c, 9, "late", SendOptions{})
	for i := range 4 {
		frame := next.readSend(fmt.Sprint(i))
		if frame.TextID() != ids[i] {
			t.Errorf("message %d has the id %d, before %d", i, frame.TextID(), ids[i])
		}
		next.outcome(frame, proto.OutcomeReceived, proto.CodeSuccess)
	}
	next.outcome(next.readSend("late"), proto.OutcomeDelivered, proto.CodeSuccess)
	for i := range 4 {
		if s := await(t, got); s.err != nil || s.text != fmt.Sprint(i) || s.result.Outcome != proto.OutcomeReceived {
			t.Errorf("%+v, want that message %d is received", s, i)
		}
	}
	if s := await(t, late); s.err != nil {
		t.Error(s.err)
	}
}

// TestResendOlder: the next server does not acknowledge, so nothing is sent again.
func TestResendOlder(t *testing.T) {
	f := newAckFake(t)
	c, p := f.logIn(f.config())
	done := sendingTo(t, c, 9, "hi", SendOptions{})
	p.readSend("hi")
	f.now(func() { f.ack = 0 })
	p.close()
	next := f.takeLogin(proto.LoginAnswer{User: ann.ID, Heartbeat: 30})
	if s := await(t, done); !errors.Is(s.err, ErrUnknown) {
		t.Errorf("%+v, want ErrUnknown", s)
	}
	sent := make(chan error, 1)
	go func() { sent <- sendSoon(t, c, "nothing before") }()
	next.answerSend("nothing before")
	if err := await(t, sent); err != nil {
		t.Error(err)
	}
}

// TestResendClose closes a client whose message is in doubt.
func TestResendClose(t *testing.T) {
	f := newAckFake(t)
	config := f.config()
	seen := states(&config)
	config.Backoff = long{}
	c, p := f.logIn(config)
	done := sendingTo(t, c, 9, "hi", SendOptions{})
	p.readSend("hi")
	p.close()
	wantState(t, seen, StateReconnecting)
	shut(t, c)
	if s := await(t, done); !errors.Is(s.err, ErrUnknown) {
		t.Errorf("%+v, want ErrUnknown", s)
	}
}

// long is a backoff that a test does not live to see the end of.
type long struct{}

func (long) Pause(int) time.Duration { return time.Hour }

// acking is a client in a bubble whose session, of dialect CIM, acknowledges, and
// the server's end of that.
func acking(t *testing.T) (*Client, *session, *peer) {
	c := &Client{ctx: t.Context(), inbox: newInbox(), outbox: outbox{closing: make(chan struct{})}}
	c.config.Log = discard
	s, p := ackPipe(t, c)
	c.setSession(s)
	return c, s, p
}

func ackPipe(t *testing.T, c *Client) (*session, *peer) {
	s, p := pipe(t, proto.DialectCIM)
	s.enableAcks()
	s.onText, s.onOutcome = c.onText, c.onOutcome
	return s, p
}

// TestResendEnds gives a message up a minute behind its first try, whether its
// outcome is unknown each time, does not come at all, or its connection is lost
// and no other comes.
func TestResendEnds(t *testing.T) {
	for name, c := range map[string]struct {
		answer      func(c *Client, s *session, frame proto.View)
		least, most int // tries
	}{
		"unknown": {func(_ *Client, s *session, frame proto.View) {
			s.resolve(frame.MessageID, Result{Outcome: proto.OutcomeUnknown})
		}, 15, 40},
		"silent": {func(*Client, *session, proto.View) {}, 1, 1},
		"lost":   {func(c *Client, s *session, _ proto.View) { s.end(); c.setSession(nil) }, 1, 1},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				client, s, p := acking(t)
				tries := 0
				go func() {
					for {
						frame, err := p.frames.next()
						if err != nil {
							return
						}
						p.view.Parse(frame)
						tries++
						c.answer(client, s, p.view)
					}
				}()
				began := time.Now()
				_, err := client.Send(t.Context(), 9, "hi")
				if took := time.Since(began); !errors.Is(err, ErrUnknown) || took != triesMax {
					t.Errorf("after %v: %v, want ErrUnknown after %v", took, err, triesMax)
				}
				s.end()
				time.Sleep(time.Hour)
				synctest.Wait()
				if tries < c.least || tries > c.most || len(client.outgoing) != 0 || client.resendsDue != 0 {
					t.Errorf("%d tries, %d left, %d in doubt", tries, len(client.outgoing), client.resendsDue)
				}
			})
		})
	}
}

// TestResendContext gives up with the caller's context, before the first try or
// behind it.
func TestResendContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client, s, p := acking(t)
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		go p.skip()
		_, err := client.Send(ctx, 9, "written")
		if !errors.Is(err, ErrUnknown) || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("behind the first try: %v, want ErrUnknown", err)
		}
		done := sendingTo(t, client, 9, "in doubt", SendOptions{})
		synctest.Wait()
		s.end()
		client.setSession(nil)
		client.session = s // it seems to live, and the message is not written again
		s.ended = make(chan struct{})
		ctx, cancel = context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		if _, err := client.Send(ctx, 9, "behind"); !errors.Is(err, ErrBusy) || errors.Is(err, ErrUnknown) {
			t.Errorf("behind one in doubt: %v, want ErrBusy", err)
		}
		client.mu.Lock()
		client.settleAll()
		client.mu.Unlock()
		<-done
		if len(s.outcomes) != 1 { // the one in doubt is of a session that ended
			t.Errorf("%d places are taken", len(s.outcomes))
		}
	})
}

// TestOutgoingBound has as many messages out as there may be, and one more.
func TestOutgoingBound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client, s, p := acking(t)
		go p.skip()
		ctx, cancel := context.WithCancel(t.Context())
		for i := range outcomesMax {
			if err := client.SendAsync(ctx, proto.UserID(i+1), "hi", nil); err != nil {
				t.Fatal(err)
			}
		}
		if result, err := client.Send(ctx, 9, "one more"); err != nil || result.Outcome != proto.OutcomeBusy {
			t.Errorf("one more: %+v, %v; want busy", result, err)
		}
		cancel()
		synctest.Wait()
		if len(client.outgoing) != 0 || len(s.outcomes) != 0 {
			t.Errorf("%d messages and %d places are left", len(client.outgoing), len(s.outcomes))
		}
		s.end()
	})
}

// lossy is a server that loses outcomes and connections, and a receiver behind
// it that knows copies by their ids.
type lossy struct {
	ids   map[proto.TextID]bool
	texts []string
}

func (l *lossy) take(frame proto.View) {
	if !l.ids[frame.TextID()] {
		l.ids[frame.TextID()] = true
		l.texts = append(l.texts, string(frame.Text))
	}
}

// TestResendProperty sends messages to one receiver, several under way, while the
// server loses some of them with their outcome, loses outcomes alone, and breaks
// connections. Each message that has an outcome was received, none twice. Where
// the connection was lost as a whole, and so nothing behind a lost message came
// through, they came in their order.
func TestResendProperty(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		ordered := rapid.Bool().Draw(rt, "only connections are lost")
		faults := rapid.SliceOfN(rapid.IntRange(0, 9), 0, 60).Draw(rt, "faults")
		messages := rapid.IntRange(1, 30).Draw(rt, "messages")
		synctest.Test(t, func(t *testing.T) {
			client, s, p := acking(t)
			receiver := &lossy{ids: map[proto.TextID]bool{}}
			fault := func() int {
				if len(faults) == 0 {
					return 9
				}
				f := faults[0]
				faults = faults[1:]
				return f
			}
			go func() {
				for {
					frame, err := p.frames.next()
					if err != nil {
						return
					}
					p.view.Parse(frame)
					good := Result{Outcome: proto.OutcomeReceived, Code: proto.CodeSuccess, ID: p.view.TextID()}
					switch f := fault(); {
					case f == 0, f == 1: // the connection, before or behind the text
						if f == 1 {
							receiver.take(p.view)
						}
						s.end()
						client.setSession(nil)
						time.Sleep(time.Second)
						s, p = ackPipe(t, client)
						client.setSession(s)
					case f < 4 && !ordered:
						if f == 2 {
							receiver.take(p.view)
						}
						s.resolve(p.view.MessageID, Result{Outcome: proto.OutcomeUnknown})
					default:
						receiver.take(p.view)
						s.resolve(p.view.MessageID, good)
					}
				}
			}()
			var texts []string
			for i := range messages {
				text := fmt.Sprint(i)
				var err error
				done := func(result Result, err error) {
					if err != nil || result.Err() != nil {
						rt.Errorf("message %s: %+v, %v", text, result, err)
					}
				}
				for err = ErrNotConnected; errors.Is(err, ErrNotConnected); time.Sleep(time.Millisecond) {
					err = client.SendAsync(t.Context(), 9, text, done)
				}
				if err != nil {
					rt.Fatal(err)
				}
				texts = append(texts, text)
			}
			<-client.outbox.close()
			s.end()
			client.resends.Wait()
			got := slices.Clone(receiver.texts)
			if !ordered {
				slices.SortFunc(got, func(a, b string) int { return strings.Compare(fmt.Sprintf("%9s", a), fmt.Sprintf("%9s", b)) })
			}
			if !slices.Equal(got, texts) {
				rt.Fatalf("received %q, want %q", got, texts)
			}
		})
	})
}
