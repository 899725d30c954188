package client

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"cim/internal/received"
	"cim/proto"
)

// keptText is one text that a server keeps.
type keptText struct {
	sender proto.UserID
	id     proto.TextID
	text   string
}

// keep sends ann texts of one sender in one counted frame.
func (p *peer) keep(command proto.Command, texts ...keptText) {
	p.t.Helper()
	var all []string
	var ids []proto.TextID
	for _, k := range texts {
		all, ids = append(all, k.text), append(ids, k.id)
	}
	m := proto.MessageFrom(command, proto.User{ID: texts[0].sender, Name: "sender"}, 0, all)
	m.IDs = ids
	p.write(proto.AppendCountedDelivery(nil, proto.AppendBody(nil, m), ann.ID))
}

// wantAck reads the next frame that is no ping, which acknowledges n texts.
func (p *peer) wantAck(n uint64) {
	p.t.Helper()
	frame := p.read()
	for frame.Command == proto.CommandPing {
		frame = p.read()
	}
	if frame.Command != proto.CommandAck || frame.MessageID != n {
		p.t.Fatalf("the client sends %+v, want an ACK of %d", frame, n)
	}
}

// newAckFake is a route and a server of ours that allow acknowledgements.
func newAckFake(t *testing.T) *fake {
	f := newFake(t, ticketOne)
	f.ack = proto.AckVersion
	return f
}

// TestAckCapability: the client asks the route for acknowledgements, and the server only if the
// route allows them; it acknowledges only if both do. A frame that is not counted, or that is
// counted although the client did not ask, is not acknowledged.
func TestAckCapability(t *testing.T) {
	for _, c := range []struct{ route, server bool }{{true, true}, {true, false}, {false, true}} {
		t.Run(fmt.Sprint(c), func(t *testing.T) {
			f := newFake(t, ticketOne)
			f.noAck = !c.server
			if c.route {
				f.ack = proto.AckVersion
			}
			config := f.config()
			got := make(chan Message, 10)
			config.OnMessage = func(m Message) { got <- m }
			done := dial(config)
			p := f.takeLogin(proto.LoginAnswer{User: ann.ID, Heartbeat: 30})
			if asked := p.view.Ack == proto.AckVersion; asked != c.route {
				t.Errorf("the server was asked: %t, want %t", asked, c.route)
			}
			d := await(t, done)
			if d.err != nil {
				t.Fatal(d.err)
			}
			f.expect(proto.PathRegister)
			if login := f.expect(proto.PathLogin); login.body["ack"] != 1.0 {
				t.Errorf("login %v, want one that asks for acknowledgements", login.body)
			}
			both := c.route && c.server
			if d.client.Server().Ack != both {
				t.Errorf("Server().Ack is %t, want %t", !both, both)
			}
			p.deliver(1, "not counted")
			p.keep(proto.CommandMessage, keptText{9, 2, "counted"})
			if m := await(t, got); m.Kept {
				t.Errorf("%+v is kept, and does not count", m)
			}
			if m := await(t, got); m.Kept != both {
				t.Errorf("%+v: kept %t, want %t", m, m.Kept, both)
			}
			if both {
				p.wantAck(1)
			}
			closed := make(chan struct{})
			go func() { defer close(closed); shut(t, d.client) }()
			defer func() { <-closed }()
			for {
				frame, err := p.frames.next()
				if err != nil {
					return
				}
				switch p.view.Parse(frame); p.view.Command {
				case proto.CommandPing:
					p.write([]byte(proto.Pong))
				case proto.CommandAck:
					t.Errorf("the client sends an ACK of %d behind that", p.view.MessageID)
				}
			}
		})
	}
}

// many texts are done: a due ACK has been written before the last one is passed.
const many = 2 * received.AckTexts

func manyTexts(sender proto.UserID) []keptText {
	texts := make([]keptText, many)
	for i := range texts {
		texts[i] = keptText{sender, proto.TextID(100 + i), fmt.Sprint(i)}
	}
	return texts
}

