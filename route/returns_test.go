package route

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"cim/proto"
	"cim/store"
)

// returnOf is a RecordReturn of a session: messages of a sender, with ids from id
// on.
func returnOf(id uint64, user proto.UserID, generation proto.Generation, messages ...proto.Returned) proto.Record {
	record := proto.Record{Kind: proto.RecordReturn, ID: id, User: user, Generation: generation}
	for _, m := range messages {
		record.Body = proto.AppendReturned(record.Body, m)
	}
	return record
}

// kept is a message that a session has kept.
func kept(sender proto.User, id proto.TextID, skip int, texts ...string) proto.Returned {
	m := message{sender: sender, id: id, at: 1000, texts: texts}
	return proto.Returned{Body: m.appendBody(nil), Skip: skip}
}

// verdictOn waits for the answer to a return.
func (w *world) verdictOn(id uint64) proto.Verdict {
	w.t.Helper()
	var verdict proto.Verdict
	w.eventually(fmt.Sprintf("the answer to return %d", id), func() bool {
		for _, r := range w.servers[1].records(proto.RecordReturned) {
			if r.ID == id {
				verdict = r.Verdict
				return true
			}
		}
		return false
	})
	return verdict
}

func (h *hookedStore) Return(ctx context.Context, user proto.UserID, texts []store.Returned) error {
	if err := h.hook("Return"); err != nil {
		return err
	}
	if err := h.returns.Load(); err != nil {
		return *err
	}
	if block := h.block.Load(); block != nil {
		h.blocked.Add(1)
		<-*block
	}
	return h.Memory.Return(ctx, user, texts)
}

// TestReturn: a session's kept texts are in the box, in order, under their own ids and times,
// without acknowledged ones; and once, however often they are returned.
func TestReturn(t *testing.T) {
	w := newWorld(t, 1)
	ann, ben, off := w.account("ann"), w.account("ben"), w.account("off")
	w.put(ann, off.ID, "before")
	record := returnOf(1, off.ID, 3, kept(ann, 10, 1, "acknowledged", "one", "two"), kept(ben, 10, 0, "three"))
	for id := range uint64(2) {
		record.ID = id + 1
		w.servers[1].sendRecord(record)
		if got := w.verdictOn(id + 1); got != proto.VerdictTaken {
			t.Fatalf("return %d: %v", id+1, got)
		}
	}
	page, err := w.store.Memory.Page(t.Context(), off.ID, 0)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, m := range page {
		got = append(got, fmt.Sprintf("%s %d %d %s", m.Sender.Name, m.ID, m.Sent, m.Text))
	}
	want := []string{"ann 0 0 before", "ann 11 1000 one", "ann 12 1000 two", "ben 10 1000 three"}
	if !slices.Equal(got, want) || page[3].Sender != ben {
		t.Errorf("the box has %q, want %q", got, want)
	}
	if got := w.counter(`cim_route_returns_total{verdict="taken"}`); got != "2" {
		t.Errorf("%s returns, want 2", got)
	}
}

// TestReturnFails: a store that is away is busy, a reserve that is full refuses,
// and nothing of such a return is kept.
func TestReturnFails(t *testing.T) {
	hooked := &hookedStore{}
	w := newWorldWith(t, 1, testConfig(), hooked)
	ann, off := w.account("ann"), w.account("off")
	for id, c := range map[uint64]struct {
		err  error
		want proto.Verdict
	}{
		1: {store.ErrAway, proto.VerdictBusy}, 2: {errors.New("broken"), proto.VerdictBusy}, 3: {store.ErrBoxFull, proto.VerdictRefused},
	} {
		hooked.returns.Store(&c.err)
		w.servers[1].sendRecord(returnOf(id, off.ID, 3, kept(ann, 10, 0, "x")))
		if got := w.verdictOn(id); got != c.want {
			t.Errorf("%v: %v, want %v", c.err, got, c.want)
		}
	}
	if got := w.boxed(off.ID); len(got) != 0 {
		t.Errorf("the box has %q", got)
	}
}

// TestReturnsKeepTheirOrder: the returns of one user are done one after the other, while those of
// another user continue.
func TestReturnsKeepTheirOrder(t *testing.T) {
	hooked := &hookedStore{}
	w := newWorldWith(t, 1, testConfig(), hooked)
	ann, ben, cid := w.account("ann"), w.account("ben"), w.account("cid")
	for i := 0; queueOf(cid.ID) == queueOf(ben.ID); i++ {
		cid = w.account(fmt.Sprintf("cid%d", i))
	}
	block := make(chan struct{})
	hooked.block.Store(&block)
	const each = 20
	var want []string
	for i := range uint64(each) {
		w.servers[1].sendRecord(returnOf(i+1, ben.ID, 3, kept(ann, proto.TextID(i+1), 0, strconv.FormatUint(i, 10))))
		want = append(want, strconv.FormatUint(i, 10))
	}
	w.eventually("the first is under way", func() bool { return hooked.blocked.Load() == 1 })
	hooked.block.Store(nil)
	w.servers[1].sendRecord(returnOf(999, cid.ID, 3, kept(ann, 1, 0, "another user's")))
	if got := w.verdictOn(999); got != proto.VerdictTaken {
		t.Errorf("another user's: %v", got)
	}
	close(block)
	w.verdictOn(each)
	if got := w.boxed(ben.ID); !slices.Equal(got, want) {
		t.Errorf("the box has %q", got)
	}
}

