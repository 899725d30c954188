package server

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"cim/proto"
	"cim/server/shard"
)

// kept is a text of ann's as a session keeps it.
func kept(text string, id proto.TextID) proto.Returned {
	m := proto.MessageFrom(proto.CommandMessage, ann, id, []string{text})
	return proto.Returned{Body: proto.AppendBody(nil, m)}
}

// ended is the return of an ended session of bob's.
func ended(generation proto.Generation, texts ...string) shard.Return {
	r := shard.Return{User: bob.ID, Generation: generation, End: true}
	for i, text := range texts {
		m, last := kept(text, proto.TextID(i+1)), len(r.Parts)-1
		if last < 0 || len(r.Parts[last].Body)+proto.ReturnedSize(len(m.Body)) > proto.FrameMax {
			r.Parts = append(r.Parts, shard.ReturnPart{})
			last++
		}
		r.Parts[last].Body = proto.AppendReturned(r.Parts[last].Body, m)
	}
	return r
}

// returned is the next RecordReturn, and its texts.
func (r *routeEnd) returned() (proto.Record, []string) {
	r.t.Helper()
	rec := r.kind(proto.RecordReturn)
	messages, err := proto.ParseReturned(rec.Body)
	if err != nil {
		r.t.Fatal(err)
	}
	var texts []string
	var v proto.View
	for _, m := range messages {
		if reason := v.Parse(m.Body); reason != proto.ReasonNone {
			r.t.Fatal(reason)
		}
		n := 0
		v.EachText(func(text []byte) {
			if n++; n > m.Skip {
				texts = append(texts, string(text))
			}
		})
	}
	return rec, texts
}

// answer answers a record of the server.
func (r *routeEnd) answer(of proto.Record, verdict proto.Verdict) {
	r.t.Helper()
	if err := r.conn.Send(&proto.Record{Kind: proto.RecordReturned, ID: of.ID, Verdict: verdict}); err != nil {
		r.t.Fatal(err)
	}
}

// wantReturned waits for a RecordReturn of these texts, and answers it.
func (r *routeEnd) wantReturned(verdict proto.Verdict, want ...string) {
	r.t.Helper()
	rec, texts := r.returned()
	if rec.User != bob.ID || !slices.Equal(texts, want) {
		r.t.Fatalf("returned to %d: %q, want %q", rec.User, texts, want)
	}
	r.answer(rec, verdict)
}

// has reports whether a record of this kind has come.
func (r *routeEnd) has(kind proto.RecordKind) bool {
	for {
		select {
		case rec := <-r.records:
			r.aside = append(r.aside, rec)
			continue
		default:
		}
		return slices.ContainsFunc(r.aside, func(rec proto.Record) bool { return rec.Kind == kind })
	}
}

// behindAll returns when all that the server has sent before has arrived.
func (r *routeEnd) behindAll() {
	r.t.Helper()
	r.ask(proto.Record{Kind: proto.RecordReturning, User: 1 << 40})
}