// eventually waits until holds does.
func eventually(t *testing.T, mu sync.Locker, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(waitMax); ; runtime.Gosched() {
		mu.Lock()
		ok := holds()
		mu.Unlock()
		switch {
		case ok:
			return
		case time.Now().After(deadline):
			t.Fatalf("it does not hold within %v", waitMax)
		}
	}
}

// sendSoon sends text to all, once there is a connection.
func sendSoon(t *testing.T, c *Client, text string) error {
	_, err := c.SendGroup(t.Context(), text)
	for errors.Is(err, ErrNotConnected) {
		_, err = c.SendGroup(t.Context(), text)
	}
	return err
}

// TestAckBehindReturn acknowledges a text when its function has returned and not
// before, also where a function of another sender that came later has.
func TestAckBehindReturn(t *testing.T) {
	f := newAckFake(t)
	config := f.config()
	config.Workers = 2
	release, got := make(chan struct{}), make(chan string, 1+many)
	config.OnMessage = func(m Message) {
		got <- m.Text
		if m.Sender.ID == 8 {
			<-release
		}
	}
	c, p := f.logIn(config)
	p.keep(proto.CommandMessage, keptText{8, 1, "slow"})
	p.keep(proto.CommandMessage, keptText{8, 1, "slow"}) // a copy, while the first one is under way
	p.keep(proto.CommandOffline, manyTexts(9)...)
	for range 1 + many {
		await(t, got)
	}
	sent := sending(t, c, "the next frame is no ACK")
	p.answerSend("the next frame is no ACK")
	if err := await(t, sent); err != nil {
		t.Fatal(err)
	}
	close(release)
	p.wantAck(2 + many)
	p.keep(proto.CommandMessage, keptText{8, 1, "slow"}) // a copy, behind it
	p.wantAck(3 + many)
	if len(got) != 0 || c.Duplicates() != 2 {
		t.Errorf("%d more brought, %d duplicates; want none and 2", len(got), c.Duplicates())
	}
}

// TestAckChannel acknowledges a text when the channel has taken it.
func TestAckChannel(t *testing.T) {
	f := newAckFake(t)
	config := f.config()
	got := make(chan Message)
	config.Messages = got
	c, p := f.logIn(config)
	p.keep(proto.CommandMessage, keptText{9, 1, "one"}, keptText{9, 2, "two"})
	sent := sending(t, c, "no ACK yet")
	p.answerSend("no ACK yet")
	if err := await(t, sent); err != nil {
		t.Fatal(err)
	}
	await(t, got)
	p.wantAck(1)
	await(t, got)
	p.wantAck(2)
}

// TestAckOverSessions: a text that was not acknowledged when the connection broke arrives again
// over the next one. It is passed once, and acknowledged there when its function has returned.
func TestAckOverSessions(t *testing.T) {
	f := newAckFake(t)
	config := f.config()
	release, got := make(chan struct{}), make(chan string, 10)
	config.Workers = 2
	config.OnMessage = func(m Message) {
		got <- m.Text
		if m.Sender.ID == 9 {
			<-release
		}
	}
	c, p := f.logIn(config)
	p.keep(proto.CommandMessage, keptText{9, 1, "one"})
	await(t, got)
	p.close()
	next := f.takeLogin(proto.LoginAnswer{User: ann.ID, Heartbeat: 30})
	next.keep(proto.CommandOffline, keptText{9, 1, "one"})
	next.keep(proto.CommandOffline, manyTexts(8)...)
	for range many {
		await(t, got)
	}
	sent := make(chan error, 1)
	go func() { sent <- sendSoon(t, c, "no ACK yet") }()
	next.answerSend("no ACK yet")
	if err := await(t, sent); err != nil {
		t.Fatal(err)
	}
	close(release)
	next.wantAck(1 + many)
	if len(got) != 0 {
		t.Errorf("%q is brought a second time", <-got)
	}
}

