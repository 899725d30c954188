package server

import (
	"context"
	"net"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/panjf2000/gnet/v2"

	"cim/proto"
	"cim/server/shard"
)

// loginAck grants and logs in user with a client that acknowledges texts, and ends
// the hold.
func (w *world) loginAck(user proto.User, generation proto.Generation) *peer {
	w.Helper()
	if v := w.route.grant(user, generation, true); v != proto.VerdictTaken {
		w.Fatalf("grant: %v", v)
	}
	p := w.dial()
	p.write(proto.AppendAckLogin(nil, user, ticket))
	if a := p.read(); a.Reason != proto.ReasonNone || a.Ack != proto.AckVersion {
		w.Fatalf("login answer %+v, want one that grants acknowledgements", a)
	}
	w.route.resume(user.ID, generation)
	return p
}

// pushText pushes a text of ann's to user, for a receipt unless number is 0.
func (w *world) pushText(user proto.UserID, text string, id proto.TextID, number uint64) proto.Verdict {
	w.Helper()
	return w.route.ask(proto.Record{Kind: proto.RecordPush, User: user, Generation: 1, Value: number, Body: kept(text, id).Body})
}

func (p *peer) wantText(text string, counted bool) proto.View {
	p.t.Helper()
	m := p.read()
	if m.Command != proto.CommandMessage || string(m.Text) != text || m.Counted() != counted {
		p.t.Fatalf("received %q, counted %t, of %v, want %q, %t", m.Text, m.Counted(), m.Command, text, counted)
	}
	return m
}

func (r *routeEnd) wantReceipt(number uint64, outcome proto.Outcome) {
	r.t.Helper()
	if rec := r.kind(proto.RecordReceipt); rec.ID != number || proto.Outcome(rec.Value) != outcome {
		r.t.Fatalf("receipt %d: %v, want %d: %v", rec.ID, proto.Outcome(rec.Value), number, outcome)
	}
}

// wantAcked waits for the RecordAcked of these texts of ann's.
func (r *routeEnd) wantAcked(user proto.UserID, ids ...proto.TextID) {
	r.t.Helper()
	var got []proto.TextID
	for len(got) < len(ids) {
		rec := r.kind(proto.RecordAcked)
		keys, err := proto.ParseTextKeys(rec.Body)
		if err != nil || rec.User != user {
			r.t.Fatalf("acknowledged of %d: %v", rec.User, err)
		}
		for _, k := range keys {
			got = append(got, k.ID)
		}
	}
	if !slices.Equal(got, ids) {
		r.t.Fatalf("acknowledged %v, want %v", got, ids)
	}
}

// leapSecond moves the server's clock on by a second and a tick.
func (w *world) leapSecond() { w.leap(time.Second + shard.TickMillis*time.Millisecond) }

// TestUnacknowledgedIsReturned: when the connection breaks, the unacknowledged
// texts, and no others, go back to the box.
func TestUnacknowledgedIsReturned(t *testing.T) {
	w := start(t, nil)
	p := w.loginAck(bob, 1)
	for i, text := range []string{"a", "b", "c"} {
		if v := w.pushText(bob.ID, text, proto.TextID(i+1), 0); v != proto.VerdictTaken {
			t.Fatal(v)
		}
		p.wantText(text, true)
	}
	p.write(proto.AppendAck(nil, 1))
	p.write([]byte(proto.Ping)) // the answer proves that it has been read
	if m := p.read(); m.Command != proto.CommandPing {
		t.Fatalf("read %v", m.Command)
	}
	p.conn.Close()
	w.route.wantReturned(proto.VerdictTaken, "b", "c")
	w.route.kind(proto.RecordDown)
	if v := w.pushText(bob.ID, "d", 4, 0); v != proto.VerdictAbsent {
		t.Errorf("then: %v", v)
	}
	w.wantNoneAwaited()
}