// TestReturningUser: until the kept texts of a user's session are in the box,
// nothing is stored in front of them, a revoke is not answered, and there is no
// RecordDown.
func TestReturningUser(t *testing.T) {
	w := start(t, nil)
	w.login(bob, 7, proto.DialectCIM)
	w.server.returnTexts(ended(6, "a", "b"))
	push := proto.Record{Kind: proto.RecordPush, User: bob.ID, Generation: 7, Body: body(ann, "x")}
	for _, c := range []struct {
		record proto.Record
		want   proto.Verdict
	}{
		{push, proto.VerdictReturning},
		{proto.Record{Kind: proto.RecordPush, User: bob.ID, Generation: 6, Body: push.Body}, proto.VerdictReturning},
		{proto.Record{Kind: proto.RecordHold, User: bob.ID, Generation: 7}, proto.VerdictReturning},
		{proto.Record{Kind: proto.RecordResume, User: bob.ID, Generation: 7, Value: 2}, proto.VerdictReturning},
		{proto.Record{Kind: proto.RecordPush, User: bob.ID, Generation: 7, Flags: proto.FlagOffline, Body: push.Body}, proto.VerdictTaken},
		{proto.Record{Kind: proto.RecordPush, User: ann.ID, Generation: 7, Body: push.Body}, proto.VerdictAbsent},
		{proto.Record{Kind: proto.RecordReturning, User: bob.ID, Generation: 6}, proto.VerdictTaken},
		{proto.Record{Kind: proto.RecordReturning, User: bob.ID, Generation: 5}, proto.VerdictAbsent},
		{proto.Record{Kind: proto.RecordReturning, User: ann.ID, Generation: 6}, proto.VerdictAbsent},
	} {
		if got := w.route.ask(c.record); got != c.want {
			t.Errorf("kind %d of %d, generation %d: %v, want %v", c.record.Kind, c.record.User, c.record.Generation, got, c.want)
		}
	}
	revoke := w.route.request(proto.Record{Kind: proto.RecordRevoke, User: bob.ID, Generation: 7, Value: uint64(proto.RevokeReplace)})
	w.eventually("the session has gone", func() bool { _, _, found := w.server.directory.find(bob.ID); return !found })
	w.eventually("its connection has closed", func() bool { return w.server.conns.Load() == 0 })
	w.route.behindAll()
	if w.route.has(proto.RecordDown) || slices.ContainsFunc(w.route.aside, func(r proto.Record) bool { return r.Kind == proto.RecordAnswer && r.ID == revoke }) {
		t.Error("the revoke was answered, or the session was said to be down, before what it kept was in the box")
	}
	w.route.wantReturned(proto.VerdictTaken, "a", "b")
	if v := w.route.verdict(revoke).Verdict; v != proto.VerdictTaken {
		t.Errorf("revoke: %v", v)
	}
	if v := w.route.ask(push); v != proto.VerdictAbsent {
		t.Errorf("then a push: %v", v)
	}
	if n := w.server.metrics.returned.Get(); n != 2 {
		t.Errorf("%d texts are counted as returned, want 2", n)
	}
}

// TestDownWaits: the RecordDown of a session comes after the return of its kept
// texts.
func TestDownWaits(t *testing.T) {
	w := start(t, nil)
	p := w.login(bob, 7, proto.DialectCIM)
	w.server.returnTexts(ended(7, "a"))
	p.conn.Close()
	w.eventually("its connection has closed", func() bool { return w.server.conns.Load() == 0 })
	w.route.behindAll()
	if w.route.has(proto.RecordDown) {
		t.Error("the session was said to be down before what it kept was in the box")
	}
	w.route.wantReturned(proto.VerdictTaken, "a")
	if down := w.route.kind(proto.RecordDown); down.User != bob.ID || down.Generation != 7 {
		t.Errorf("down %+v", down)
	}
}

// TestReturnsInOrder: the texts of one user are returned in order, a record at a
// time, even from several sessions; another user does not wait for them.
func TestReturnsInOrder(t *testing.T) {
	w := start(t, nil)
	long := strings.Repeat("x", proto.TextMax-1)
	w.server.returnTexts(ended(6, "1"+long, "2"+long, "3"))
	w.server.returnTexts(ended(7, "4"))
	other := ended(1, "other")
	other.User = 99
	w.server.returnTexts(other)
	first, texts := w.route.returned()
	if len(texts) != 1 || texts[0][0] != '1' || first.Generation != 6 {
		t.Fatalf("first %d texts of generation %d", len(texts), first.Generation)
	}
	second, texts := w.route.returned()
	if second.User != 99 || texts[0] != "other" {
		t.Fatalf("then %q of %d", texts, second.User)
	}
	w.route.answer(second, proto.VerdictTaken)
	w.route.answer(first, proto.VerdictTaken)
	second, texts = w.route.returned()
	if len(texts) != 2 || texts[0][0] != '2' || texts[1] != "3" {
		t.Fatalf("then %d texts", len(texts))
	}
	w.route.answer(second, proto.VerdictTaken)
	w.route.wantReturned(proto.VerdictTaken, "4")
	w.eventually("nothing is left", func() bool { return w.server.returns.active.Load() == 0 })
	if n := w.server.returns.bytes.Load() + w.server.returns.texts.Load(); n != 0 {
		t.Errorf("the gauges show %d", n)
	}
}

