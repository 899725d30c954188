package server

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"testing"

	"cim/proto"
	"cim/server/shard"
)

// wantOutcome returns the id of the text that the outcome is for.
func (p *peer) wantOutcome(id uint64, outcome proto.Outcome, code proto.Code) proto.TextID {
	p.t.Helper()
	m := p.read()
	if m.Command != proto.CommandOutcome || m.MessageID != id || m.Outcome != outcome || m.Code != code {
		p.t.Fatalf("outcome %+v, want %d %v %v", m, id, outcome, code)
	}
	return m.TextID()
}

// TestSendLocal sends to users of the same and of another loop; no route gets the
// messages.
func TestSendLocal(t *testing.T) {
	w := start(t, nil)
	a := w.login(ann, 1, proto.DialectCIM)
	for i := range 10 { // enough that both loops have some
		user := proto.User{ID: proto.UserID(3000 + i), Name: "r" + strconv.Itoa(i)}
		dialect := proto.Dialect(i % 2)
		b := w.login(user, 1, dialect)
		for n := range 3 {
			a.write(proto.AppendSend(nil, uint64(100+n), user.ID, fmt.Sprint("text ", n)))
		}
		var ids [3]proto.TextID
		for n := range 3 {
			m := b.read()
			ids[n] = m.TextID()
			if string(m.Text) != fmt.Sprint("text ", n) || m.ID != int64(user.ID) || string(m.Property(proto.PropertySenderName)) != "ann" {
				t.Fatalf("received %+v", m)
			}
		}
		for n := range 3 {
			if id := a.wantOutcome(uint64(100+n), proto.OutcomeDelivered, proto.CodeSuccess); id == 0 || id != ids[n] {
				t.Fatalf("the outcome names the text %d, its receiver %d", id, ids[n])
			}
		}
	}
	for _, rec := range w.route.aside {
		if rec.Kind == proto.RecordSend {
			t.Errorf("a route heard of it: %+v", rec)
		}
	}
}

// TestSendByRoute sends to an absent user, to a held one and to all users. The
// route's outcome is the answer.
func TestSendByRoute(t *testing.T) {
	w := start(t, nil)
	a := w.login(ann, 1, proto.DialectCIM)
	held := proto.User{ID: 4000, Name: "held"}
	w.route.grant(held, 1, false)
	p := w.dial()
	p.write(proto.AppendLogin(nil, held, proto.DialectV2, proto.Ticket{}))
	w.route.next("up", func(r *proto.Record) bool { return r.Kind == proto.RecordUp && r.User == held.ID })
	for i, c := range []struct {
		to      proto.UserID
		outcome proto.Outcome
		code    proto.Code
	}{
		{9999, proto.OutcomeStored, proto.CodeOffline},
		{held.ID, proto.OutcomeStored, proto.CodeOffline},
		{0, proto.OutcomeDelivered, proto.CodeSuccess},
		{9999, proto.OutcomeFailed, proto.CodeOfflineStore},
		{9999, proto.OutcomeBusy, proto.CodeLimit},
	} {
		id := uint64(10 + i)
		a.write(proto.AppendSend(nil, id, c.to, "hello"))
		r := w.route.kind(proto.RecordSend)
		if r.User != ann.ID || string(r.Name) != "ann" || proto.UserID(r.Value) != c.to || string(r.Body) != "hello" {
			t.Fatalf("case %d: the route received %+v", i, r)
		}
		if err := w.route.conn.Send(&proto.Record{Kind: proto.RecordOutcome, ID: r.ID, Value: uint64(c.outcome), Code: c.code}); err != nil {
			t.Fatal(err)
		}
		if text := a.wantOutcome(id, c.outcome, c.code); text == 0 || text != r.Text {
			t.Errorf("case %d: the outcome names the text %d, the route received %d", i, text, r.Text)
		}
	}
	a.write(proto.AppendSend(nil, 99, -1, "to no user"))
	a.wantOutcome(99, proto.OutcomeFailed, proto.CodeInvalid)
}

