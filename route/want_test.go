package route

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"cim/internal/token"
	"cim/proto"
	"cim/route/access"
	"cim/store"
)

// sendWant is a SEND of user's that wants something.
func (f *fakeServer) sendWant(id uint64, sender proto.User, receiver proto.UserID, text proto.TextID, want proto.Want) {
	f.sendRecord(proto.Record{
		Kind: proto.RecordSend, Flags: proto.WantFlags(want), ID: id, User: sender.ID, Name: []byte(sender.Name),
		Value: uint64(receiver), Text: text, Body: []byte("text " + strconv.FormatUint(id, 10)),
	})
}

// acking logs name in at server 1 with a session that acknowledges.
func (w *world) acking(name string) proto.User {
	w.t.Helper()
	user := w.online(name, true)
	w.servers[1].change(user.ID, func(s *fakeSession) { s.ack = true })
	return user
}

// wantOutcome waits for the next outcome.
func (w *world) wantOutcome(id uint64, outcome proto.Outcome, code proto.Code) {
	w.t.Helper()
	if got := w.outcome(); got.ID != id || proto.Outcome(got.Value) != outcome || got.Code != code {
		w.t.Errorf("outcome %v, code %v of %d, want %v, %v of %d", proto.Outcome(got.Value), got.Code, got.ID, outcome, code, id)
	}
}

// TestWantReceived: a SEND is answered when its server has settled it, and its
// worker serves others meanwhile.
func TestWantReceived(t *testing.T) {
	w := newWorld(t, 1)
	f := w.servers[1]
	ann, ben, old := w.online("ann", true), w.acking("ben"), w.online("old", false)
	off := w.account("off")
	f.sendWant(1, ann, ben.ID, 77, proto.WantReceived)
	f.sendWant(2, ann, ben.ID, 78, proto.WantTaken)
	w.wantOutcome(2, proto.OutcomeDelivered, proto.CodeSuccess) // though 1 waits
	f.settle(ben.ID, proto.OutcomeReceived)
	w.wantOutcome(1, proto.OutcomeReceived, proto.CodeSuccess)

	f.sendWant(3, ann, ben.ID, 79, proto.WantReceived)
	w.eventually("pushed", func() bool { s, _ := f.session(ben.ID); return len(s.receipts) == 1 })
	f.settle(ben.ID, proto.OutcomeStored)
	w.wantOutcome(3, proto.OutcomeStored, proto.CodeOffline)

	f.sendWant(4, ann, old.ID, 80, proto.WantReceived)
	w.wantOutcome(4, proto.OutcomeDelivered, proto.CodeSuccess)
	f.sendWant(5, ann, off.ID, 81, proto.WantReceived)
	w.wantOutcome(5, proto.OutcomeStored, proto.CodeOffline)
	f.sendWant(6, ann, off.ID+1, 82, proto.WantReceived)
	w.wantOutcome(6, proto.OutcomeFailed, proto.CodeAccountMismatch)
	f.sendWant(7, ann, 0, 83, proto.WantReceived)
	w.wantOutcome(7, proto.OutcomeDelivered, proto.CodeSuccess)
	if n := w.route.receipts.waiting(); n != 0 {
		t.Errorf("%d receipts are left", n)
	}
	for what, want := range map[string]string{"received": "1", "stored": "1", "delivered": "1"} {
		if got := w.counter(`cim_route_receipts_total{outcome="` + what + `"}`); got != want {
			t.Errorf("%s receipts %s, want %s", got, what, want)
		}
	}
}

// TestReceiptsOfALostLink: messages that were taken over a link that has ended are unknown at once,
// since their server may have ended with it.
func TestReceiptsOfALostLink(t *testing.T) {
	w := newWorld(t, 2)
	f := w.servers[1]
	ann, ben := w.account("ann"), w.account("ben")
	for _, user := range []proto.User{ann, ben} {
		w.connect(user, true)
	}
	at := w.serverOf(ben.ID)
	at.change(ben.ID, func(s *fakeSession) { s.ack = true })
	f.sendWant(1, ann, ben.ID, 77, proto.WantReceived)
	w.eventually("pushed", func() bool { s, _ := at.session(ben.ID); return len(s.receipts) == 1 })
	if at == f {
		w.route.receipts.streamEnded(w.route.cluster.server(1).stream.Load()) // the outcome needs the link
	} else {
		at.cut()
	}
	w.wantOutcome(1, proto.OutcomeUnknown, proto.CodeFailure)
}

