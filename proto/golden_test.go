package proto

import (
	"bufio"
	"encoding/hex"
	"fmt"
	"os"
	"strings"
	"testing"
)

// vector is one line of testdata/frames.txt.
type vector struct {
	name   string
	accept bool
	frame  []byte
	says   string
}

func vectors(t testing.TB) []vector {
	t.Helper()
	f, err := os.Open("testdata/frames.txt")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var all []vector
	for lines := bufio.NewScanner(f); lines.Scan(); {
		line := lines.Text()
		if line == "" || line[0] == '#' {
			continue
		}
		left, says, found := strings.Cut(line, " -> ")
		words := strings.Fields(left)
		frame, err := hex.DecodeString(strings.Join(words[2:], ""))
		if !found || err != nil {
			t.Fatalf("vector %q: %v", line, err)
		}
		all = append(all, vector{words[0], words[1] == "accept", frame, says})
	}
	return all
}

// says is a view in the notation of the vectors.
func says(v *View) string {
	var b strings.Builder
	add := func(zero bool, format string, value any) {
		if !zero {
			fmt.Fprintf(&b, format+" ", value)
		}
	}
	add(len(v.Text) == 0, "text=%q", v.Text)
	add(v.ID == 0, "id=%d", v.ID)
	add(v.Command == 0, "cmd=%d", v.Command)
	add(v.Properties == 0, "properties=%d", v.Properties)
	add(v.Batch == 0, "batch=%d", v.Batch)
	add(v.Dialect == 0, "dialect=%d", v.Dialect)
	add(v.Ticket == nil, "ticket=%x", v.Ticket)
	add(v.MessageID == 0, "message_id=%d", v.MessageID)
	add(v.Receiver == 0, "receiver=%d", v.Receiver)
	add(v.Outcome == 0, "outcome=%d", v.Outcome)
	add(v.Reason == 0, "reason=%d", v.Reason)
	add(v.Generation == 0, "generation=%d", v.Generation)
	add(v.Heartbeat == 0, "heartbeat=%d", v.Heartbeat)
	add(v.Epoch == 0, "epoch=%d", v.Epoch)
	add(v.Code == 0, "code=%d", v.Code)
	v.EachReceived(func(r Received) { add(r.ID == 0, "text_id=%d", r.ID) })
	add(v.Ack == 0, "ack=%d", v.Ack)
	add(v.Want == 0, "want=%d", v.Want)
	add(!v.ToAll, "to_all=%t", v.ToAll)
	v.EachReceived(func(r Received) { add(r.Sent == 0, "sent=%d", r.Sent) })
	add(v.LeftOut == 0, "left_out=%d", v.LeftOut)
	if n, known := v.Receivers.Count(); known {
		add(false, "receivers=%d", n)
	}
	if b.Len() == 0 {
		return "nothing"
	}
	return strings.TrimSuffix(b.String(), " ")
}

func TestGoldenFrames(t *testing.T) {
	for _, g := range vectors(t) {
		var v View
		frame, size, reason := NextFrame(g.frame, FrameMax)
		if reason == ReasonNone {
			if frame == nil || size != len(g.frame) {
				t.Errorf("%s: a frame of %d bytes in %d", g.name, size, len(g.frame))
				continue
			}
			reason = v.Parse(frame)
		}
		got := reason.String()
		if reason == ReasonNone {
			got = says(&v)
		}
		if got != g.says || g.accept != (reason == ReasonNone) {
			t.Errorf("%s: %s, want %s", g.name, got, g.says)
		}
	}
}