// TestReceiptsOfPushes: a route gets a receipt: the text was received; or it is in
// the box since it was not acknowledged for a second; or it was delivered to a
// client that cannot acknowledge.
func TestReceiptsOfPushes(t *testing.T) {
	w := start(t, nil)
	p := w.loginAck(bob, 1)
	old := w.login(proto.User{ID: 3000, Name: "old"}, 1, proto.DialectV2)

	w.pushText(bob.ID, "a", 1, 51)
	p.wantText("a", true)
	w.route.behindAll()
	if w.route.has(proto.RecordReceipt) {
		t.Error("a receipt before the acknowledgement")
	}
	p.write(proto.AppendAck(nil, 1))
	w.route.wantReceipt(51, proto.OutcomeReceived)

	w.pushText(bob.ID, "b", 2, 0)
	w.pushText(bob.ID, "c", 3, 53)
	w.leapSecond()
	rec, texts := w.route.returned()
	if !slices.Equal(texts, []string{"b", "c"}) {
		t.Errorf("returned %q", texts)
	}
	if v := w.pushText(bob.ID, "behind", 5, 0); v != proto.VerdictTaken {
		t.Errorf("a push while a session that is not held puts texts into the box: %v", v)
	}
	w.route.answer(rec, proto.VerdictTaken)
	w.route.wantReceipt(53, proto.OutcomeStored)
	p.wantText("b", true)
	p.wantText("c", true)
	p.wantText("behind", true)
	p.write(proto.AppendAckPing(nil, 4))
	w.route.wantAcked(bob.ID, 2, 3)

	w.pushText(3000, "d", 4, 54)
	w.route.wantReceipt(54, proto.OutcomeDelivered)
	old.wantText("d", false)
}

// TestFlushIsNoHold: a text that is not acknowledged in time is put into the box,
// even while the store is away. Its session is not held meanwhile.
func TestFlushIsNoHold(t *testing.T) {
	w := start(t, nil)
	a := w.loginAck(ann, 1)
	p := w.loginAck(bob, 1)
	w.pushText(bob.ID, "a", 1, 51)
	p.wantText("a", true)
	w.leapSecond()
	w.route.wantReturned(proto.VerdictBusy, "a")
	if v := w.pushText(bob.ID, "b", 2, 0); v != proto.VerdictTaken {
		t.Errorf("a push meanwhile: %v", v)
	}
	p.wantText("b", true)
	a.write(sendOf(1, bob.ID, 3, proto.WantTaken))
	a.wantOutcome(1, proto.OutcomeDelivered, proto.CodeSuccess)
	w.leapSecond()
	w.route.wantReturned(proto.VerdictTaken, "a")
	w.route.wantReceipt(51, proto.OutcomeStored)
}

// TestHoldReturns: a hold has the session's kept texts put into the box, and is
// answered VerdictReturning until they are there. Only then can a message be
// stored.
func TestHoldReturns(t *testing.T) {
	w := start(t, nil)
	w.loginAck(bob, 1)
	w.pushText(bob.ID, "a", 1, 0)
	hold := proto.Record{Kind: proto.RecordHold, User: bob.ID, Generation: 1}
	if r := w.route.verdict(w.route.request(hold)); r.Verdict != proto.VerdictReturning || r.Value != 2 || r.Flags&proto.FlagAck == 0 {
		t.Errorf("hold: %+v", r)
	}
	rec, texts := w.route.returned()
	if !slices.Equal(texts, []string{"a"}) {
		t.Fatalf("returned %q", texts)
	}
	for _, r := range []proto.Record{hold, {Kind: proto.RecordResume, User: bob.ID, Generation: 1, Value: 3}} {
		if v := w.route.ask(r); v != proto.VerdictReturning {
			t.Errorf("kind %d meanwhile: %v", r.Kind, v)
		}
	}
	if v := w.pushText(bob.ID, "b", 2, 0); v != proto.VerdictReturning {
		t.Errorf("a push meanwhile: %v", v)
	}
	w.route.answer(rec, proto.VerdictTaken)
	w.eventually("a push is to be stored", func() bool { return w.pushText(bob.ID, "b", 2, 0) == proto.VerdictBehind })
	if v := w.route.ask(hold); v != proto.VerdictTaken {
		t.Errorf("hold: %v", v)
	}
	page := proto.Record{Kind: proto.RecordPush, User: bob.ID, Generation: 1, Flags: proto.FlagOffline, Value: 77, Body: kept("b", 2).Body}
	if v := w.route.ask(page); v != proto.VerdictTaken {
		t.Errorf("page: %v", v)
	}
	if r := w.route.verdict(w.route.request(proto.Record{Kind: proto.RecordResume, User: bob.ID, Generation: 1, Value: 4})); r.Verdict != proto.VerdictTaken || r.Text != 77 {
		t.Errorf("resume: %+v, want the cursor 77", r)
	}
}