// TestReceiptsTable: a receipt that comes before it is awaited counts, an unknown one does not,
// silence is unknown after receiptTimeout, and a full table refuses.
func TestReceiptsTable(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rs := newReceipts()
		var got []proto.Outcome
		then := func(o proto.Outcome) { got = append(got, o) }
		early, late, silent := rs.start(), rs.start(), rs.start()
		if !rs.settle(early, proto.OutcomeReceived) || rs.settle(silent+1, proto.OutcomeReceived) {
			t.Error("settled the wrong one")
		}
		rs.await(early, nil, then)
		rs.await(late, nil, then)
		rs.await(silent, nil, then)
		if !rs.settle(late, proto.OutcomeStored) || rs.settle(late, proto.OutcomeReceived) {
			t.Error("settled twice")
		}
		time.Sleep(receiptTimeout - time.Millisecond)
		synctest.Wait()
		if want := []proto.Outcome{proto.OutcomeReceived, proto.OutcomeStored}; !slices.Equal(got, want) {
			t.Errorf("before the time is over: %v, want %v", got, want)
		}
		time.Sleep(2 * time.Millisecond)
		synctest.Wait()
		if len(got) != 3 || got[2] != proto.OutcomeUnknown {
			t.Errorf("silence is %v", got)
		}
		one, other := &stream{}, &stream{}
		over := rs.start()
		rs.await(over, one, then)
		if rs.streamEnded(other); len(got) != 3 {
			t.Errorf("the end of another link settled it: %v", got)
		}
		if rs.streamEnded(one); len(got) != 4 || got[3] != proto.OutcomeUnknown {
			t.Errorf("behind the end of its link: %v", got)
		}
		for range receiptsMax {
			if rs.start() == 0 {
				t.Fatal("refused within the bound")
			}
		}
		if rs.start() != 0 {
			t.Error("one past the bound was taken")
		}
		rs.forget(over + 1)
		if rs.start() == 0 {
			t.Error("refused although one was forgotten")
		}
	})
}

// TestReceiptsFull: without room for a receipt a message is busy and is not
// pushed.
func TestReceiptsFull(t *testing.T) {
	w := newWorld(t, 1)
	ann, ben := w.online("ann", true), w.acking("ben")
	for w.route.receipts.start() != 0 {
	}
	w.servers[1].sendWant(1, ann, ben.ID, 77, proto.WantReceived)
	w.wantOutcome(1, proto.OutcomeBusy, proto.CodeLimit)
	if got := w.servers[1].texts(ben.ID); len(got) != 0 {
		t.Errorf("ben got %q", got)
	}
	if got := w.counter(`cim_route_refused_total{what="receipt"}`); got != "1" {
		t.Errorf("%s refused, want 1", got)
	}
}

// TestReceiptsAtTheDrain: senders that wait are answered before the links close.
func TestReceiptsAtTheDrain(t *testing.T) {
	w := newWorld(t, 1)
	ann, ben := w.online("ann", true), w.acking("ben")
	w.servers[1].sendWant(1, ann, ben.ID, 77, proto.WantReceived)
	w.eventually("pushed", func() bool { s, _ := w.servers[1].session(ben.ID); return len(s.receipts) == 1 })
	w.stop()
	w.wantOutcome(1, proto.OutcomeUnknown, proto.CodeFailure)
}