// TestReturnsQueueFull: a worker has room for a bounded number, and one more is busy at once; so is
// one above the bytes of all.
func TestReturnsQueueFull(t *testing.T) {
	block := make(chan struct{})
	began := make(chan struct{}, 8)
	q := newUserQueues(2, 100, func(int) { began <- struct{}{}; <-block })
	taken := func(size int) bool { return q.add(benID, 1, size) }
	if !taken(10) {
		t.Error("the first was refused")
	}
	<-began // so that it waits no more
	first, second := taken(10), taken(10)
	if !first || !second || taken(10) {
		t.Error("the bound of a queue is not where it should be")
	}
	other := proto.UserID(benID + 1)
	if q.add(other, 1, 71) || !q.add(other, 1, 70) {
		t.Error("the bound of the bytes is not where it should be")
	}
	close(block)
	q.drain()
	if q.add(benID, 1, 1) || q.bytes.Load() != 0 {
		t.Errorf("after the drain: %d bytes", q.bytes.Load())
	}
}

// TestReturnBehindANewerSession: a newer session is held before the return is answered, and gets
// the returned texts.
func TestReturnBehindANewerSession(t *testing.T) {
	w := newWorld(t, 1)
	f := w.servers[1]
	ann, ben := w.account("ann"), w.acking("ben")
	before := len(f.records(proto.RecordHold))
	f.sendRecord(returnOf(1, ben.ID, w.record(ben.ID).Generation-1, kept(ann, 10, 0, "kept")))
	w.verdictOn(1)
	kinds := f.kinds(ben.ID)
	if i := slices.Index(kinds, proto.RecordReturned); len(f.records(proto.RecordHold)) == before || !slices.Contains(kinds[:i], proto.RecordHold) {
		t.Errorf("the session was not held before the answer: %v", kinds)
	}
	w.eventually("brought", func() bool { return slices.Equal(f.texts(ben.ID), []string{"kept"}) })
	w.eventually("live again", func() bool { s, _ := f.session(ben.ID); return !s.held })
}

// kinds are the records about user that have come, in order.
func (f *fakeServer) kinds(user proto.UserID) []proto.RecordKind {
	f.mu.Lock()
	defer f.mu.Unlock()
	var kinds []proto.RecordKind
	for _, r := range f.asked {
		if r.User == user {
			kinds = append(kinds, r.Kind)
		}
	}
	return kinds
}

// TestReturnOfALivingSession: texts that a continuing session puts into the box are not sent to it
// again.
func TestReturnOfALivingSession(t *testing.T) {
	w := newWorld(t, 1)
	f := w.servers[1]
	ann, ben := w.account("ann"), w.acking("ben")
	f.sendRecord(returnOf(1, ben.ID, w.record(ben.ID).Generation, kept(ann, 10, 0, "kept")))
	if got := w.verdictOn(1); got != proto.VerdictTaken {
		t.Fatal(got)
	}
	w.want(proto.CodeSuccess, proto.PathPrivate, privateRequest(ann.ID, ben.ID, "live")) // it is not held
	if got := f.texts(ben.ID); !slices.Equal(got, []string{"live"}) || !slices.Equal(w.boxed(ben.ID), []string{"kept"}) {
		t.Errorf("ben got %q, and the box has %q", got, w.boxed(ben.ID))
	}
}

// TestAcked: an acknowledged text is removed by its key, at any age, and only that of the named
// sender.
func TestAcked(t *testing.T) {
	w := newWorld(t, 1)
	ann, ben, off := w.account("ann"), w.account("ben"), w.account("off")
	w.servers[1].sendRecord(returnOf(1, off.ID, 3,
		kept(ann, 10, 0, "ann 10", "ann 11", "ann 12"), kept(ben, 11, 0, "ben 11")))
	w.verdictOn(1)
	w.put(ann, off.ID, "none 1", "none 2")
	page, err := w.store.Memory.Page(t.Context(), off.ID, 0)
	if err != nil {
		t.Fatal(err)
	}
	w.servers[1].sendRecord(proto.Record{Kind: proto.RecordAcked, User: off.ID, Body: proto.AppendTextKeys(nil,
		proto.TextKey{Sender: ann.ID, ID: 11}, proto.TextKey{Serial: page[5].Serial}, proto.TextKey{Sender: ann.ID, ID: 99})})
	want := []string{"ann 10", "ann 12", "ben 11", "none 1"}
	w.eventually("removed", func() bool { return len(w.boxed(off.ID)) <= len(want) })
	if got := w.boxed(off.ID); !slices.Equal(got, want) {
		t.Errorf("the box has %q, want %q", got, want)
	}
}

