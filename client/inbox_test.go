package client

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"cim/proto"
)

// deliverFrom sends a text of another user.
func (p *peer) deliverFrom(sender proto.User, text string) {
	p.t.Helper()
	body := proto.AppendBody(nil, proto.MessageFrom(proto.CommandMessage, sender, 0, []string{text}))
	p.write(proto.AppendDelivery(nil, body, ann.ID))
}

// TestWorkers lets a function hang for one sender: texts of another sender are still handled, each
// sender's in order, and later texts of the first one wait.
func TestWorkers(t *testing.T) {
	f := newFake(t, ticketOne)
	config := f.config()
	config.Workers = 2
	slow, bob := proto.User{ID: 8, Name: "slow"}, proto.User{ID: 9, Name: "bob"}
	release, began, got := make(chan struct{}), make(chan string, 10), make(chan string, 10)
	config.OnMessage = func(m Message) {
		if m.Sender == slow {
			began <- m.Text
			<-release
		}
		got <- m.Text
	}
	_, p := f.logIn(config)
	p.deliverFrom(slow, "slow 1")
	p.deliverFrom(slow, "slow 2")
	for i := range 3 {
		p.deliverFrom(bob, fmt.Sprint("bob ", i))
	}
	for i := range 3 {
		if text := await(t, got); text != fmt.Sprint("bob ", i) {
			t.Fatalf("message %q, want bob's number %d", text, i)
		}
	}
	if len(began) != 1 {
		t.Errorf("%d messages of one sender at once, want 1", len(began))
	}
	close(release)
	for i := range 2 {
		if text := await(t, got); text != fmt.Sprint("slow ", i+1) {
			t.Fatalf("message %q, want slow's number %d", text, i+1)
		}
	}
}

// TestStuck lets a function hang for longer than the server's heartbeat, with more texts behind it
// than may wait: pings continue, nothing is lost, and the session does not count as dead.
func TestStuck(t *testing.T) {
	const texts = 2 * eventsMax
	f := newFake(t, ticketOne)
	config := f.config()
	config.Heartbeat = heartbeatMin
	seen := states(&config)
	release, got := make(chan struct{}), make(chan string, texts)
	config.OnMessage = func(m Message) { <-release; got <- m.Text }
	done := dial(config)
	p := f.takeLogin(proto.LoginAnswer{User: ann.ID, Heartbeat: 1})
	d := await(t, done)
	if d.err != nil {
		t.Fatal(d.err)
	}
	defer shut(t, d.client)
	for i := range texts {
		p.deliver(0, fmt.Sprint(i))
	}
	pings := p.answerPings()
	for end := time.Now().Add(1500 * time.Millisecond); time.Now().Before(end); {
		await(t, pings)
	}
	close(release)
	for i := range texts {
		if text := await(t, got); text != fmt.Sprint(i) {
			t.Fatalf("message %q, want %d", text, i)
		}
	}
	wantNoState(t, seen)
}

// answerPings answers pings until the connection ends, and reports each that acknowledgeAndWait
// sent.
func (p *peer) answerPings() <-chan struct{} {
	pings := make(chan struct{}, 1)
	go func() {
		for {
			frame, err := p.frames.next()
			if err != nil || "\x08"+string(frame) != proto.Ping {
				return // nothing more is answered
			}
			if _, err := p.conn.Write([]byte(proto.Pong)); err != nil {
				return
			}
			select {
			case pings <- struct{}{}:
			default:
			}
		}
	}()
	return pings
}

// TestInboxBound takes as many as may wait and lets one more wait for room; more
// while something is being sent.
func TestInboxBound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newInbox()
		fill := func(n int) (waits <-chan struct{}) {
			t.Helper()
			for range n {
				b.put(&item{})
			}
			put := make(chan struct{})
			go func() { b.put(&item{}); close(put) }()
			synctest.Wait()
			select {
			case <-put:
				t.Fatal("one more than the bound went in")
			default:
			}
			return put
		}
		waits := fill(eventsMax)
		b.addSends(1)
		<-waits
		waits = fill(eventsDueMax - eventsMax - 1)
		b.finish(b.take(), true)
		<-waits
		b.addSends(-1)
		b.close()
		for range eventsDueMax {
			if i := b.take(); i == nil {
				t.Fatal("one that waited is gone")
			} else {
				b.finish(i, true)
			}
		}
		if b.take() != nil {
			t.Error("more came out than went in")
		}
	})
}