// TestAckLastAtClose acknowledges what the functions have done with before the
// goodbye, and leaves what comes meanwhile to the server.
func TestAckLastAtClose(t *testing.T) {
	f := newAckFake(t)
	config := f.config()
	release, got := make(chan struct{}), make(chan string, 10)
	config.OnMessage = func(m Message) { got <- m.Text; <-release }
	c, p := f.logIn(config)
	p.keep(proto.CommandMessage, keptText{9, 1, "one"})
	p.keep(proto.CommandMessage, keptText{9, 2, "two"})
	await(t, got)
	eventually(t, &c.inbox.mu, func() bool { return len(c.inbox.waiting) == 1 }) // the reader is past both
	closed := make(chan error, 1)
	go func() { closed <- c.Close(t.Context()) }()
	eventually(t, &c.inbox.mu, func() bool { return c.inbox.leaving })
	p.keep(proto.CommandMessage, keptText{9, 3, "left to the server"})
	close(release)
	p.wantAck(2)
	if last := p.read(); last.Command != proto.CommandPing || last.MessageID != 2 {
		t.Errorf("behind it comes %+v, want a PING with 2", last)
	}
	if len(f.asked) != 0 {
		t.Error("the goodbye is faster than the last ACK") // the server would end the session before it reads that
	}
	p.write([]byte(proto.Pong))
	f.expect(proto.PathOffLine)
	if err := await(t, closed); err != nil {
		t.Errorf("Close: %v", err)
	}
	p.ended()
	if p.view.Command == proto.CommandAck && p.view.MessageID > 2 {
		t.Errorf("an ACK of %d", p.view.MessageID)
	}
	if text := await(t, got); text != "two" || len(got) != 0 {
		t.Errorf("%q was brought, and %d more; want two alone", text, len(got))
	}
}

// TestAckCloseStuck closes while a function hangs: its message is not acknowledged, and no error
// says that it is lost.
func TestAckCloseStuck(t *testing.T) {
	f := newAckFake(t)
	config := f.config()
	hangs, release := make(chan struct{}, 1), make(chan struct{})
	config.OnMessage = func(Message) { hangs <- struct{}{}; <-release }
	c, p := f.logIn(config)
	p.keep(proto.CommandMessage, keptText{9, 1, "one"}, keptText{9, 2, "two"})
	await(t, hangs)
	ctx, cancel := contextFor(t, 50*time.Millisecond)
	defer cancel()
	_ = c.Close(ctx) // the function still runs, which it says
	if lost := c.inbox.losses(); lost != 0 {
		t.Errorf("%d lost, and the server keeps them", lost)
	}
	close(release)
	p.ended()
	if p.view.Command == proto.CommandAck {
		t.Errorf("an ACK of %d", p.view.MessageID)
	}
}

// TestAccept refuses the third of many: two are acknowledged, the others are left to the server,
// over this session and the next; texts that the server does not keep are passed.
func TestAccept(t *testing.T) {
	f := newAckFake(t)
	config := f.config()
	config.Workers = 2 // texts that are not kept are of another sender
	release, got := make(chan struct{}), make(chan Message, 10)
	texts := append([]keptText{{9, 1, "1"}, {9, 2, "2"}, {9, 3, "3"}}, manyTexts(9)...)
	config.Accept = func(m Message) bool {
		got <- m
		if m.Text != "3" {
			return true
		}
		<-release
		return false
	}
	c, p := f.logIn(config)
	p.keep(proto.CommandOffline, texts...)
	want := func(texts ...string) {
		t.Helper()
		for _, text := range texts {
			if m := await(t, got); m.Text != text {
				t.Fatalf("%+v, want %q", m, text)
			}
		}
	}
	want("1", "2", "3")
	p.deliver(77, "not kept")
	want("not kept") // so all have come
	close(release)
	p.wantAck(2)
	p.close()
	next := f.takeLogin(proto.LoginAnswer{User: ann.ID, Heartbeat: 30})
	next.keep(proto.CommandOffline, texts[2:]...)
	next.deliver(78, "not kept either")
	want("not kept either")
	sent := make(chan error, 1)
	go func() { sent <- sendSoon(t, c, "no ACK") }()
	next.answerSend("no ACK")
	if err := await(t, sent); err != nil {
		t.Fatal(err)
	}
}