// TestWantStored: the text is in the box before it is delivered; texts that the session kept come
// before it; and it keeps its id.
func TestWantStored(t *testing.T) {
	hooked := &hookedStore{}
	w := newWorldWith(t, 1, testConfig(), hooked)
	f := w.servers[1]
	ann, ben := w.online("ann", true), w.acking("ben")
	asked := 0
	f.follow(func(r *proto.Record) (*proto.Record, bool) { // two looks until what ben kept is in the box
		if r.Kind == proto.RecordHold && r.User == ben.ID {
			if asked++; asked == 1 {
				f.sessions[ben.ID].judge(t, r)
				return &proto.Record{Verdict: proto.VerdictReturning, Value: f.sessions[ben.ID].holds}, true
			}
			if asked == 2 {
				w.put(ann, ben.ID, "kept")
			}
		}
		return nil, false
	})
	f.sendWant(1, ann, ben.ID, 77, proto.WantStored)
	w.wantOutcome(1, proto.OutcomeStored, proto.CodeOffline)
	w.eventually("brought", func() bool { return len(f.texts(ben.ID)) == 2 })
	got := f.got(ben.ID)
	if got[0].text != "kept" || got[1].text != "text 1" || got[1].command != proto.CommandOffline {
		t.Errorf("ben got %+v", got)
	}
	w.eventually("the box has only the text that is not acknowledged", func() bool { // the other leaves it behind the resume
		page, err := w.store.Memory.Page(t.Context(), ben.ID, 0)
		return err == nil && len(page) == 1 && page[0].ID == 77
	})
	f.sendRecord(proto.Record{Kind: proto.RecordAcked, User: ben.ID, Body: proto.AppendTextKeys(nil, proto.TextKey{Sender: ann.ID, ID: 77})})
	w.eventually("removed", func() bool { return len(w.boxed(ben.ID)) == 0 })
}

// TestWantStoredAgain: a SEND that comes again under its id is stored once.
func TestWantStoredAgain(t *testing.T) {
	w := newWorld(t, 1)
	ann, off := w.online("ann", true), w.account("off")
	for id := range uint64(3) {
		w.servers[1].sendWant(id+1, ann, off.ID, 77, proto.WantStored)
		w.wantOutcome(id+1, proto.OutcomeStored, proto.CodeOffline)
	}
	if got := w.boxed(off.ID); !slices.Equal(got, []string{"text 1"}) {
		t.Errorf("stored %q", got)
	}
}

// TestWantStoredAway: with the store away the outcome is unknown, and nothing is
// pushed.
func TestWantStoredAway(t *testing.T) {
	hooked := &hookedStore{}
	w := newWorldWith(t, 1, testConfig(), hooked)
	ann, ben, off := w.online("ann", true), w.acking("ben"), w.account("off")
	hooked.before = func(string) error { return store.ErrAway }
	for id, receiver := range []proto.User{ben, off} { // one receiver has a cached session, the other none
		w.servers[1].sendWant(uint64(id), ann, receiver.ID, 77, proto.WantStored)
		w.wantOutcome(uint64(id), proto.OutcomeUnknown, proto.CodeFailure)
	}
	if got := w.servers[1].texts(ben.ID); len(got) != 0 {
		t.Errorf("ben got %q", got)
	}
}

// TestWantStoredBesideOlder: while a process is registered that would not keep the text's id, a
// text is not stored first.
func TestWantStoredBesideOlder(t *testing.T) {
	w := newWorld(t, 1)
	ann, ben := w.online("ann", true), w.acking("ben")
	w.registerOlder()
	w.servers[1].sendWant(1, ann, ben.ID, 77, proto.WantStored)
	w.wantOutcome(1, proto.OutcomeDelivered, proto.CodeSuccess)
}

// registerOlder has a server of an older release in the registry.
func (w *world) registerOlder() {
	w.t.Helper()
	older := proto.Member{Host: "10.0.0.99", CIMPort: 1, HTTPPort: 2, Epoch: 99, Version: proto.LinkVersion - 1}
	if err := w.registry.Register(w.t.Context(), older); err != nil {
		w.t.Fatal(err)
	}
	w.eventually("seen", func() bool { return !w.route.canAcknowledge() })
}