// TestReturnsAgain: while the store is away one record is tried each second; after
// a success all continue. Records of an ended link go to another route.
func TestReturnsAgain(t *testing.T) {
	w := start(t, nil)
	w.server.returnTexts(ended(6, "a"))
	for range 3 {
		w.route.wantReturned(proto.VerdictBusy, "a")
		w.leap(time.Second)
	}
	lost, _ := w.route.returned()
	for i := range proto.UserID(3) {
		more := ended(1, "more")
		more.User = 100 + i
		w.server.returnTexts(more)
	}
	w.route.behindAll()
	if w.route.has(proto.RecordReturn) {
		t.Error("more than one record is tried while the store is away")
	}
	second := newRouteEnd(t, w.server)
	w.route.conn.Close()
	seen := 0
	for range 4 {
		rec, _ := second.returned()
		if seen++; rec.User == bob.ID && rec.ID == lost.ID {
			t.Error("the same id twice")
		}
		second.answer(rec, proto.VerdictTaken)
	}
	w.eventually("nothing is left", func() bool { return w.server.returns.active.Load() == 0 })
}

// TestReturnWithoutAnswer: an unanswered record goes to the next link after 10 s.
func TestReturnWithoutAnswer(t *testing.T) {
	w := start(t, nil)
	second := newRouteEnd(t, w.server)
	r := ended(6, "a")
	r.User = 100 // an even id: goes to the first link
	w.server.returnTexts(r)
	w.route.returned()
	w.leap(time.Duration(returnTicks) * shard.TickMillis * time.Millisecond)
	rec, texts := second.returned()
	if rec.User != 100 || !slices.Equal(texts, []string{"a"}) {
		t.Errorf("the next link had %q", texts)
	}
	second.answer(rec, proto.VerdictTaken)
	w.eventually("nothing is left", func() bool { return w.server.returns.active.Load() == 0 })
}

// TestAckedWithoutLink: acknowledgements without a link go to the next link that
// comes up, also for a session that has ended meanwhile.
func TestAckedWithoutLink(t *testing.T) {
	w := start(t, nil)
	p := w.loginAck(bob, 1)
	w.pushText(bob.ID, "a", 1, 51)
	p.wantText("a", true)
	w.leapSecond()
	w.route.wantReturned(proto.VerdictTaken, "a")
	w.route.wantReceipt(51, proto.OutcomeStored)
	w.route.conn.Close()
	w.eventually("there is no link", func() bool { return len(w.server.links.all()) == 0 })
	p.write(proto.AppendAckPing(nil, 1))
	if m := p.read(); m.Command != proto.CommandPing {
		t.Fatalf("read %+v, want the answer to a ping", m)
	}
	p.conn.Close()
	w.eventually("the session has ended", func() bool { _, _, found := w.server.directory.find(bob.ID); return !found })
	newRouteEnd(t, w.server).wantAcked(bob.ID, 1)
	if n := w.server.metrics.ackedLost.Get(); n != 0 {
		t.Errorf("%d acknowledgements are counted as untold", n)
	}
}

// TestReturnRefused: texts for which the box has no room are lost, counted and
// logged; their senders get OutcomeUnknown.
func TestReturnRefused(t *testing.T) {
	log := new(lines)
	w := startLogging(t, nil, log)
	r := ended(6, "a", "b")
	r.Parts[0].Receipts = []shard.ReceiptTo{{Link: w.server.links.all()[0], ID: 77}}
	w.server.returnTexts(r)
	w.route.wantReturned(proto.VerdictRefused, "a", "b")
	if rec := w.route.kind(proto.RecordReceipt); rec.ID != 77 || proto.Outcome(rec.Value) != proto.OutcomeUnknown {
		t.Errorf("receipt %+v", rec)
	}
	if n := w.server.metrics.notReturned.Get(); n != 2 || !strings.Contains(log.String(), "texts=2") {
		t.Errorf("%d texts are counted as lost, want 2; log: %s", n, log)
	}
}

// TestReturnsBound: the returns of ended sessions stay below half of kept-budget.
func TestReturnsBound(t *testing.T) {
	w := start(t, func(c *Config) { c.KeptBudget = KeptBudgetMin })
	text := strings.Repeat("x", proto.TextMax)
	n := KeptBudgetMin/2/proto.TextMax + 1
	for i := range n {
		r := ended(1, text)
		r.User = proto.UserID(100 + i)
		w.server.returnTexts(r)
	}
	if lost := int(w.server.metrics.notReturned.Get()); lost < 1 || lost > n/10 {
		t.Errorf("%d of %d are lost", lost, n)
	}
	if bytes := w.server.returns.bytes.Load(); bytes > KeptBudgetMin/2 {
		t.Errorf("%d bytes wait", bytes)
	}
	if under := len(w.server.returns.underWay); under > returnsUnderWay {
		t.Errorf("%d are under way", under)
	}
	for range n - int(w.server.metrics.notReturned.Get()) {
		rec, _ := w.route.returned()
		w.route.answer(rec, proto.VerdictTaken)
	}
}