// TestAnswering answers each message from its function, with so many messages behind it that the
// outcome could not be read without more room.
func TestAnswering(t *testing.T) {
	const texts = 3 * eventsMax
	f := newFake(t, ticketOne)
	config := f.config()
	type answer struct {
		result Result
		err    error
	}
	clients, answered := make(chan *Client, 1), make(chan answer, texts)
	config.OnMessage = func(m Message) {
		c := <-clients
		result, err := c.Send(t.Context(), m.Sender.ID, m.Text)
		clients <- c
		answered <- answer{result, err}
	}
	c, p := f.logIn(config)
	for range texts {
		p.deliver(0, "and you?")
	}
	clients <- c
	for range texts {
		p.write(proto.AppendOutcome(nil, p.read().MessageID, 0, proto.OutcomeDelivered, proto.CodeSuccess))
		if a := await(t, answered); a.err != nil {
			t.Fatal(a.err)
		}
	}
}

// TestInboxEnd has many workers and few senders: at the end all workers end,
// those too that only waited.
func TestInboxEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newInbox()
		var workers sync.WaitGroup
		for range 8 {
			workers.Go(func() {
				for i := b.take(); i != nil; i = b.take() {
					time.Sleep(time.Second)
					b.finish(i, true)
				}
			})
		}
		for i := range 10 {
			b.put(&item{message: Message{Sender: proto.User{ID: proto.UserID(i % 2)}}})
		}
		b.close()
		began := time.Now()
		workers.Wait()
		if took := time.Since(began); took != 5*time.Second {
			t.Errorf("took %v, want 5 s: two senders at once, each in order", took)
		}
	})
}

// TestCloseStuck closes while a function hangs, with two messages behind it.
func TestCloseStuck(t *testing.T) {
	f := newFake(t, ticketOne)
	config := f.config()
	hangs, release := make(chan struct{}), make(chan struct{})
	config.OnMessage = func(Message) { close(hangs); <-release }
	done := dial(config)
	p := f.takeLogin(proto.LoginAnswer{User: ann.ID, Heartbeat: 30})
	d := await(t, done)
	if d.err != nil {
		t.Fatal(d.err)
	}
	for i := range 3 {
		p.deliver(0, fmt.Sprint(i))
	}
	await(t, hangs)
	for waiting := 0; waiting < 2; { // the reader is past them
		d.client.inbox.mu.Lock()
		waiting = len(d.client.inbox.waiting)
		d.client.inbox.mu.Unlock()
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	err := d.client.Close(ctx)
	if !errors.Is(err, context.DeadlineExceeded) || d.client.inbox.losses() != 2 {
		t.Errorf("Close: %v with %d lost, want that 2 were not taken", err, d.client.inbox.losses())
	}
	close(release)
	await(t, d.client.Done())
	shut(t, d.client) // now it ends as ever
	f.expect(proto.PathRegister)
	f.expect(proto.PathLogin)
	f.expect(proto.PathOffLine)
}

// TestCloseUntaken closes while the channel of messages is not read.
func TestCloseUntaken(t *testing.T) {
	f := newFake(t, ticketOne)
	config := f.config()
	config.Messages = make(chan Message)
	done := dial(config)
	p := f.takeLogin(proto.LoginAnswer{User: ann.ID, Heartbeat: 30})
	d := await(t, done)
	if d.err != nil {
		t.Fatal(d.err)
	}
	p.deliver(0, "not taken")
	p.write(proto.AppendMove(nil, proto.ReasonDraining)) // read behind it
	f.expect(proto.PathRegister)
	f.expect(proto.PathLogin)
	f.expect(proto.PathLogin)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := d.client.Close(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Close: %v, want that a message was not taken", err)
	}
	await(t, d.client.Done())
	if lost := d.client.inbox.losses(); lost != 1 {
		t.Errorf("%d messages lost, want 1", lost)
	}
}

// TestSlowListener lets more messages arrive than may wait; none is lost, and
// the outcome behind them comes once they are taken.
func TestSlowListener(t *testing.T) {
	const texts = 2*eventsMax + 10
	f := newFake(t, ticketOne)
	config := f.config()
	release, got := make(chan struct{}), make(chan string, texts)
	config.OnMessage = func(m Message) { <-release; got <- m.Text }
	_, p := f.logIn(config)
	for i := range texts {
		m := proto.MessageFrom(proto.CommandMessage, ann, 0, []string{fmt.Sprint(i)})
		p.write(proto.AppendDelivery(nil, proto.AppendBody(nil, m), ann.ID))
	}
	close(release)
	for i := range texts {
		if text := await(t, got); text != fmt.Sprint(i) {
			t.Fatalf("message %q, want %d", text, i)
		}
	}
}