// TestGoldenAppended writes the vectors that our appenders produce.
func TestGoldenAppended(t *testing.T) {
	zhangsan := User{1001, "zhangsan"}
	ticket := Ticket{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15}
	written := map[string][]byte{
		"v2_login":              AppendLogin(nil, zhangsan, DialectV2, Ticket{}),
		"v2_ping_short":         []byte(Ping),
		"v2_pong":               []byte(Pong),
		"v1_login":              AppendV1Login(nil, zhangsan),
		"v1_ping":               AppendV1Ping(nil, 1001),
		"v1_pong":               []byte(PongV1),
		"v1_message":            delivered(zhangsan, "hi"),
		"v1_message_empty":      delivered(zhangsan, ""),
		"cim_login":             AppendLogin(nil, zhangsan, DialectCIM, ticket),
		"cim_login_answer":      AppendLoginAnswer(nil, LoginAnswer{User: 1001, Generation: 3, Heartbeat: 30, Epoch: 7}),
		"cim_login_refused":     AppendLoginAnswer(nil, LoginAnswer{Reason: ReasonNoGrant}),
		"cim_send":              AppendSend(nil, 5, 1002, "hi"),
		"cim_send_group":        AppendSend(nil, 6, 0, []byte("hi")),
		"cim_outcome_delivered": AppendOutcome(nil, 5, 0, OutcomeDelivered, CodeSuccess),
		"cim_outcome_stored":    AppendOutcome(nil, 5, 0, OutcomeStored, CodeOffline),
		"cim_outcome_text":      AppendOutcome(nil, 5, 0x0123456789abcdef, OutcomeDelivered, CodeSuccess),
		"cim_outcome_group":     AppendGroupOutcome(nil, 6, 7, OutcomeDelivered, CodeSuccess, ReceiversOf(3)),
		"cim_outcome_nobody":    AppendGroupOutcome(nil, 6, 7, OutcomeDelivered, CodeSuccess, ReceiversOf(0)),
		"cim_message":           AppendDelivery(nil, toBob("hi"), 1002),
		"cim_message_to_all":    AppendDelivery(nil, toAll("hi"), 1002),
		"cim_offline":           AppendDelivery(nil, stored("a", "b"), 1002),
		"v2_message_with_id":    AppendDelivery(nil, OriginalPart(toAll("hi")), 1002),
		"v2_offline_with_ids":   AppendDelivery(nil, OriginalPart(stored("a", "b")), 1002),
		"cim_ack_login":         AppendAckLogin(nil, zhangsan, ticket),
		"cim_ack_login_answer":  AppendLoginAnswer(nil, LoginAnswer{User: 1001, Generation: 3, Heartbeat: 30, Epoch: 7, Ack: true}),
		"cim_send_received":     AppendSendOf(nil, Send{ID: 5, Receiver: 1002, Text: 0x0123456789abcdef, Want: WantReceived}, "hi"),
		"cim_send_stored":       AppendSendOf(nil, Send{ID: 6, Want: WantStored}, []byte("hi")),
		"cim_outcome_received":  AppendOutcome(nil, 5, 0x0123456789abcdef, OutcomeReceived, CodeSuccess),
		"cim_ack":               AppendAck(nil, 300),
		"cim_ack_nothing":       AppendAck(nil, 0),
		"cim_ack_ping":          AppendAckPing(nil, 300),
		"cim_counted_message":   AppendCountedDelivery(nil, toBob("hi"), 1002),
		"cim_counted_offline":   AppendCountedDelivery(nil, stored("a", "b"), 1002),
		"cim_gap":               AppendGap(nil, 300),
		"cim_close":             AppendClose(nil, ReasonReplaced),
		"cim_move":              AppendMove(nil, ReasonDraining),
	}
	for _, g := range vectors(t) {
		if got, ours := written[g.name]; ours && string(got) != string(g.frame) {
			t.Errorf("%s: wrote %x, want %x", g.name, got, g.frame)
		}
		delete(written, g.name)
	}
	if len(written) != 0 {
		t.Errorf("no vector for %v", written)
	}
}

// goldenTime is 2026-11-30T20:00:00.123Z.
const goldenTime UnixMilli = 1796068800123

func goldenMessage(command Command, toAll bool, texts ...string) []byte {
	m := MessageFrom(command, User{1001, "zhangsan"}, 9, texts)
	m.ToAll, m.Sent = toAll, SameTime(goldenTime, len(texts))
	return AppendBody(nil, m)
}

func toBob(text string) []byte      { return goldenMessage(CommandMessage, false, text) }
func toAll(text string) []byte      { return goldenMessage(CommandMessage, true, text) }
func stored(texts ...string) []byte { return goldenMessage(CommandOffline, false, texts...) }

// delivered is what a client of dialect v1 receives for texts.
func delivered(sender User, texts ...string) []byte {
	frames, _ := AppendV1Delivery(nil, AppendBody(nil, MessageFrom(CommandMessage, sender, 0, texts)), 1002)
	return frames
}