// TestSeen drops texts that the application has seen in an earlier process, and acknowledges them.
// A text of another sender with the same id is passed.
func TestSeen(t *testing.T) {
	f := newAckFake(t)
	config := f.config()
	got := make(chan Message, 10)
	config.OnMessage = func(m Message) { got <- m }
	config.Seen = func(sender proto.UserID, id proto.TextID) bool { return sender == 9 && id == 1 }
	c, p := f.logIn(config)
	p.keep(proto.CommandMessage, keptText{9, 1, "seen"})
	p.keep(proto.CommandMessage, keptText{8, 1, "of another"})
	p.keep(proto.CommandMessage, keptText{9, 0, "without an id"})
	for _, text := range []string{"of another", "without an id"} {
		if m := await(t, got); m.Text != text {
			t.Fatalf("%+v, want %q", m, text)
		}
	}
	p.wantAck(3)
	if c.Duplicates() != 1 {
		t.Errorf("%d duplicates, want 1", c.Duplicates())
	}
}

// TestAckMove sends a last ACK over the old connection before it counts on the new one, which
// starts at 1 again.
func TestAckMove(t *testing.T) {
	f := newAckFake(t)
	config := f.config()
	got := make(chan string, 10)
	config.OnMessage = func(m Message) { got <- m.Text }
	c, p := f.logIn(config)
	release := f.hold(proto.PathLogin)
	p.write(proto.AppendMove(nil, proto.ReasonDraining))
	f.expect(proto.PathLogin)
	p.keep(proto.CommandMessage, keptText{9, 1, "one"}, keptText{9, 2, "two"})
	await(t, got)
	await(t, got)
	acks := c.session.acks
	eventually(t, &acks.mu, func() bool { return acks.texts.Done() == 2 })
	acks.mu.Lock()
	acks.timer.Stop() // so only the move acknowledges
	acks.mu.Unlock()
	f.now(func() { f.ticket = ticketTwo })
	release()
	next := f.takeLogin(proto.LoginAnswer{User: ann.ID, Heartbeat: 30})
	next.keep(proto.CommandMessage, keptText{9, 3, "three"})
	p.wantAck(2)
	p.close()
	await(t, got)
	next.wantAck(1)
}

// TestAckSlowFunction has a function that takes a second for a text: the session
// lasts, and all is acknowledged in the end.
func TestAckSlowFunction(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const texts = 3 * eventsMax
		s, p := pipe(t, proto.DialectCIM)
		s.enableAcks()
		c := &Client{inbox: newInbox(), config: Config{OnMessage: func(Message) { time.Sleep(time.Second) }}, done: make(chan struct{})}
		c.config.Log = discard
		c.workers.Store(1)
		go c.work()
		s.onText = c.onText
		ended := make(chan error, 1)
		go func() { ended <- s.serve(t.Context(), nil) }()
		acked, writes := make(chan uint64, 1), make(chan func())
		go func() { // a pipe has one writer
			for write := range writes {
				write()
			}
		}()
		go func() {
			for {
				switch frame := p.read(); frame.Command {
				case proto.CommandPing:
					go func() { writes <- func() { p.write([]byte(proto.Pong)) } }()
				case proto.CommandAck:
					if frame.MessageID == texts {
						acked <- frame.MessageID
						return
					}
				}
			}
		}()
		for i := range texts {
			text := keptText{proto.UserID(rand.IntN(3) + 1), proto.TextID(i + 1), "x"}
			writes <- func() { p.keep(proto.CommandMessage, text) }
		}
		select {
		case <-acked:
		case err := <-ended:
			t.Fatalf("the session ended: %v", err)
		}
		go p.skip()
		s.end()
		<-ended
		close(writes)
		c.inbox.close()
		<-c.done
	})
}