// TestReturnWithoutBoxes: a server that only routes of the original use has no
// boxes. It does not keep texts for ever.
func TestReturnWithoutBoxes(t *testing.T) {
	w := start(t, nil)
	w.route.conn.Close()
	w.eventually("no link is left", func() bool { return len(w.server.links.all()) == 0 })
	w.server.returnTexts(ended(0, "a"))
	if n := w.server.metrics.notReturned.Get(); n != 1 || w.server.returns.active.Load() != 0 {
		t.Errorf("%d texts are counted as lost, want 1", n)
	}
}

// TestFlushOvertakenByEnd: a session ends while its flush is under way. What the
// flush has put into the box is not returned again.
func TestFlushOvertakenByEnd(t *testing.T) {
	for _, c := range []struct {
		verdict proto.Verdict
		want    []string
	}{
		{proto.VerdictTaken, []string{"b", "c"}},
		{proto.VerdictBusy, []string{"a", "b", "c"}},
	} {
		w := start(t, nil)
		flush, end := ended(6, "a"), ended(6, "a", "b", "c")
		flush.End, end.Parts[0].Receipts = false, []shard.ReceiptTo{{Link: w.server.links.all()[0], ID: 77}}
		w.server.returnTexts(flush)
		rec, _ := w.route.returned()
		w.server.returnTexts(end)
		w.route.answer(rec, c.verdict)
		w.leap(time.Duration(returnPause) * shard.TickMillis * time.Millisecond)
		w.route.wantReturned(proto.VerdictTaken, c.want...)
		if rec := w.route.kind(proto.RecordReceipt); rec.ID != 77 || proto.Outcome(rec.Value) != proto.OutcomeStored {
			t.Errorf("receipt %+v", rec)
		}
		w.eventually("nothing is left", func() bool { return w.server.returns.active.Load() == 0 })
	}
}

// TestDrainReturns: a drain waits for the returns; texts that no route could store
// are counted and logged.
func TestDrainReturns(t *testing.T) {
	log := new(lines)
	w := startLogging(t, nil, log)
	w.server.returnTexts(ended(6, "a"))
	w.route.wantReturned(proto.VerdictBusy, "a")
	done := make(chan error)
	go func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		done <- w.server.Drain(ctx)
	}()
	w.eventually("it goes down", w.server.draining.Load)
	w.leap(time.Second)
	w.route.wantReturned(proto.VerdictTaken, "a")
	if err := <-done; err != nil {
		t.Error(err)
	}
	if strings.Contains(log.String(), "kept") {
		t.Errorf("log: %s", log)
	}

	log = new(lines)
	w = startLogging(t, nil, log)
	w.server.returnTexts(ended(6, "a", "b"))
	w.route.returned()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_ = w.server.Drain(ctx)
	if n := w.server.metrics.notReturned.Get(); n != 2 || !strings.Contains(log.String(), "texts=2 users=1") {
		t.Errorf("%d texts are counted as lost, want 2; log: %s", n, log)
	}
}

// TestDrainCountsKept: texts that a session still keeps when the process must exit
// are counted too, whether its connection had time to end or not.
func TestDrainCountsKept(t *testing.T) {
	for _, acks := range []bool{true, false} {
		log := new(lines)
		w := startLogging(t, slowReaders, log)
		want := 1
		if acks {
			w.loginAck(bob, 1)
		} else {
			w.loginSlowReader(bob)
			want = 5
		}
		for i := range want {
			w.pushText(bob.ID, strings.Repeat("x", proto.TextMax), proto.TextID(i+1), 0)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		_ = w.server.Drain(ctx)
		if n := int(w.server.metrics.notReturned.Get()); n == 0 || n > want || !strings.Contains(log.String(), "users=1") {
			t.Errorf("%d texts are counted as lost, want %d; log: %s", n, want, log)
		}
	}
}

// BenchmarkExpect is what each login and each revoke costs.
func BenchmarkExpect(b *testing.B) {
	var r returns
	r.start(&Server{})
	for b.Loop() {
		r.expect(7)
		r.arrived(7)
	}
}