// TestWantOverHTTP: the answer has the outcome of a message with a want, and of no other message.
func TestWantOverHTTP(t *testing.T) {
	w := newWorld(t, 1)
	f := w.servers[1]
	ann, ben, off := w.online("ann", true), w.acking("ben"), w.account("off")
	ask := func(receiver proto.UserID, more string) string {
		return fmt.Sprintf(`{"userId":%d,"receiveUserId":%d,"msg":"x"%s}`, ann.ID, receiver, more)
	}
	settled := make(chan struct{})
	go func() {
		defer close(settled)
		w.eventually("pushed", func() bool { s, _ := f.session(ben.ID); return len(s.receipts) == 1 })
		f.settle(ben.ID, proto.OutcomeReceived)
	}()
	for _, c := range []struct {
		path, body string
		code       proto.Code
		outcome    string
	}{
		{proto.PathPrivate, ask(ben.ID, `,"client":1,"want":1`), proto.CodeSuccess, "received"},
		{proto.PathPrivate, ask(ben.ID, `,"client":1`), proto.CodeSuccess, ""},
		{proto.PathPrivate, ask(ben.ID, `,"client":1,"want":0`), proto.CodeSuccess, ""},
		{proto.PathPrivate, ask(off.ID, `,"client":1,"want":2`), proto.CodeOffline, "stored"},
		{proto.PathGroup, fmt.Sprintf(`{"userId":%d,"msg":"x","client":1,"want":1}`, ann.ID), proto.CodeSuccess, "delivered"},
	} {
		a := w.want(c.code, c.path, c.body)
		var sent proto.SentBody
		if err := json.Unmarshal(a.DataBody, &sent); err != nil || sent.Outcome != c.outcome || sent.TextID == "" {
			t.Errorf("%s: %s, %v; want outcome %q", c.body, a.DataBody, err, c.outcome)
		}
	}
	<-settled
	for _, more := range []string{`,"want":3`, `,"want":-1`, `,"textId":"x"`, `,"textId":"0"`, `,"textId":"-1"`} {
		w.want(proto.CodeInvalid, proto.PathPrivate, ask(ben.ID, more))
	}
	w.want(proto.CodeInvalid, proto.PathGroup, fmt.Sprintf(`{"userId":%d,"msg":"x","want":3}`, ann.ID))
	if a := w.want(proto.CodeOffline, proto.PathPrivate, ask(off.ID, `,"want":1`)); string(a.DataBody) != "null" {
		t.Errorf("a client of the contract got %s", a.DataBody)
	}
}

// TestChosenID: a sender chooses the id of a text only with a token of its own:
// else a stranger could name the ids of another's texts.
func TestChosenID(t *testing.T) {
	g := newGuarded(t, access.Check)
	ann, ben := g.account("ann"), g.account("ben")
	for i, c := range []struct {
		token string
		want  bool
	}{
		{"", false}, {g.token(ann.ID), true}, {g.serviceToken(), false},
	} {
		id := strconv.Itoa(1000 + i)
		var headers []string
		if c.token != "" {
			headers = []string{"Authorization: Bearer " + c.token}
		}
		for path, body := range map[string]string{
			proto.PathPrivate: fmt.Sprintf(`{"userId":%d,"receiveUserId":%d,"msg":"x","client":1,"textId":%q}`, ann.ID, ben.ID, id),
			proto.PathGroup:   fmt.Sprintf(`{"userId":%d,"msg":"x","client":1,"textId":%q}`, ann.ID, id),
		} {
			_, a := g.send(http.MethodPost, path, body, headers...)
			var sent proto.SentBody
			if err := json.Unmarshal(a.DataBody, &sent); err != nil || (sent.TextID == id) != c.want || sent.TextID == "" {
				t.Errorf("%s with token %t: %s, %v", body, c.token != "", a.DataBody, err)
			}
		}
	}
}

func (g *guarded) serviceToken() string {
	g.t.Helper()
	text, err := g.key.Issue(token.Claims{Service: true, Expires: time.Now().Add(time.Hour)})
	if err != nil {
		g.t.Fatal(err)
	}
	return text
}
