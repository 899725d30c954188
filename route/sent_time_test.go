package route

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"cim/proto"
)

// lastTimes returns what the last record of a kind says about its texts to sessions of ours.
func (f *fakeServer) lastTimes(t testing.TB, kind proto.RecordKind) (toAll bool, sent []proto.UnixMilli) {
	t.Helper()
	records := f.records(kind)
	if len(records) == 0 {
		t.Fatalf("no record of kind %d", kind)
	}
	var v proto.View
	if reason := v.Parse(records[len(records)-1].Body); reason != proto.ReasonNone {
		t.Fatal(reason)
	}
	v.EachReceived(func(r proto.Received) { sent = append(sent, r.Sent) })
	if v.Sent != len(sent) {
		t.Errorf("%d times of %d texts", v.Sent, len(sent))
	}
	return v.ToAll, sent
}

// TestSentTimes: live, group and stored messages carry the time at which they were sent, and
// whether they are group messages.
func TestSentTimes(t *testing.T) {
	w := newWorld(t, 1)
	ann, ben := w.account("ann"), w.online("ben", true)
	before := sentNow()
	want := func(what string, toAll bool, texts int, kind proto.RecordKind) {
		t.Helper()
		all, sent := w.servers[1].lastTimes(t, kind)
		if all != toAll || len(sent) != texts {
			t.Errorf("%s: to all %t, %d times, want %t, %d", what, all, len(sent), toAll, texts)
		}
		for _, at := range sent {
			if at < before || at > sentNow() {
				t.Errorf("%s: sent at %d, it was sent between %d and %d", what, at, before, sentNow())
			}
		}
	}
	w.want(proto.CodeSuccess, proto.PathPrivate, privateRequest(ann.ID, ben.ID, "private"))
	want("private", false, 1, proto.RecordPush)
	w.want(proto.CodeSuccess, proto.PathPrivate, fmt.Sprintf(`{"userId":%d,"receiveUserId":%d,"batchMsg":["a","b","c"]}`, ann.ID, ben.ID))
	want("a batch", false, 3, proto.RecordPush)
	w.want(proto.CodeSuccess, proto.PathGroup, groupRequest(ann.ID, "group"))
	want("group", true, 1, proto.RecordBroadcast)

	cem := w.account("cem")
	w.want(proto.CodeOffline, proto.PathPrivate, privateRequest(ann.ID, cem.ID, "stored"))
	stored := sentNow()
	w.eventually("the clock has gone on", func() bool { return sentNow() > stored })
	w.connect(cem, true)
	_, sent := w.servers[1].lastTimes(t, proto.RecordPush)
	if len(sent) != 1 || sent[0] < before || sent[0] > stored {
		t.Errorf("a stored text was sent at %d, want between %d and %d", sent, before, stored)
	}
}

// TestSentTimesOfAPage: each text of a page has its own time, one whose time was
// not kept that at which it was stored.
func TestSentTimesOfAPage(t *testing.T) {
	w := newWorld(t, 1)
	ann, ben := w.account("ann"), w.account("ben")
	before := sentNow()
	for _, at := range []proto.UnixMilli{5, 0, 7} {
		if err := w.store.Memory.Append(t.Context(), ben.ID, ann, 0, at, []string{"x"}); err != nil {
			t.Fatal(err)
		}
	}
	w.connect(ben, true)
	_, sent := w.servers[1].lastTimes(t, proto.RecordPush)
	if len(sent) != 3 || sent[0] != 5 || sent[1] < before || sent[1] > sentNow() || sent[2] != 7 {
		t.Errorf("sent at %d", sent)
	}
}

// TestSentBefore: a client of ours may give the time of a message that it puts back, but none in
// the future.
func TestSentBefore(t *testing.T) {
	w := newWorld(t, 1)
	ann, ben := w.account("ann"), w.online("ben", true)
	ahead := sentNow() + proto.UnixMilli(time.Hour/time.Millisecond)
	for _, c := range []struct {
		more string
		want proto.UnixMilli // 0: now
	}{
		{`,"client":1,"sent":5`, 5},
		{fmt.Sprintf(`,"client":1,"sent":%d`, ahead), 0},
		{`,"client":1,"sent":-5`, 0},
		{`,"sent":5`, 0},
	} {
		before := sentNow()
		w.want(proto.CodeSuccess, proto.PathPrivate, fmt.Sprintf(`{"userId":%d,"receiveUserId":%d,"msg":"x"%s}`, ann.ID, ben.ID, c.more))
		_, sent := w.servers[1].lastTimes(t, proto.RecordPush)
		if c.want != 0 && sent[0] != c.want || c.want == 0 && (sent[0] < before || sent[0] > sentNow()) {
			t.Errorf("%s: sent at %d", c.more, sent[0])
		}
	}
}