// TestSendKeepsOrder: while a message of a pair is with a route, the next one goes
// to the route too, although the receiver has connected meanwhile; so does a
// private message behind a group message.
func TestSendKeepsOrder(t *testing.T) {
	for _, first := range []proto.UserID{bob.ID, 0} {
		w := start(t, nil)
		a := w.login(ann, 1, proto.DialectCIM)
		a.write(proto.AppendSend(nil, 1, first, "first"))
		r1 := w.route.kind(proto.RecordSend)
		b := w.login(bob, 1, proto.DialectV2)
		a.write(proto.AppendSend(nil, 2, bob.ID, "second"))
		r2 := w.route.kind(proto.RecordSend)
		if string(r1.Body) != "first" || string(r2.Body) != "second" {
			t.Fatalf("the route received %q, %q", r1.Body, r2.Body)
		}
		for i, r := range []proto.Record{r1, r2} {
			_ = w.route.conn.Send(&proto.Record{Kind: proto.RecordOutcome, ID: r.ID, Value: uint64(proto.OutcomeStored), Code: proto.CodeOffline})
			a.wantOutcome(uint64(i+1), proto.OutcomeStored, proto.CodeOffline)
		}
		// No message is with the route any more: directly to the receiver.
		a.write(proto.AppendSend(nil, 3, bob.ID, "third"))
		a.wantOutcome(3, proto.OutcomeDelivered, proto.CodeSuccess)
		if m := b.read(); string(m.Text) != "third" {
			t.Errorf("received %+v", m)
		}
	}
}

// TestSendFollowsAcrossLoops: while a message of a pair waits for the receiver's
// loop, the next one waits there too although it must go to a route; if both must,
// the route gets them in order.
func TestSendFollowsAcrossLoops(t *testing.T) {
	for name, c := range map[string]struct {
		want      proto.Want // of the second
		meanwhile proto.RecordKind
	}{
		"the second is to be stored first": {proto.WantStored, 0},
		"the receiver's session ends":      {proto.WantTaken, proto.RecordRevoke},
	} {
		t.Run(name, func(t *testing.T) {
			w := start(t, func(c *Config) { c.Heartbeat = heartbeatMax })
			a := w.loginAck(ann, 1)
			from, _, _ := w.server.directory.find(ann.ID)
			other := w.server.loops[1-from.Shard]
			to, _ := w.onLoop(other, 300)
			if v := w.route.ask(proto.Record{Kind: proto.RecordHold, User: to.ID, Generation: 1}); v != proto.VerdictTaken {
				t.Fatalf("hold: %v", v)
			}
			letGo := w.hold(other)
			a.write(sendOf(1, to.ID, 71, proto.WantTaken))
			w.eventually("it waits for the receiver's loop", func() bool { return w.server.pairs.crossers.Load() == 1 })
			if c.meanwhile != 0 {
				w.route.request(proto.Record{Kind: c.meanwhile, User: to.ID, Generation: 1, Value: uint64(proto.RevokeReplace)})
				w.eventually("the session has left the directory", func() bool { _, _, found := w.server.directory.find(to.ID); return !found })
			}
			a.write(sendOf(2, to.ID, 72, c.want))
			a.write(sendOf(3, 9999, 73, proto.WantTaken))
			if r := w.route.kind(proto.RecordSend); r.Text != 73 {
				t.Errorf("the route received the text %d before the receiver's loop went on, want 73 alone", r.Text)
			}
			letGo()
			for _, id := range []proto.TextID{71, 72} {
				if r := w.route.kind(proto.RecordSend); r.Text != id {
					t.Errorf("the route received the text %d, want %d", r.Text, id)
				}
			}
			w.eventually("nothing crosses", func() bool { return w.server.pairs.crossers.Load() == 0 })
		})
	}
}