// TestOlderServer: until the first catch-up has ended, the route gets the epoch of
// the server that may still return texts of an older session.
func TestOlderServer(t *testing.T) {
	w := start(t, nil)
	for _, flags := range []uint8{0, proto.FlagMove} {
		rec := proto.Record{Kind: proto.RecordGrant, Flags: flags, User: bob.ID, Generation: 1, Name: []byte(bob.Name), Value: 99, Body: grantBody}
		if flags != 0 {
			rec.User, rec.Name = ann.ID, []byte(ann.Name)
		}
		if v := w.route.ask(rec); v != proto.VerdictTaken {
			t.Fatal(v)
		}
		p := w.dial()
		p.write(proto.AppendAckLogin(nil, proto.User{ID: rec.User, Name: string(rec.Name)}, ticket))
		p.read()
		wantOlder := func(r proto.Record, want proto.Epoch) {
			t.Helper()
			if epoch, err := proto.ParseEpoch(r.Body); err != nil || epoch != want || r.Flags&proto.FlagAck == 0 {
				t.Errorf("kind %d: epoch %d, %v, flags %b, want %d", r.Kind, epoch, err, r.Flags, want)
			}
		}
		wantOlder(w.route.kind(proto.RecordUp), 99)
		wantOlder(w.route.verdict(w.route.request(proto.Record{Kind: proto.RecordHold, User: rec.User, Generation: 1})), 99)
		w.route.ask(proto.Record{Kind: proto.RecordResume, User: rec.User, Generation: 1, Value: 2})
		wantOlder(w.route.verdict(w.route.request(proto.Record{Kind: proto.RecordHold, User: rec.User, Generation: 1})), 0)
	}
}

// TestEveryEndReturns: whatever ends a session, its kept texts are returned, and
// the answer to a revoke waits for them.
func TestEveryEndReturns(t *testing.T) {
	revoke := func(mode proto.RevokeMode) func(*world) {
		return func(w *world) {
			id := w.route.request(proto.Record{Kind: proto.RecordRevoke, User: bob.ID, Generation: 1, Value: uint64(mode), Body: ticket[:]})
			w.route.behindAll()
			if slices.ContainsFunc(w.route.aside, func(r proto.Record) bool { return r.Kind == proto.RecordAnswer && r.ID == id }) {
				w.Errorf("mode %d: answered before what it kept was in the box", mode)
			}
			w.route.wantReturned(proto.VerdictTaken, "a")
			if v := w.route.verdict(id).Verdict; v != proto.VerdictTaken {
				w.Errorf("mode %d: %v", mode, v)
			}
		}
	}
	returned := func(w *world) { w.route.wantReturned(proto.VerdictTaken, "a") }
	for name, end := range map[string]func(*world){
		"replaced":   revoke(proto.RevokeReplace),
		"goodbye":    revoke(proto.RevokeGoodbye),
		"superseded": revoke(proto.RevokeSuperseded),
		"move":       revoke(proto.RevokeMove),
		"grant": func(w *world) {
			w.route.grant(bob, 2, true)
			returned(w)
		},
		"kick": func(w *world) {
			if ended, err := w.server.Kick(w.Context(), bob.ID, ""); !ended || err != nil {
				w.Errorf("kick: %t, %v", ended, err)
			}
			returned(w)
		},
		"memory": func(w *world) {
			ref, _, _ := w.server.directory.find(bob.ID)
			w.server.loops[ref.Shard].Shed(1, 0)
			w.server.requestEnd(ref, proto.ReasonMemory) // it holds no memory, so Shed would not end it
			returned(w)
		},
		"idle": func(w *world) {
			w.leap(w.server.config.Heartbeat + time.Second)
			returned(w)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := start(t, func(c *Config) {
				if name == "idle" {
					c.Heartbeat = 2 * time.Second
				}
			})
			p := w.loginAck(bob, 1)
			w.pushText(bob.ID, "a", 1, 0)
			p.wantText("a", true)
			end(w)
			w.eventually("nothing is left", func() bool { return w.server.returns.active.Load() == 0 })
			w.wantNoneAwaited()
		})
	}
}

