package client

import (
	"errors"
	"fmt"
	"testing"

	"cim/proto"
)

// deliver sends ann one text of ann's.
func (p *peer) deliver(id proto.TextID, text string) {
	p.t.Helper()
	body := proto.AppendBody(nil, proto.MessageFrom(proto.CommandMessage, ann, id, []string{text}))
	p.write(proto.AppendDelivery(nil, body, ann.ID))
}

// answerSend takes a SEND of text and says that it is delivered.
func (p *peer) answerSend(text string) {
	p.t.Helper()
	sent := p.read()
	if sent.Command != proto.CommandSend || string(sent.Text) != text {
		p.t.Errorf("the server reads %+v, want a SEND of %q", sent, text)
	}
	p.write(proto.AppendOutcome(nil, sent.MessageID, 0, proto.OutcomeDelivered, proto.CodeSuccess))
}

// sending sends text to all.
func sending(t *testing.T, c *Client, text string) <-chan error {
	done := make(chan error, 1)
	go func() {
		_, err := c.SendGroup(t.Context(), text)
		done <- err
	}()
	return done
}

// wantNoState checks that no change of state was reported.
func wantNoState(t *testing.T, seen <-chan State) {
	t.Helper()
	select {
	case s := <-seen:
		t.Errorf("state %v, want none", s)
	default:
	}
}

// hold lets the route keep its answers to logins until the returned function
// is called.
func (f *fake) hold(path string) (release func()) {
	held := make(chan struct{})
	f.now(func() { f.held[path] = held })
	return func() {
		f.now(func() { delete(f.held, path) })
		close(held)
	}
}

// TestMove moves a client while messages arrive and leave. Messages that the old server sends
// before its end come before the new server's, sends go over the new connection, no lost connection
// is reported, and what arrives over both is passed once.
func TestMove(t *testing.T) {
	for name, end := range map[string]func(p *peer){
		"reported": func(p *peer) { p.write(proto.AppendClose(nil, proto.ReasonReplaced)) },
		"closed":   (*peer).close,
		"silent":   func(*peer) {},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFake(t, ticketOne)
			config := f.config()
			seen := states(&config)
			got := make(chan Message, 100)
			config.OnMessage = func(m Message) { got <- m }
			c, p := f.logIn(config)
			f.now(func() { f.ticket = ticketTwo })
			release := f.hold(proto.PathLogin)
			p.write(proto.AppendMove(proto.AppendMove(nil, proto.ReasonDraining), proto.ReasonDraining))
			if a := f.expect(proto.PathLogin); a.body["ticket"] != ticketOne {
				t.Errorf("login shows the ticket %v, want %s", a.body["ticket"], ticketOne)
			} else if a.body["move"] != 1.0 {
				t.Errorf("login %v, want one that leaves the session", a.body)
			}
			p.deliver(1, "one")
			if m := await(t, got); m.Text != "one" {
				t.Errorf("message %+v, want the one that came during the login", m)
			}
			sent := sending(t, c, "to all")
			release()
			p.deliver(2, "two")
			next := f.takeLogin(proto.LoginAnswer{User: ann.ID, Heartbeat: 30})
			p.deliver(3, "three") // the old session continues until the new one has started
			next.deliver(3, "three")
			end(p)
			next.deliver(4, "four")
			for _, text := range []string{"two", "three", "four"} {
				if m := await(t, got); m.Text != text {
					t.Errorf("message %+v, want %q", m, text)
				}
			}
			next.answerSend("to all")
			if err := await(t, sent); err != nil {
				t.Errorf("SendGroup during the move: %v", err)
			}
			wantNoState(t, seen)
			if c.Duplicates() != 1 {
				t.Errorf("Duplicates() = %d, want 1", c.Duplicates())
			}
			if len(f.asked) != 0 {
				t.Errorf("the route was asked %v beside the login", await(t, f.asked))
			}
			shut(t, c)
			if bye := f.expect(proto.PathOffLine); bye.body["ticket"] != ticketTwo {
				t.Errorf("goodbye shows the ticket %v, want the new one", bye.body["ticket"])
			}
		})
	}
}

// TestMoveLater keeps the old connection, and sends over it, while no server
// is free; then it moves.
func TestMoveLater(t *testing.T) {
	f := newFake(t, ticketOne)
	config := f.config()
	seen := states(&config)
	c, p := f.logIn(config)
	f.now(func() { f.codes[proto.PathLogin] = proto.CodeNoServer })
	release := f.hold(proto.PathLogin)
	p.write(proto.AppendMove(nil, proto.ReasonDraining))
	f.expect(proto.PathLogin)
	sent := sending(t, c, "meanwhile")
	release()
	p.answerSend("meanwhile")
	if err := await(t, sent); err != nil {
		t.Errorf("SendGroup after a login that failed: %v", err)
	}
	f.now(func() { clear(f.codes) })
	next := f.takeLogin(proto.LoginAnswer{User: ann.ID, Heartbeat: 30})
	sent = sending(t, c, "moved")
	next.answerSend("moved")
	if err := await(t, sent); err != nil {
		t.Errorf("SendGroup after the move: %v", err)
	}
	wantNoState(t, seen)
}