// TestSendWithoutRoute: no link is up.
func TestSendWithoutRoute(t *testing.T) {
	w := start(t, nil)
	a := w.login(ann, 1, proto.DialectCIM)
	a.write(proto.AppendSend(nil, 1, bob.ID, "pending"))
	w.route.kind(proto.RecordSend)
	w.route.conn.Close()
	a.wantOutcome(1, proto.OutcomeUnknown, proto.CodeFailure)
	a.write(proto.AppendSend(nil, 2, bob.ID, "x"))
	a.wantOutcome(2, proto.OutcomeFailed, proto.CodeFailure)
	if w.server.pairs.total.Load() != 0 {
		t.Error("a pair is still counted as being with a route")
	}
}

// TestSendsBound sends as many SENDs as may be with a route, and one more.
func TestSendsBound(t *testing.T) {
	w := start(t, nil)
	a := w.login(ann, 1, proto.DialectCIM)
	var b []byte
	for i := range sendsMax + 1 {
		b = proto.AppendSend(b, uint64(i), bob.ID, "x")
	}
	a.write(b)
	a.wantOutcome(sendsMax, proto.OutcomeBusy, proto.CodeLimit)
}

// TestSlowReader does not read until its unsent bytes exceed the bound: its session
// ends, another goes on, and the next push gets the verdict.
func TestSlowReader(t *testing.T) {
	w := start(t, nil)
	w.login(ann, 1, proto.DialectCIM)
	b := w.login(bob, 1, proto.DialectCIM)
	text := body(bob, strings.Repeat("x", proto.TextMax))
	taken := 0
	for ; ; taken++ {
		var v proto.Verdict
		w.eventually("the end of the session has been handed out", func() bool {
			v = w.route.ask(proto.Record{Kind: proto.RecordPush, User: ann.ID, Generation: 1, Body: text})
			return v != proto.VerdictReturning // it has just ended
		})
		if v == proto.VerdictAbsent {
			break
		}
		if v != proto.VerdictTaken || taken > 1000 {
			t.Fatalf("push %d: %v", taken, v)
		}
	}
	if down := w.route.kind(proto.RecordDown); down.User != ann.ID {
		t.Errorf("down %+v", down)
	}
	if least := shard.UnsentBytesMax / proto.TextMax; taken < least {
		t.Errorf("ended after %d messages, want at least %d", taken, least)
	}
	if v := w.route.ask(proto.Record{Kind: proto.RecordPush, User: bob.ID, Generation: 1, Body: body(ann, "x")}); v != proto.VerdictTaken {
		t.Errorf("the other: %v", v)
	}
	if m := b.read(); string(m.Text) != "x" {
		t.Errorf("the other received %+v", m)
	}
}

// TestPageLeaves: a page of a catch-up is answered when it has left the process,
// however slowly the client reads.
func TestPageLeaves(t *testing.T) {
	w := start(t, nil)
	w.route.grant(ann, 1, false)
	p := w.dial()
	p.write(proto.AppendLogin(nil, ann, proto.DialectV2, proto.Ticket{}))
	w.route.kind(proto.RecordUp)
	page := proto.Record{Kind: proto.RecordPush, Flags: proto.FlagOffline, User: ann.ID, Generation: 1}
	for i := range 20 {
		page.Body = proto.AppendBody(nil, proto.MessageFrom(proto.CommandOffline, bob, 0, []string{strings.Repeat("x", proto.TextMax), strconv.Itoa(i)}))
		id := w.route.request(page)
		if m := p.read(); m.Command != proto.CommandOffline || m.Batch != 2 {
			t.Fatalf("page %d: %+v", i, m)
		}
		if v := w.route.verdict(id).Verdict; v != proto.VerdictTaken {
			t.Fatalf("page %d: %v", i, v)
		}
	}
}