// wantNoneAwaited checks that no loop waits for a return that will not come.
func (w *world) wantNoneAwaited() {
	w.Helper()
	for _, l := range w.server.loops {
		awaited := make(chan int, 1)
		if err := l.events.Execute(w.Context(), gnet.RunnableFunc(func(context.Context) error {
			awaited <- len(l.returning)
			return nil
		})); err != nil {
			w.Fatal(err)
		}
		if n := <-awaited; n != 0 {
			w.Errorf("a loop awaits what %d sessions return", n)
		}
	}
}

// TestLeaseReturns: after the lease is lost, the sessions return their kept texts
// once a route can be reached.
func TestLeaseReturns(t *testing.T) {
	w := start(t, withLease)
	w.server.Confirm()
	p := w.loginAck(bob, 1)
	w.pushText(bob.ID, "a", 1, 0)
	p.wantText("a", true)
	w.leap(w.server.config.Lease + time.Second)
	p.end()
	w.route.wantReturned(proto.VerdictTaken, "a")
}

// reset resets the connection and leaves what has arrived unread.
func (p *peer) reset() {
	p.t.Helper()
	if err := p.conn.(*net.TCPConn).SetLinger(0); err != nil {
		p.t.Fatal(err)
	}
	p.conn.Close()
}

// TestOldClientReturns: when a client that cannot acknowledge goes, whatever way,
// the texts that its kernel has not acknowledged are returned.
func TestOldClientReturns(t *testing.T) {
	revoke := uint64(0)
	answered := func(w *world) bool {
		return slices.ContainsFunc(w.route.aside, func(r proto.Record) bool { return r.Kind == proto.RecordAnswer && r.ID == revoke })
	}
	for name, end := range map[string]func(*world, *peer){
		"reset": func(_ *world, p *peer) { p.reset() },
		"kick":  func(w *world, _ *peer) { _, _ = w.server.Kick(w.Context(), bob.ID, "") },
		"revoke": func(w *world, _ *peer) {
			revoke = w.route.request(proto.Record{Kind: proto.RecordRevoke, User: bob.ID, Generation: 1, Value: uint64(proto.RevokeGoodbye)})
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := start(t, slowReaders)
			p := w.loginSlowReader(bob)
			var sent []string
			for i := range 180 {
				text := strconv.Itoa(i) + " " + strings.Repeat("x", 1000)
				if v := w.pushText(bob.ID, text, proto.TextID(i+1), 0); v != proto.VerdictTaken {
					t.Fatal(v)
				}
				sent = append(sent, strconv.Itoa(i))
			}
			least := w.unsent(bob.ID)/1000 + 10 // plus what is in the server's kernel
			end(w, p)
			if name != "reset" { // else its connection has not closed yet
				w.eventually("it has ended", func() bool { _, _, found := w.server.directory.find(bob.ID); return !found })
				if v := w.pushText(bob.ID, "late", 999, 0); v != proto.VerdictReturning || w.route.has(proto.RecordDown) || answered(w) {
					t.Errorf("a push meanwhile: %v, and the revoke, or a word that it is down, may have come", v)
				}
			}
			var texts []string
			for len(texts) == 0 || texts[len(texts)-1] != sent[len(sent)-1] {
				w.leap(2 * shard.TickMillis * time.Millisecond)
				rec, more := w.route.returned()
				for _, text := range more {
					first, _, _ := strings.Cut(text, " ")
					if !slices.Contains(texts, first) { // a flush was under way at the end
						texts = append(texts, first)
					}
				}
				w.route.answer(rec, proto.VerdictTaken)
			}
			if n := len(texts); n < least || !slices.Equal(texts, sent[len(sent)-n:]) {
				t.Errorf("returned %v, want at least the last %d of %d", texts, least, len(sent))
			}
		})
	}
}

// TestFailedWriteReturns: a text whose write fails, since the peer is gone, is
// returned: the peer's kernel has not acknowledged it.
func TestFailedWriteReturns(t *testing.T) {
	w := start(t, slowReaders)
	p := w.login(bob, 1, proto.DialectV2)
	ref, _, _ := w.server.directory.find(bob.ID)
	l := w.server.loops[0]
	err := l.events.Execute(w.Context(), gnet.RunnableFunc(func(context.Context) error {
		p.reset()
		l.push(&letter{kind: letterPush, ref: ref, user: bob.ID, requester: make(verdicts, 1)}, kept("a", 1).Body)
		l.write()
		return nil
	}))
	if err != nil {
		t.Fatal(err)
	}
	w.route.wantReturned(proto.VerdictTaken, "a")
}

