package server

import (
	"fmt"
	"strings"
	"testing"

	"cim/proto"
)

// sendMsg posts a message from ann for a user without a session here, and delivers
// the answer.
func (w *world) sendMsg(texts ...string) <-chan string {
	body := fmt.Sprintf(`{"userId":5,"batchMsg":["%s"],"properties":{"sendUserId":"%d","sendUserName":"%s"}}`,
		strings.Join(texts, `","`), ann.ID, ann.Name)
	answered := make(chan string, 1)
	go func() {
		_, answer := w.post(proto.PathSendMsg, "POST", body)
		answered <- answer
	}()
	return answered
}

// TestSendMsgForwarded: a message for a user without a session here goes to a
// route, each text with its id and its sender, and succeeds if all texts were
// delivered or stored.
func TestSendMsgForwarded(t *testing.T) {
	t.Parallel()
	w := start(t, nil)
	for _, test := range []struct {
		outcomes []proto.Outcome
		want     proto.Code
	}{
		{[]proto.Outcome{proto.OutcomeStored}, proto.CodeSuccess},
		{[]proto.Outcome{proto.OutcomeDelivered, proto.OutcomeStored, proto.OutcomeStored}, proto.CodeSuccess},
		{[]proto.Outcome{proto.OutcomeFailed}, proto.CodeOffline},
		{[]proto.Outcome{proto.OutcomeStored, proto.OutcomeBusy}, proto.CodeOffline},
		{[]proto.Outcome{0}, proto.CodeOffline},
	} {
		var texts []string
		for i := range test.outcomes {
			texts = append(texts, fmt.Sprint("text ", i))
		}
		answered := w.sendMsg(texts...)
		var first proto.TextID
		for i, outcome := range test.outcomes {
			r := w.route.kind(proto.RecordSend)
			if i == 0 {
				first = r.Text
			}
			if r.User != ann.ID || string(r.Name) != ann.Name || r.Value != 5 || string(r.Body) != texts[i] || r.Text == 0 || r.Text != first.Next(i) {
				t.Errorf("text %d: %+v, the first is called %d", i, r, first)
			}
			w.route.send(proto.Record{Kind: proto.RecordOutcome, ID: r.ID, Value: uint64(outcome)})
		}
		if answer := <-answered; !strings.HasPrefix(answer, fmt.Sprintf(`{"code":"%d"`, test.want)) {
			t.Errorf("%v: %s, want %d", test.outcomes, answer, test.want)
		}
	}
	if n := w.server.pairs.total.Load(); n != 0 {
		t.Errorf("%d are still with a route", n)
	}
}

// TestSendMsgUnanswered: if a route does not answer, the message may have arrived
// or not.
func TestSendMsgUnanswered(t *testing.T) {
	t.Parallel()
	w := start(t, nil)
	answered := w.sendMsg("text")
	w.route.kind(proto.RecordSend)
	if answer := <-answered; !strings.HasPrefix(answer, `{"code":"4000"`) {
		t.Errorf("answer %s", answer)
	}
	w.route.conn.Close() // its outcome fails, and is not used
	w.eventually("the link is gone", func() bool { return len(w.server.links.all()) == 0 && w.server.pairs.total.Load() == 0 })
	if answer := <-w.sendMsg("text"); !strings.HasPrefix(answer, `{"code":"7000"`) {
		t.Errorf("with no route: %s", answer)
	}
}

// TestSendMsgFull: a route that owes sendsMax outcomes gets no more SENDs.
func TestSendMsgFull(t *testing.T) {
	t.Parallel()
	w := start(t, nil)
	link := w.server.links.all()[0]
	link.mu.Lock()
	for id := range uint64(sendsMax) {
		link.sends[1<<40+id] = pendingSend{due: ^w.server.now(), pair: pair{ann.ID, 6}}
		w.server.pairs.add(pair{ann.ID, 6})
	}
	link.mu.Unlock()
	if answer := <-w.sendMsg("a", "b"); !strings.HasPrefix(answer, `{"code":"7000"`) {
		t.Errorf("answer %s", answer)
	}
	w.route.conn.Close()
	w.eventually("they have failed", func() bool { return w.server.pairs.total.Load() == 0 })
}

// TestSenderOf takes no sender whose name a route could not have.
func TestSenderOf(t *testing.T) {
	for _, test := range []struct {
		id, name string
		known    bool
	}{
		{"1001", "ann", true},
		{"1001", strings.Repeat("x", proto.UserNameMax), true},
		{"1001", strings.Repeat("x", proto.UserNameMax+1), false},
		{"1001", "", false},
		{"0", "ann", false},
		{"-1", "ann", false},
		{"9223372036854775808", "ann", false},
		{"", "ann", false},
	} {
		request := proto.SendMsgRequest{Properties: map[string]string{
			proto.PropertySenderID: test.id, proto.PropertySenderName: test.name,
		}}
		if sender, known := senderOf(&request); known != test.known || known && sender.Name != test.name {
			t.Errorf("%q %q: %+v, %t", test.id, test.name, sender, known)
		}
	}
}