// TestV1Batch delivers a batch as one frame for each text, in order.
func TestV1Batch(t *testing.T) {
	ann := User{1, "ann"}
	batch := AppendBody(nil, MessageFrom(CommandOffline, ann, 0, []string{"a", "", "b"}))
	frames, count := AppendV1Delivery([]byte("before"), batch, 1002)
	want := "before" + string(delivered(ann, "a")) + string(delivered(ann, "")) + string(delivered(ann, "b"))
	if string(frames) != want || count != 3 {
		t.Errorf("%d frames: %x, want %x", count, frames, want)
	}
}

// TestV1Joined delivers more texts than a client's pool holds as lines of few
// frames, none of them long unless one text is; those of a page as lines of more
// frames.
func TestV1Joined(t *testing.T) {
	ann := User{1, "ann"}
	texts := []string{"a", "", "b", "c"}
	if _, count := AppendV1Delivery(nil, AppendBody(nil, MessageFrom(CommandMessage, ann, 0, texts)), 1002); count != len(texts) {
		t.Errorf("%d frames of %d texts", count, len(texts))
	}
	texts = append(texts, "d\ne")
	want := string(appendV1(nil, "", []byte("ann:a\nann:\nann:b\nann:c\nann:d\ne"), 1002, CommandV1Message))
	if got := string(delivered(ann, texts...)); got != want {
		t.Errorf("%x, want %x", got, want)
	}
	for n, frames := range map[int]int{1: 1, v1PageSinglesMax: v1PageSinglesMax, v1PageSinglesMax + 1: 2, 100: 13} {
		page := make([]string, n)
		got, count := AppendV1Page(nil, AppendBody(nil, MessageFrom(CommandOffline, ann, 0, page)), 1002)
		lines := strings.Count(string(got), "ann:")
		if count != frames || lines != n {
			t.Errorf("a page of %d texts is %d frames of %d lines, want %d", n, count, lines, frames)
		}
	}
	long := strings.Repeat("x", v1JoinedMax)
	texts = []string{"1", "2", long, "3", strings.Repeat("y", v1JoinedMax-len("ann:\n")-len("ann:3")), "5"}
	want = string(appendV1(nil, "", []byte("ann:1\nann:2"), 1002, CommandV1Message)) + string(delivered(ann, long)) +
		string(appendV1(nil, "", []byte("ann:3\nann:"+texts[4]), 1002, CommandV1Message)) + string(delivered(ann, "5"))
	if got := string(delivered(ann, texts...)); got != want {
		t.Errorf("%d bytes, want %d", len(got), len(want))
	}
}

// TestV1Nameless delivers texts of a sender without a name, as routes of 2.0.0 send
// them: the text alone, which contains the name.
func TestV1Nameless(t *testing.T) {
	for _, m := range []Message{
		{Command: CommandMessage, Text: "bob:hi"},
		{Command: CommandMessage, Text: "bob:hi", Properties: []Property{{PropertySenderID, "7"}, {PropertySenderName, ""}}},
	} {
		frames, _ := AppendV1Delivery(nil, AppendBody(nil, m), 1002)
		if want := appendV1(nil, "", []byte("bob:hi"), 1002, CommandV1Message); string(frames) != string(want) {
			t.Errorf("%q, want %q", frames, want)
		}
	}
}

// TestLoginDialect: the first frame decides the dialect.
func TestLoginDialect(t *testing.T) {
	ann := User{1, "ann"}
	for _, c := range []struct {
		name  string
		frame []byte
		want  Dialect
	}{
		{"v1", AppendV1Login(nil, ann), DialectV1},
		{"v2", AppendLogin(nil, ann, DialectV2, Ticket{}), DialectV2},
		{"ours", AppendLogin(nil, ann, DialectCIM, Ticket{}), DialectCIM},
		{"ours with v1's command", []byte("\x05\x18\x01\x80\x01\x01"), DialectCIM},
	} {
		var v View
		frame, _, _ := NextFrame(c.frame, FrameMax)
		if reason := v.Parse(frame); reason != ReasonNone || v.LoginDialect() != c.want || v.IsV1Login() != (c.want == DialectV1) {
			t.Errorf("%s: dialect %d, %v; want %d", c.name, v.LoginDialect(), reason, c.want)
		}
	}
}