// TestHeldIsAnnouncedAgain: until its catch-up a session is announced each second.
func TestHeldIsAnnouncedAgain(t *testing.T) {
	w := start(t, nil)
	w.route.grant(ann, 1, false)
	w.dial().write(proto.AppendLogin(nil, ann, proto.DialectV2, proto.Ticket{}))
	for range 2 {
		if up := w.route.kind(proto.RecordUp); up.User != ann.ID || up.Value != 1 {
			t.Fatalf("up %+v", up)
		}
	}
}

// TestDrain: queued messages are delivered, clients of ours get the reason, and all
// are closed.
func TestDrain(t *testing.T) {
	w := start(t, nil)
	a, b := w.login(ann, 1, proto.DialectCIM), w.login(bob, 1, proto.DialectV2)
	id := w.route.request(proto.Record{Kind: proto.RecordBroadcast, Body: body(bob, "last words")})
	w.route.verdict(id)
	drained := make(chan error, 1)
	go func() { drained <- w.server.Drain(t.Context()) }()
	for _, p := range []*peer{a, b} {
		if m := p.read(); string(m.Text) != "last words" {
			t.Errorf("received %+v", m)
		}
	}
	if m := a.read(); m.Command != proto.CommandClose || m.Reason != proto.ReasonDraining {
		t.Errorf("received %+v", m)
	}
	a.end()
	b.end()
	a.conn.Close()
	b.conn.Close()
	if err := <-drained; err != nil {
		t.Error(err)
	}
}

func (w *world) post(path, method, body string, headers ...string) (status int, answer string) {
	w.Helper()
	url := "http://127.0.0.1:" + strconv.Itoa(w.server.Member().HTTPPort) + path
	request, err := http.NewRequestWithContext(w.Context(), method, url, bytes.NewBufferString(body))
	if err != nil {
		w.Fatal(err)
	}
	for _, header := range headers {
		name, value, _ := strings.Cut(header, ": ")
		request.Header.Set(name, value)
	}
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: patience}
	response, err := client.Do(request)
	if err != nil {
		w.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		w.Fatal(err)
	}
	return response.StatusCode, string(text)
}

// TestSendMsg pushes as a route of the original does, up to the bounds.
func TestSendMsg(t *testing.T) {
	w := start(t, nil)
	b := w.login(bob, 1, proto.DialectV2)
	properties := func(n int) string {
		var list []string
		for i := range n {
			list = append(list, fmt.Sprintf(`"k%d":"v"`, i))
		}
		return `{"userId":1002,"msg":"x","properties":{` + strings.Join(list, ",") + `}}`
	}
	texts := func(n int) string {
		return `{"userId":1002,"batchMsg":[` + strings.TrimSuffix(strings.Repeat(`"t",`, n), ",") + `]}`
	}
	text := func(n int) string { return `{"userId":1002,"msg":"` + strings.Repeat("x", n) + `"}` }
	for _, c := range []struct {
		name, method, body string
		status             int
		code               proto.Code
	}{
		{"as Java sends it", "POST", `{"reqNo":null,"timeStamp":1,"userId":1002,"msg":"hi","batchMsg":null,"cmd":"MESSAGE","properties":{"sendUserId":"1","receiveUserId":"1002"}}`, 200, 9000},
		{"offline", "POST", `{"userId":1002,"batchMsg":["a","b"],"cmd":"OFFLINE"}`, 200, 9000},
		{"absent", "POST", `{"userId":5,"msg":"hi"}`, 200, 7000},
		{"all properties", "POST", properties(31), 200, 9000},
		{"one property more", "POST", properties(32), 200, 3000},
		{"full batch", "POST", texts(128), 200, 9000},
		{"one text more", "POST", texts(129), 200, 3000},
		{"longest text", "POST", text(proto.TextMax), 200, 9000},
		{"one byte longer", "POST", text(proto.TextMax + 1), 200, 3000},
		{"no text", "POST", `{"userId":1002}`, 200, 3000},
		{"bad cmd", "POST", `{"userId":1002,"msg":"x","cmd":"PING"}`, 200, 3000},
		{"bad userId", "POST", `{"userId":"me","msg":"x"}`, 200, 3000},
		{"no JSON", "POST", `userId=1`, 400, 3000},
		{"not UTF-8", "POST", "{\"userId\":1002,\"msg\":\"\xff\"}", 400, 3000},
		{"GET", "GET", ``, 405, 3000},
		{"largest body", "POST", `{"userId":5,"msg":"x"}` + strings.Repeat(" ", proto.IntakeBodyMax-22), 200, 7000},
		{"one byte more", "POST", `{"userId":5,"msg":"x"}` + strings.Repeat(" ", proto.IntakeBodyMax-21), 413, 3000},
	} {
		status, answer := w.post(proto.PathSendMsg, c.method, c.body)
		if status != c.status || !strings.HasPrefix(answer, fmt.Sprintf(`{"code":"%d",`, c.code)) {
			t.Errorf("%s: %d %s, want %d, code %d", c.name, status, answer, c.status, c.code)
		}
		if c.code == 9000 {
			if !strings.HasSuffix(answer, `"dataBody":{"msg":"OK"}}`) {
				t.Errorf("%s: %s", c.name, answer)
			}
			b.read()
		}
	}
	if status, answer := w.post("/elsewhere", "POST", "{}"); status != 404 || !strings.HasPrefix(answer, `{"code":"3000"`) {
		t.Errorf("another path: %d %s", status, answer)
	}
}