// TestOldClientHasRead: what the kernel of an old client has acknowledged is not
// returned.
func TestOldClientHasRead(t *testing.T) {
	w := start(t, slowReaders)
	p := w.login(bob, 1, proto.DialectV2)
	for i := range 10 {
		w.pushText(bob.ID, "a", proto.TextID(i+1), 0)
		p.wantText("a", false)
	}
	p.conn.Close()
	w.route.kind(proto.RecordDown)
	if w.route.has(proto.RecordReturn) {
		t.Error("something was returned")
	}
}

// TestStuckPeer: a client whose network takes no bytes gets no more messages until
// it does.
func TestStuckPeer(t *testing.T) {
	w := start(t, slowReaders)
	p := w.loginSlowReader(bob)
	big := strings.Repeat("x", proto.TextMax)
	for i := range 4 { // more than the kernels take
		w.pushText(bob.ID, big, proto.TextID(i+1), 0)
	}
	w.eventually("a push is to be stored", func() bool {
		w.leap(w.server.config.StuckAfter / 4)
		switch v := w.pushText(bob.ID, "b", 9, 0); v {
		case proto.VerdictReturning:
			rec, _ := w.route.returned()
			w.route.answer(rec, proto.VerdictTaken)
		case proto.VerdictBehind:
			return true
		}
		return false
	})
	if r := w.route.ask(proto.Record{Kind: proto.RecordResume, User: bob.ID, Generation: 1, Value: 2}); r != proto.VerdictBusy {
		t.Errorf("resume while it is stuck: %v", r)
	}
	for range 4 {
		if m := p.read(); len(m.Text) != len(big) && string(m.Text) != "b" {
			t.Errorf("received %q", m.Text)
		}
	}
	up := w.route.next("up", func(r *proto.Record) bool { return r.Kind == proto.RecordUp && r.User == bob.ID })
	w.eventually("it goes on", func() bool {
		w.leap(shard.TickMillis * time.Millisecond)
		return w.route.ask(proto.Record{Kind: proto.RecordResume, User: bob.ID, Generation: 1, Value: up.Value}) == proto.VerdictTaken
	})
}

// TestPagesFollow: a page for a client that cannot acknowledge is answered as soon
// as its kernel has it, not with the next tick: 50 pages take less than half of the
// ticks.
func TestPagesFollow(t *testing.T) {
	w := start(t, nil)
	p := w.login(bob, 1, proto.DialectV2)
	const pages = 50
	went := make(chan struct{})
	go func() {
		defer close(went)
		for range pages {
			if _, err := p.tryRead(); err != nil {
				t.Error(err)
				return
			}
		}
	}()
	began := w.server.now()
	for i := range pages {
		page := proto.Record{Kind: proto.RecordPush, User: bob.ID, Generation: 1, Flags: proto.FlagOffline, Value: uint64(i + 1), Body: kept("a", proto.TextID(i+1)).Body}
		if v := w.route.ask(page); v != proto.VerdictTaken {
			t.Fatal(v)
		}
	}
	if took := w.server.now() - began; took > pages/2 {
		t.Errorf("%d pages took %d ticks", pages, took)
	}
	<-went
}

// TestPageUnread: a page that the kernel of an old client has taken is removed from
// the box when the client has shown life, not when it resets the connection.
func TestPageUnread(t *testing.T) {
	for _, resets := range []bool{true, false} {
		w := start(t, nil)
		p := w.login(bob, 1, proto.DialectV2)
		m := proto.MessageFrom(proto.CommandOffline, ann, 7, []string{"stored", "twice"})
		page := proto.Record{Kind: proto.RecordPush, User: bob.ID, Generation: 1, Flags: proto.FlagOffline, Value: 77, Body: proto.AppendBody(nil, m)}
		if v := w.route.ask(page); v != proto.VerdictTaken {
			t.Fatal(v)
		}
		for range 3 {
			w.leapSecond() // a tick finds that its kernel has the page
			w.route.behindAll()
		}
		if resets {
			p.reset()
		} else {
			p.read() // else the kernel would reset the connection
			p.conn.Close()
		}
		w.route.kind(proto.RecordDown)
		if w.route.behindAll(); w.route.has(proto.RecordAcked) == resets {
			t.Errorf("reset %t: the page is removed: %t", resets, resets)
		}
	}
}
