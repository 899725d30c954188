package server

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"strconv"
	"strings"
	"testing"
	"time"

	"cim/internal/metrics"
	"cim/proto"
	"cim/server/shard"
)

// eventually waits until condition holds.
func (w *world) eventually(what string, condition func() bool) {
	w.Helper()
	poll := time.NewTicker(time.Millisecond)
	defer poll.Stop()
	for deadline := time.Now().Add(patience); !condition(); <-poll.C {
		if time.Now().After(deadline) {
			w.Fatalf("not within %v: %s", patience, what)
		}
	}
}

// atOnce lets fill post letters that the loop finds in one visit.
func (l *loop) atOnce(fill func()) {
	m := &l.mailbox
	m.ringing.Lock()
	hung := m.bell
	m.bell = bell{}
	m.ringing.Unlock()
	fill()
	m.setBell(hung)
	m.mu.Lock()
	m.rung = false
	m.mu.Unlock()
	m.wake()
}

// postSends posts n SENDs of size bytes from ann to bob as another loop would. Each
// text begins with its number.
func (w *world) postSends(n, size int) {
	w.Helper()
	from, _, _ := w.server.directory.find(ann.ID)
	to, _, _ := w.server.directory.find(bob.ID)
	l := w.server.loops[0]
	l.atOnce(func() {
		for i := range n {
			text := append(strconv.AppendInt(nil, int64(i), 10), ' ')
			text = append(text, bytes.Repeat([]byte{'x'}, size-len(text))...)
			m := letter{kind: letterSend, ref: to, send: send{from: from, id: uint64(i), sender: ann, to: bob.ID}}
			w.server.pairs.cross(m.send.pair(), l.number)
			if !l.mailbox.post(m, text) {
				w.Fatalf("no room for letter %d", i)
			}
		}
	})
}

func oneLoop(c *Config) { c.Loops = 1 }

func number(text []byte) int {
	digits, _, _ := bytes.Cut(text, []byte{' '})
	n, err := strconv.Atoi(string(digits))
	if err != nil {
		return -1
	}
	return n
}

// TestGoneBeforeItsEnd: clients break the protocol and close at once, so that the
// shard has ended them before their close is seen. The directory must be empty
// then; an entry left behind would refuse all later logins.
func TestGoneBeforeItsEnd(t *testing.T) {
	w := start(t, oneLoop)
	for i := range 50 {
		p := w.login(proto.User{ID: proto.UserID(i + 1), Name: "u" + strconv.Itoa(i)}, 1, proto.DialectV2)
		p.write(bytes.Repeat([]byte{0xff}, 6))
		p.conn.Close()
	}
	w.eventually("the directory is empty", func() bool {
		return w.server.directory.len() == 0 && w.server.conns.Load() == 0
	})
}

// TestBurstIsNotSlow: more comes in one visit than a session may have unsent. Its
// socket takes it, so it is not slow.
func TestBurstIsNotSlow(t *testing.T) {
	w := start(t, oneLoop)
	w.login(ann, 1, proto.DialectCIM)
	b := w.login(bob, 1, proto.DialectV2)
	const sends = 8
	w.postSends(sends, 30<<10)
	for i := range sends {
		if m := b.read(); number(m.Text) != i {
			t.Fatalf("received number %d, want %d", number(m.Text), i)
		}
	}
}

// TestOrderAtSlow: a receiver that does not read becomes slow in the middle of a
// burst. What its socket did not take goes to the route, in order.
func TestOrderAtSlow(t *testing.T) {
	w := start(t, oneLoop)
	w.login(ann, 1, proto.DialectCIM)
	w.login(bob, 1, proto.DialectV2)
	const sends = 250
	w.postSends(sends, 30<<10)
	first := w.route.kind(proto.RecordSend)
	for want := number(first.Body) + 1; want < sends; want++ {
		if r := w.route.kind(proto.RecordSend); number(r.Body) != want {
			t.Fatalf("the route got number %d, want %d", number(r.Body), want)
		}
	}
	if number(first.Body) == 0 {
		t.Error("the session took nothing")
	}
}

// TestMailboxBounds fills a mailbox with messages and posts one more; then with
// other letters; a letterEnd still has room.
func TestMailboxBounds(t *testing.T) {
	m := &mailbox{}
	for range mailboxLettersMax {
		if !m.post(letter{kind: letterPush}, nil) {
			t.Fatal("no room below the bound")
		}
	}
	if m.post(letter{kind: letterPush}, nil) || m.post(letter{kind: letterSend}, nil) {
		t.Error("one message more was taken")
	}
	for range mailboxLettersMax {
		if !m.post(letter{kind: letterHold}, nil) {
			t.Fatal("no room for a hold below its bound")
		}
	}
	if m.post(letter{kind: letterHold}, nil) || m.post(letter{kind: letterBroadcast}, nil) {
		t.Error("one hold more was taken")
	}
	if !m.post(letter{kind: letterEnd}, nil) || !m.post(letter{kind: letterDrain}, nil) {
		t.Error("no room for an end")
	}
	m = &mailbox{}
	if !m.post(letter{kind: letterPush}, make([]byte, mailboxBytesMax)) || m.post(letter{kind: letterPush}, make([]byte, 1)) {
		t.Error("the bound in bytes does not hold")
	}
}