// TestSendMsgOfAPage: no web page in a browser on this machine can name a sender,
// also if DNS makes the page's host point here.
func TestSendMsgOfAPage(t *testing.T) {
	w := start(t, nil)
	for _, header := range []string{"Origin: https://attacker.example", "Origin: null", "Origin: http://127.0.0.1:8081", "Sec-Fetch-Site: cross-site"} {
		status, answer := w.post(proto.PathSendMsg, "POST", `{"userId":5,"msg":"hi"}`, header, "Content-Type: text/plain")
		if status != 403 || !strings.HasPrefix(answer, `{"code":"3000"`) {
			t.Errorf("%s: %d %s, want 403", header, status, answer)
		}
	}
	if status, answer := w.post(proto.PathSendMsg, "POST", `{"userId":5,"msg":"hi"}`); status != 200 || !strings.HasPrefix(answer, `{"code":"7000"`) {
		t.Errorf("of no page: %d %s, want 200 and 7000", status, answer)
	}
}

// sendOf is a SEND to user with an id of its text and a want.
func sendOf(id uint64, user proto.UserID, text proto.TextID, want proto.Want) []byte {
	return proto.AppendSendOf(nil, proto.Send{ID: id, Receiver: user, Text: text, Want: want}, "hello")
}

// TestSendWants: a sender gets the outcome that it wants, when it is true, for
// receivers of the same and of another loop.
func TestSendWants(t *testing.T) {
	w := start(t, nil)
	a := w.loginAck(ann, 1)
	for i := range proto.UserID(4) { // enough that both loops have some
		b := w.loginAck(proto.User{ID: 3000 + i, Name: fmt.Sprint("r", i)}, 1)
		old := w.login(proto.User{ID: 4000 + i, Name: fmt.Sprint("o", i)}, 1, proto.DialectV2)

		a.write(sendOf(1, 3000+i, 71, proto.WantTaken))
		if id := a.wantOutcome(1, proto.OutcomeDelivered, proto.CodeSuccess); id != 71 {
			t.Errorf("its text is called %d, want the sender's 71", id)
		}
		if m := b.wantText("hello", true); m.TextID() != 71 {
			t.Errorf("received as %d", m.TextID())
		}

		a.write(sendOf(2, 3000+i, 72, proto.WantReceived))
		b.wantText("hello", true)
		a.write(sendOf(3, 4000+i, 73, proto.WantReceived)) // its outcome comes first
		a.wantOutcome(3, proto.OutcomeDelivered, proto.CodeSuccess)
		old.wantText("hello", false)
		b.write(proto.AppendAck(nil, 2))
		if id := a.wantOutcome(2, proto.OutcomeReceived, proto.CodeSuccess); id != 72 {
			t.Errorf("its text is called %d", id)
		}

		// The receiver acknowledges nothing, then its connection breaks.
		a.write(sendOf(4, 3000+i, 74, proto.WantReceived))
		b.wantText("hello", true)
		b.reset()
		rec, _ := w.route.returned()
		w.route.answer(rec, proto.VerdictTaken)
		a.wantOutcome(4, proto.OutcomeStored, proto.CodeOffline)
	}
}