// TestMalformedReturn: a server that sends what no server sends loses its link.
func TestMalformedReturn(t *testing.T) {
	for _, r := range []proto.Record{
		{Kind: proto.RecordReturn, User: 5, Body: []byte("x")},
		{Kind: proto.RecordReturn, User: 5},
		{Kind: proto.RecordAcked, User: 5, Body: []byte("x")},
		{Kind: proto.RecordUp, User: 5, Body: []byte("x")},
		{Kind: proto.RecordAnswer, ID: 1 << 40, Body: []byte("x")},
	} {
		w := newWorld(t, 1)
		w.servers[1].sendRecord(r)
		w.eventually(fmt.Sprintf("a new link after kind %d", r.Kind), func() bool { return w.servers[1].dials() == 2 })
		w.stop()
	}
}

// TestReturnsAtTheDrain: returns that have arrived are stored before the links close, and later
// ones are busy.
func TestReturnsAtTheDrain(t *testing.T) {
	w := newWorld(t, 1)
	ann, off := w.account("ann"), w.account("off")
	w.servers[1].sendRecord(returnOf(1, off.ID, 3, kept(ann, 10, 0, "x")))
	w.verdictOn(1)
	w.route.returns.drain()
	w.servers[1].sendRecord(returnOf(2, off.ID, 3, kept(ann, 11, 0, "y")))
	if got := w.verdictOn(2); got != proto.VerdictBusy {
		t.Errorf("during the drain: %v", got)
	}
	w.route.returns = newUserQueues(returnQueueMax, returnBytesMax, w.route.storeReturned) // for the route's own drain
}

// FuzzServerRecords: for all records of a server, the route keeps running and answers.
func FuzzServerRecords(f *testing.F) {
	ann := proto.User{ID: 4, Name: "ann"}
	back := returnOf(1, benID, 3, kept(ann, 10, 1, "a", "b"))
	f.Add(uint8(proto.RecordReturn), uint64(1), uint64(3), uint64(0), uint64(0), back.Body)
	f.Add(uint8(proto.RecordAcked), uint64(1), uint64(3), uint64(0), uint64(0), proto.AppendTextKeys(nil, proto.TextKey{Sender: 4, ID: 10}))
	f.Add(uint8(proto.RecordReceipt), uint64(1), uint64(3), uint64(proto.OutcomeReceived), uint64(0), []byte(nil))
	f.Add(uint8(proto.RecordUp), uint64(1), uint64(3), uint64(1), uint64(9), proto.AppendEpoch(nil, 1))
	f.Add(uint8(proto.RecordSend), uint64(1), uint64(3), uint64(5), uint64(9), []byte("text"))
	f.Add(uint8(proto.RecordSessions), uint64(1), uint64(3), uint64(5), uint64(9), proto.AppendSession(nil, proto.Session{User: 5, Generation: 3}))
	w := newWorld(f, 1)
	sender, receiver := w.account("ann"), w.account("ben")
	f.Fuzz(func(t *testing.T, kind uint8, id, generation, value, text uint64, body []byte) {
		if len(body) > proto.FrameMax || proto.RecordKind(kind) == proto.RecordConfirm {
			t.Skip()
		}
		eventually(t, "linked", func() bool { return len(w.route.cluster.servers().linked()) == 1 })
		server := w.route.cluster.server(1)
		on := server.stream.Load()
		if on == nil {
			t.Skip() // lost to the input before
		}
		ctx, stop := context.WithTimeout(t.Context(), time.Second)
		defer stop()
		record := proto.Record{
			Kind: proto.RecordKind(kind), ID: id, User: receiver.ID, Generation: proto.Generation(generation), Value: value,
			Text: proto.TextID(text), Body: bytes.Clone(body),
		}
		if err := w.route.onRecord(ctx, server, on, &record); err != nil {
			return // its link ends
		}
		clear(record.Body) // the link reads on into the same bytes
		if status, a, err := w.try("POST", proto.PathPrivate, privateRequest(sender.ID, receiver.ID, "x")); err != nil || status != 200 || a.Code == 0 {
			t.Errorf("the route answers HTTP %d, code %d, %v", status, a.Code, err)
		}
	})
}

// TestCatchupAwaitsRemovals: a catch-up waits until texts that its user acknowledged are removed
// from the box, and does not wait if there are none.
func TestCatchupAwaitsRemovals(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, removing := &Route{}, make(chan struct{})
		r.acks = newUserQueues(2, 100, func(item ackedTexts) {
			if item.done != nil {
				close(item.done)
				return
			}
			<-removing
		})
		defer r.acks.drain()
		r.awaitAcked(t.Context(), ann.ID) // nothing waits
		if !r.acks.add(ann.ID, ackedTexts{user: ann.ID}, 16) {
			t.Fatal("the removal was not taken")
		}
		waited := make(chan struct{})
		go func() {
			defer close(waited)
			r.awaitAcked(t.Context(), ann.ID)
		}()
		synctest.Wait()
		select {
		case <-waited:
			t.Error("it did not wait for a removal that is under way")
		default:
		}
		close(removing)
		<-waited
	})
}