// TestRevokeWithFullMailbox: a session whose user is removed from the directory
// ends, whatever else waits for its loop.
func TestRevokeWithFullMailbox(t *testing.T) {
	w := start(t, oneLoop)
	p := w.login(ann, 1, proto.DialectCIM)
	l := w.server.loops[0]
	var revoked uint64
	l.atOnce(func() {
		for l.mailbox.post(letter{kind: letterOutcome, ref: shard.Ref{Reuse: 1 << 30}}, nil) {
			continue
		}
		revoked = w.route.request(proto.Record{
			Kind: proto.RecordRevoke, User: ann.ID, Generation: 1, Value: uint64(proto.RevokeTicket), Body: ticket[:],
		})
		w.eventually("the end waits in the mailbox", func() bool {
			l.mailbox.mu.Lock()
			defer l.mailbox.mu.Unlock()
			return len(l.mailbox.letters) > 2*mailboxLettersMax
		})
	})
	if v := w.route.verdict(revoked).Verdict; v != proto.VerdictTaken {
		t.Errorf("revoke: %v", v)
	}
	if m := p.read(); m.Command != proto.CommandClose {
		t.Errorf("the session received %+v", m)
	}
	p.end()
}

// TestPortIsClaimedOnce: a second process on the port is refused, with the port's
// name.
func TestPortIsClaimedOnce(t *testing.T) {
	w := start(t, nil)
	c := DefaultConfig()
	c.CIMPort, c.HTTPPort, c.LinkPort = w.server.Member().CIMPort, 0, 0
	second, err := Start(c, Deps{Log: slog.New(slog.DiscardHandler), Metrics: metrics.NewSet()})
	if err == nil {
		t.Fatalf("port %d was claimed twice", second.Member().CIMPort)
	}
	if want := "cim-port " + strconv.Itoa(c.CIMPort); !strings.Contains(err.Error(), want) {
		t.Errorf("%v, want it to name %s", err, want)
	}
}

// TestDrainUnderBroadcasts drains while group messages keep coming, each as soon as
// one is answered.
func TestDrainUnderBroadcasts(t *testing.T) {
	w := start(t, oneLoop)
	const users, window = 400, 16
	for i := range users {
		p := w.login(proto.User{ID: proto.UserID(i + 1), Name: "u" + strconv.Itoa(i)}, 1, proto.DialectV2)
		go func() {
			_, _ = io.Copy(io.Discard, p.conn)
			p.conn.Close()
		}()
	}
	message := body(bob, "hello")
	for range window {
		w.route.request(proto.Record{Kind: proto.RecordBroadcast, Body: message})
	}
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		for id := uint64(1 << 40); ; id++ {
			select {
			case <-w.route.records:
			case <-w.route.ended:
				return
			}
			if w.route.conn.Send(&proto.Record{Kind: proto.RecordBroadcast, ID: id, Body: message}) != nil {
				return
			}
		}
	}()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := w.server.Drain(ctx); err != nil {
		t.Error(err)
	}
	<-stopped
}

// TestDescriptors goes to the limit that holds a server, and one below.
func TestDescriptors(t *testing.T) {
	c := DefaultConfig()
	c.Loops, c.HTTPConnsMax, c.DescriptorsKept = 2, 100, 50
	fixed := 50 + 100 + 64 + 2*loopDescriptors + portDescriptors + 2 + 256 + 2*64
	least := func(sessions int) int { // that is enough
		for n := fixed; ; n++ {
			if n-fixed-min(2*enrollingMax+evictingMax, n/spareShare) >= sessions {
				return n
			}
		}
	}
	if n, err := c.sessionsWithin(least(1)); n != 1 || err != nil {
		t.Errorf("room for one session: %d, %v", n, err)
	}
	if _, err := c.sessionsWithin(least(1) - 1); err == nil {
		t.Error("a limit without room for a session was accepted")
	}
	c.SessionsMax = 10_000
	if n, err := c.sessionsWithin(least(10_000)); n != 10_000 || err != nil {
		t.Errorf("room for all: %d, %v", n, err)
	}
	if _, err := c.sessionsWithin(least(10_000) - 1); err == nil {
		t.Error("a limit with room for one session less was accepted")
	}
}