// TestReceivers: the answer to a group message has the number of sessions that got it, for clients
// of ours, if all servers that took it have counted.
func TestReceivers(t *testing.T) {
	counts := func(value uint64) func(*proto.Record) (*proto.Record, bool) {
		return func(r *proto.Record) (*proto.Record, bool) {
			if r.Kind != proto.RecordBroadcast {
				return nil, false
			}
			return &proto.Record{Kind: proto.RecordAnswer, ID: r.ID, Verdict: proto.VerdictTaken, Value: value}, true
		}
	}
	w := newWorld(t, 2)
	ann := w.account("ann")
	for _, c := range []struct {
		first, second proto.Receivers
		want          string
		outcome       proto.Receivers
	}{
		{proto.ReceiversOf(3), proto.ReceiversOf(4), `"receivers":7`, proto.ReceiversOf(7)},
		{proto.ReceiversOf(0), proto.ReceiversOf(0), `"receivers":0`, proto.ReceiversOf(0)},
		{proto.ReceiversOf(3), 0, "", 0},
	} {
		w.servers[1].follow(counts(uint64(c.first)))
		w.servers[2].follow(counts(uint64(c.second)))
		for _, more := range []string{"", `,"client":1`} {
			a := w.want(proto.CodeSuccess, proto.PathGroup, fmt.Sprintf(`{"userId":%d,"msg":"x"%s}`, ann.ID, more))
			has := slices.Contains([]string{"", "null"}, string(a.DataBody))
			if more == "" && !has {
				t.Errorf("an old client is answered %s", a.DataBody)
			}
			if more != "" && strings.Contains(string(a.DataBody), "receivers") != (c.want != "") || more != "" && !strings.Contains(string(a.DataBody), c.want) {
				t.Errorf("%v and %v: answered %s, want %q in it", c.first, c.second, a.DataBody, c.want)
			}
		}
		w.servers[1].send(5, ann, 0, "x")
		if got := w.outcome(); proto.Receivers(got.Generation) != c.outcome || got.Code != proto.CodeSuccess {
			t.Errorf("%v and %v: the outcome of a SEND counts %d, want %d", c.first, c.second, got.Generation, c.outcome)
		}
	}
	a := w.want(proto.CodeOffline, proto.PathPrivate, fmt.Sprintf(`{"userId":%d,"receiveUserId":%d,"msg":"x","client":1}`, ann.ID, ann.ID))
	if strings.Contains(string(a.DataBody), "receivers") {
		t.Errorf("a private message is answered %s", a.DataBody)
	}
}

// TestSendTime: a SEND was sent when it came to its server; one of a server that
// does not say, when it comes to the route.
func TestSendTime(t *testing.T) {
	w := newWorld(t, 1)
	ann, ben := w.online("ann", true), w.online("ben", true)
	for _, at := range []proto.UnixMilli{777, 0} {
		for receiver, kind := range map[proto.UserID]proto.RecordKind{ben.ID: proto.RecordPush, 0: proto.RecordBroadcast} {
			before := sentNow()
			w.servers[1].mu.Lock()
			w.servers[1].sendUnsolicited(&proto.Record{
				Kind: proto.RecordSend, ID: 9, User: ann.ID, Value: uint64(receiver), Generation: proto.Generation(at), Body: []byte("x"),
			})
			w.servers[1].mu.Unlock()
			w.outcome()
			toAll, sent := w.servers[1].lastTimes(t, kind)
			if toAll != (receiver == 0) || at != 0 && sent[0] != at || at == 0 && (sent[0] < before || sent[0] > sentNow()) {
				t.Errorf("a SEND of %d to %d: to all %t, sent at %d", at, receiver, toAll, sent)
			}
		}
	}
}