// TestMoveLost loses the connection before a server is free: the client
// reconnects as ever, unless it must not come back.
func TestMoveLost(t *testing.T) {
	for _, lost := range []struct {
		name   string
		code   proto.Code // of the login of the move
		reason proto.Reason
		final  bool
	}{
		{"draining", proto.CodeNoServer, proto.ReasonDraining, false},
		{"refused for good", proto.CodeRepeatLogin, proto.ReasonDraining, false},
		{"replaced by another", proto.CodeNoServer, proto.ReasonReplaced, true},
		{"replaced by its own login, whose answer was lost", 0, proto.ReasonReplaced, false},
		{"ended", 0, proto.ReasonEnded, true},
	} {
		t.Run(lost.name, func(t *testing.T) {
			f := newFake(t, ticketOne)
			config := f.config()
			seen := states(&config)
			c, p := f.logIn(config)
			f.now(func() { f.codes[proto.PathLogin] = lost.code })
			release := f.hold(proto.PathLogin)
			p.write(proto.AppendMove(nil, proto.ReasonDraining))
			f.expect(proto.PathLogin)
			sent := sending(t, c, "meanwhile")
			p.write(proto.AppendClose(nil, lost.reason))
			p.ended()
			release()
			if lost.final {
				wantState(t, seen, StateClosed)
				if err := await(t, sent); !errors.Is(err, ErrClosed) && !errors.Is(err, ErrNotConnected) {
					t.Errorf("SendGroup: %v, want that it was not sent", err)
				}
				await(t, c.Done())
				return
			}
			wantState(t, seen, StateReconnecting)
			if err := await(t, sent); !errors.Is(err, ErrNotConnected) {
				t.Errorf("SendGroup: %v, want ErrNotConnected", err)
			}
			f.now(func() { clear(f.codes) })
			f.takeLogin(proto.LoginAnswer{User: ann.ID, Heartbeat: 30})
			wantState(t, seen, StateReady)
		})
	}
}

// TestMoveNowhere is expected at a server that ends it: the client reconnects.
func TestMoveNowhere(t *testing.T) {
	f := newFake(t, ticketOne)
	config := f.config()
	seen := states(&config)
	_, p := f.logIn(config)
	p.write(proto.AppendMove(nil, proto.ReasonDraining))
	f.expect(proto.PathLogin)
	p.close()
	f.takeLogin(proto.LoginAnswer{Reason: proto.ReasonNoGrant})
	wantState(t, seen, StateReconnecting)
	f.takeLogin(proto.LoginAnswer{User: ann.ID, Heartbeat: 30})
	wantState(t, seen, StateReady)
}

// TestMoveClose closes a client that moves: what waits to be sent is refused.
func TestMoveClose(t *testing.T) {
	f := newFake(t, ticketOne)
	c, p := f.logIn(f.config())
	release := f.hold(proto.PathLogin)
	defer release()
	p.write(proto.AppendMove(nil, proto.ReasonDraining))
	f.expect(proto.PathLogin)
	sent := sending(t, c, "late")
	for aboard := 0; aboard == 0; { // it waits
		c.outbox.mu.Lock()
		aboard = c.outbox.active
		c.outbox.mu.Unlock()
	}
	shut(t, c)
	if err := await(t, sent); !errors.Is(err, ErrClosed) {
		t.Errorf("SendGroup: %v, want ErrClosed", err)
	}
}

// TestMoveCloseReads closes a client with two connections: what either server has sent is read and
// passed, and both get a goodbye.
func TestMoveCloseReads(t *testing.T) {
	const each = 100
	f := newFake(t, ticketOne)
	config := f.config()
	got, moved := make(chan Message, 2*each), make(chan Event, 1)
	config.OnMessage = func(m Message) { got <- m }
	config.Events = func(e Event) {
		if e.Kind == EventMoved {
			moved <- e
		}
	}
	c, p := f.logIn(config)
	f.now(func() { f.ticket = ticketTwo })
	p.write(proto.AppendMove(nil, proto.ReasonDraining))
	f.expect(proto.PathLogin)
	next := f.takeLogin(proto.LoginAnswer{User: ann.ID, Heartbeat: 30})
	await(t, moved)
	for i := range each {
		next.deliver(proto.TextID(each+i+1), fmt.Sprint(each+i))
		p.deliver(proto.TextID(i+1), fmt.Sprint(i))
	}
	shut(t, c)
	for i := range 2 * each {
		select {
		case m := <-got:
			if m.Text != fmt.Sprint(i) {
				t.Fatalf("message %q, want %d", m.Text, i)
			}
		default:
			t.Fatalf("%d messages, want %d", i, 2*each)
		}
	}
	for _, ticket := range []string{ticketOne, ticketTwo} {
		if bye := f.expect(proto.PathOffLine); bye.body["ticket"] != ticket {
			t.Errorf("goodbye shows the ticket %v, want %s", bye.body["ticket"], ticket)
		}
	}
}