// TestSendWantsByRoute: a message to be stored first goes to a route, as does one
// for an absent user, and the route gets the sender's want.
func TestSendWantsByRoute(t *testing.T) {
	w := start(t, nil)
	a := w.loginAck(ann, 1)
	w.loginAck(bob, 1)
	for i, c := range []struct {
		to      proto.UserID
		want    proto.Want
		outcome proto.Outcome
	}{
		{bob.ID, proto.WantStored, proto.OutcomeStored},
		{9999, proto.WantReceived, proto.OutcomeReceived},
		{9999, proto.WantTaken, proto.OutcomeStored},
		{0, proto.WantReceived, proto.OutcomeDelivered},
	} {
		id := uint64(10 + i)
		a.write(sendOf(id, c.to, proto.TextID(100+i), c.want))
		r := w.route.kind(proto.RecordSend)
		want := c.want
		if c.to == 0 {
			want = proto.WantTaken
		}
		if r.Text != proto.TextID(100+i) || proto.WantOf(r.Flags) != want {
			t.Errorf("case %d: the route received the text %d and want %d", i, r.Text, proto.WantOf(r.Flags))
		}
		w.route.send(proto.Record{Kind: proto.RecordOutcome, ID: r.ID, Value: uint64(c.outcome), Code: proto.CodeSuccess})
		a.wantOutcome(id, c.outcome, proto.CodeSuccess)
	}
	a.write(sendOf(20, bob.ID, 1, proto.WantStored+1))
	a.wantOutcome(20, proto.OutcomeFailed, proto.CodeInvalid)
}

// TestSendWithoutAck: in a session without acknowledgements, a SEND has the old
// meaning, whatever fields it has.
func TestSendWithoutAck(t *testing.T) {
	w := start(t, nil)
	a := w.login(ann, 1, proto.DialectCIM)
	b := w.loginAck(bob, 1)
	a.write(sendOf(1, bob.ID, 71, proto.WantReceived))
	if id := a.wantOutcome(1, proto.OutcomeDelivered, proto.CodeSuccess); id == 71 || id == 0 {
		t.Errorf("its text is called %d, want one that the server draws", id)
	}
	b.wantText("hello", true)
	b.write(proto.AppendAck(nil, 1))
	b.write(proto.AppendAck(nil, 2))
	b.end() // it was not granted acknowledgements
	a.write(proto.AppendAck(nil, 0))
	a.end()
}

// TestReceiverReturns: while the kept texts of a session are on their way into the
// box, messages to its user go to a route, which waits for that.
func TestReceiverReturns(t *testing.T) {
	w := start(t, nil)
	a := w.loginAck(ann, 1)
	w.login(bob, 7, proto.DialectCIM)
	w.server.returnTexts(ended(6, "a"))
	a.write(sendOf(1, bob.ID, 1, proto.WantTaken))
	r := w.route.kind(proto.RecordSend)
	if proto.UserID(r.Value) != bob.ID {
		t.Errorf("the route received %+v", r)
	}
	w.route.wantReturned(proto.VerdictTaken, "a")
	w.route.send(proto.Record{Kind: proto.RecordOutcome, ID: r.ID, Value: uint64(proto.OutcomeStored), Code: proto.CodeOffline})
	a.wantOutcome(1, proto.OutcomeStored, proto.CodeOffline)
}
