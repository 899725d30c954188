package proto

import (
	"bytes"
	"slices"
	"strconv"
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/protowire"
	pb "google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	"cim/proto/cimpb"
)

// drawFrame is any frame within the bounds.
func drawFrame(t *rapid.T) *cimpb.Frame {
	return &cimpb.Frame{
		Text: rapid.String().Draw(t, "text"), Id: rapid.Int64().Draw(t, "id"),
		Cmd:        cimpb.Command(rapid.Int32().Draw(t, "cmd")),
		Properties: rapid.MapOfN(rapid.String(), rapid.String(), 0, PropertiesMax).Draw(t, "properties"),
		Batch:      rapid.SliceOfN(rapid.String(), 0, BatchMax).Draw(t, "batch"),
		Dialect:    rapid.Uint32().Draw(t, "dialect"),
		Ticket:     rapid.SliceOfN(rapid.Byte(), TicketSize, TicketSize).Draw(t, "ticket"),
		MessageId:  rapid.Uint64().Draw(t, "message"), Receiver: rapid.Int64().Draw(t, "receiver"),
		Outcome: cimpb.Outcome(rapid.Int32Range(0, 255).Draw(t, "outcome")), Code: rapid.Uint32Range(0, 65535).Draw(t, "code"),
		Reason: rapid.Uint32Range(0, 65535).Draw(t, "reason"), Generation: rapid.Uint64().Draw(t, "generation"),
		Heartbeat: rapid.Uint32().Draw(t, "heartbeat"), Epoch: rapid.Uint64().Draw(t, "epoch"),
		TextIds: rapid.SliceOfN(rapid.Uint64(), 0, BatchMax).Draw(t, "text ids"),
		Ack:     rapid.Uint32().Draw(t, "ack"), Want: rapid.Uint32Range(0, wantMax).Draw(t, "want"),
		ToAll: rapid.Bool().Draw(t, "to all"), Sent: rapid.SliceOfN(rapid.Int64(), 0, BatchMax).Draw(t, "sent"),
		Receivers: rapid.Ptr(rapid.Uint64Max(receiversMax), true).Draw(t, "receivers"),
		LeftOut:   rapid.Uint64().Draw(t, "left out"),
	}
}

// sameAsPB compares a view with the message that protobuf read from the same
// bytes.
func sameAsPB(t interface{ Errorf(string, ...any) }, v *View, m *cimpb.Frame) {
	var texts []string
	v.EachText(func(text []byte) { texts = append(texts, string(text)) })
	want := m.Batch
	if len(want) == 0 {
		want = []string{m.Text}
	}
	properties := map[string]string{}
	v.EachProperty(func(key, value []byte) { properties[string(key)] = string(value) })
	ids, count := v.textIDs()
	var textIDs []uint64
	for _, id := range ids[:count] {
		textIDs = append(textIDs, uint64(id))
	}
	var sent []int64
	times := v.sent()
	for _, at := range times[:v.Sent] {
		sent = append(sent, int64(at))
	}
	var receivers *uint64
	if n, known := v.Receivers.Count(); known {
		receivers = pb.Uint64(uint64(n))
	}
	got := cimpb.Frame{
		Ack: v.Ack, Want: uint32(v.Want),
		TextIds: textIDs, ToAll: v.ToAll, Sent: sent, Receivers: receivers, LeftOut: v.LeftOut,
		Text: string(v.Text), Id: v.ID, Cmd: cimpb.Command(v.Command), Properties: properties, Batch: m.Batch,
		Dialect: uint32(v.Dialect), Ticket: v.Ticket, MessageId: v.MessageID, Receiver: int64(v.Receiver),
		Outcome: cimpb.Outcome(v.Outcome), Code: uint32(v.Code), Reason: uint32(v.Reason),
		Generation: uint64(v.Generation), Heartbeat: uint32(v.Heartbeat), Epoch: uint64(v.Epoch),
	}
	if !pb.Equal(&got, m) || !slices.Equal(texts, want) || v.Batch != len(m.Batch) {
		t.Errorf("view %v with texts %q, protobuf %v", &got, texts, m)
	}
}

// TestViewAgainstProtobuf parses what protobuf wrote.
func TestViewAgainstProtobuf(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := drawFrame(t)
		frame, err := pb.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		var v View
		if reason := v.Parse(frame); reason != ReasonNone {
			t.Fatalf("%v: %v", m, reason)
		}
		sameAsPB(t, &v, m)
	})
}

// TestDeliveryAgainstProtobuf has protobuf parse what the delivery path writes, for
// any message and receiver.
func TestDeliveryAgainstProtobuf(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		sender := User{UserID(rapid.Int64Min(1).Draw(t, "sender")), rapid.String().Draw(t, "name")}
		receiver := UserID(rapid.Int64Min(1).Draw(t, "receiver"))
		texts := rapid.SliceOfN(rapid.String(), 1, 5).Draw(t, "texts")
		id := TextID(rapid.Uint64().Draw(t, "id"))
		body := AppendBody(nil, MessageFrom(CommandOffline, sender, id, texts))
		deliver, counted := AppendDelivery, rapid.Bool().Draw(t, "counted")
		if counted {
			deliver = AppendCountedDelivery
		}
		framed := deliver([]byte("before"), body, receiver)[len("before"):]
		if len(framed) > len(body)+receiverMax {
			t.Fatalf("%d bytes of a body of %d, want at most %d more", len(framed), len(body), receiverMax)
		}
		frame, size, reason := NextFrame(framed, FrameMax)
		if reason != ReasonNone || size != len(framed) {
			t.Fatalf("frame of %d in %d bytes: %v", size, len(framed), reason)
		}
		var m cimpb.Frame
		if err := pb.Unmarshal(frame, &m); err != nil {
			t.Fatal(err)
		}
		got := m.Batch
		if len(texts) == 1 {
			got = []string{m.Text}
		}
		if !slices.Equal(got, texts) || m.Cmd != cimpb.Command_OFFLINE || (m.Ack == AckVersion) != counted || m.Id != int64(receiver) ||
			m.Properties[PropertySenderID] != strconv.FormatInt(int64(sender.ID), 10) ||
			m.Properties[PropertySenderName] != sender.Name ||
			m.Properties[PropertyReceiverID] != strconv.FormatInt(int64(receiver), 10) {
			t.Fatalf("read %v, want %q from %v to %d", &m, texts, sender, receiver)
		}
	})
}

// TestSentBodyIsBody compares the two ways to the same bytes.
func TestSentBodyIsBody(t *testing.T) {
	for _, text := range []string{"", "x", strings.Repeat("long", 1000)} {
		want := AppendBody(nil, MessageFrom(CommandMessage, User{42, "ann"}, 0, []string{text}))
		if got := AppendSentBody(nil, 42, "ann", 0, []byte(text)); !bytes.Equal(got, want) {
			t.Errorf("text of %d bytes: %x, want %x", len(text), got, want)
		}
	}
}

// TestOriginalPart: clients of the original get the same bytes as before our part
// existed, for any message.
func TestOriginalPart(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		texts := rapid.SliceOfN(rapid.String(), 1, 5).Draw(t, "texts")
		m := MessageFrom(CommandMessage, User{42, rapid.String().Draw(t, "name")}, TextID(rapid.Uint64().Draw(t, "id")), texts)
		want := AppendBody(nil, m)
		m.ToAll, m.Sent = rapid.Bool().Draw(t, "to all"), SameTime(UnixMilli(rapid.Int64().Draw(t, "sent")), len(texts))
		whole := AppendBody(nil, m)
		if got := OriginalPart(whole); !bytes.Equal(got, want) {
			t.Fatalf("%x, want %x", got, want)
		}
		if m.ToAll && len(whole) == len(want) {
			t.Fatal("there is no part of ours")
		}
		// One text of a SEND gives the same bytes.
		if len(texts) > 1 {
			return
		}
		var id TextID
		if len(m.IDs) > 0 {
			id = m.IDs[0]
		}
		sent := AppendSentBody(nil, 42, m.Properties[1].Value, id, []byte(texts[0]))
		if sent = AppendOurPart(sent, m.ToAll, m.Sent...); !bytes.Equal(sent, whole) {
			t.Fatalf("of a SEND %x, want %x", sent, whole)
		}
	})
}

// TestFrameEdges splits frames at their bounds and one byte past them.
func TestFrameEdges(t *testing.T) {
	prefixed := func(n int) []byte { return append(protowire.AppendVarint(nil, uint64(n)), make([]byte, n)...) }
	for _, c := range []struct {
		name string
		buf  []byte
		max  int
		want Reason
		size int
	}{
		{"empty", nil, FrameMax, ReasonNone, 0},
		{"half a prefix", []byte{0x80}, FrameMax, ReasonNone, 0},
		{"four bytes of prefix", []byte{0x80, 0x80, 0x80, 0x80}, FrameMax, ReasonNone, 0},
		{"five bytes of prefix", []byte{0x81, 0x80, 0x80, 0x80, 0x00, 0xff}, FrameMax, ReasonNone, 6},
		{"six bytes of prefix", []byte{0x81, 0x80, 0x80, 0x80, 0x80, 0x00}, FrameMax, ReasonMalformed, 0},
		{"before login, full", prefixed(FrameMaxBeforeLogin), FrameMaxBeforeLogin, ReasonNone, 2 + FrameMaxBeforeLogin},
		{"before login, one more", prefixed(FrameMaxBeforeLogin + 1), FrameMaxBeforeLogin, ReasonFrameTooLarge, 0},
		{"full", prefixed(FrameMax), FrameMax, ReasonNone, 3 + FrameMax},
		{"one more", prefixed(FrameMax + 1), FrameMax, ReasonFrameTooLarge, 0},
		{"largest varint32", []byte{0xff, 0xff, 0xff, 0xff, 0x0f}, FrameMax, ReasonFrameTooLarge, 0},
	} {
		frame, size, reason := NextFrame(c.buf, c.max)
		if reason != c.want || size != c.size || (frame != nil) != (c.size > 0 && c.want == ReasonNone) {
			t.Errorf("%s: %d bytes (whole: %v), %v; want %d, %v", c.name, size, frame != nil, reason, c.size, c.want)
		}
	}
	// With one byte missing, the size is known.
	whole := prefixed(300)
	if frame, size, reason := NextFrame(whole[:len(whole)-1], FrameMax); frame != nil || size != len(whole) || reason != ReasonNone {
		t.Errorf("one byte missing: whole %v, %d bytes, %v", frame != nil, size, reason)
	}
}

// TestViewEdges tests each bound of a frame's content and one past it.
func TestViewEdges(t *testing.T) {
	repeat := func(n int, field protowire.Number, value string) (b []byte) {
		for range n {
			b = protowire.AppendTag(b, field, protowire.BytesType)
			b = protowire.AppendString(b, value)
		}
		return b
	}
	for _, c := range []struct {
		name  string
		frame []byte
		want  Reason
	}{
		{"longest text", repeat(1, 1, strings.Repeat("a", TextMax)), ReasonNone},
		{"text one byte longer", repeat(1, 1, strings.Repeat("a", TextMax+1)), ReasonTextTooLong},
		{"longest batch text", repeat(1, 5, strings.Repeat("a", TextMax)), ReasonNone},
		{"batch text one byte longer", repeat(1, 5, strings.Repeat("a", TextMax+1)), ReasonTextTooLong},
		{"full batch", repeat(BatchMax, 5, ""), ReasonNone},
		{"one text more", repeat(BatchMax+1, 5, ""), ReasonManyTexts},
		{"all properties", repeat(PropertiesMax, 4, ""), ReasonNone},
		{"one property more", repeat(PropertiesMax+1, 4, ""), ReasonManyProperties},
	} {
		var v View
		if got := v.Parse(c.frame); got != c.want {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
	}
}

func TestUserNameEdges(t *testing.T) {
	for name, ok := range map[string]bool{
		"a": true, "张三": true, "with space": true, strings.Repeat("名", 64): true, "cim": true, "login-status2": true,
		"": false, strings.Repeat("名", 65): false, " a": false, "a ": false, "a\u3000": false, "a\tb": false,
		"a\x7f": false, "a\u0085b": false, "\xff": false, "login-status": false, "cim-": false, "cim-route:1": false,
		"{cim-route:1}": false, "offline:msg": false,
	} {
		if err := CheckUserName(name); (err == nil) != ok {
			t.Errorf("%q: %v, want ok %v", name, err, ok)
		}
	}
}

func TestTicketText(t *testing.T) {
	ticket := Ticket{0xab, 1}
	if got, err := ParseTicket(ticket.String()); got != ticket || err != nil {
		t.Errorf("read back %v, %v", got, err)
	}
	if got, err := ParseTicket(""); !got.IsZero() || err != nil {
		t.Errorf("empty: %v, %v", got, err)
	}
	for _, bad := range []string{"ab", strings.Repeat("g", 32), strings.Repeat("a", 33)} {
		if _, err := ParseTicket(bad); err == nil {
			t.Errorf("%q was accepted", bad)
		}
	}
}

func TestMemberName(t *testing.T) {
	m := Member{Host: "10.0.0.7", CIMPort: 11211, HTTPPort: 8081}
	if got, err := ParseMemberName(m.Name()); got != m || err != nil {
		t.Errorf("read back %+v, %v", got, err)
	}
	for _, bad := range []string{"", "a:1", "a:1:2:3", "a:0:2", "a:1:65536", ":1:2", "0.0.0.0:1:2", "a b:1:2", "a:x:2"} {
		if _, err := ParseMemberName(bad); err == nil {
			t.Errorf("%q was accepted", bad)
		}
	}
}

// TestRecordEdges writes and parses a record at each bound, and one past it.
func TestRecordEdges(t *testing.T) {
	largest := Record{
		Kind: RecordPush, Flags: FlagOffline, Verdict: VerdictBusy, Code: CodeLimit, ID: 1 << 63, User: -1, Generation: 3,
		Value: 4, Name: bytes.Repeat([]byte{'n'}, RecordNameMax), Body: bytes.Repeat([]byte{'b'}, FrameMax),
	}
	wire := AppendRecord(nil, &largest)
	if len(wire) != RecordMax || len(wire) != RecordSize(&largest) {
		t.Fatalf("%d bytes, RecordMax %d, RecordSize %d", len(wire), RecordMax, RecordSize(&largest))
	}
	var got Record
	if n, err := ParseRecord(append(wire, 1, 2, 3), &got); n != len(wire) || err != nil {
		t.Fatalf("read %d bytes, %v", n, err)
	}
	if got.ID != largest.ID || got.User != -1 || got.Value != 4 || !bytes.Equal(got.Name, largest.Name) || !bytes.Equal(got.Body, largest.Body) {
		t.Error("read back another record")
	}
	if n, err := ParseRecord(wire[:len(wire)-1], &got); n != 0 || err != nil {
		t.Errorf("one byte missing: %d, %v", n, err)
	}
	defer func() {
		if recover() == nil {
			t.Error("a body one byte too long did not panic")
		}
	}()
	largest.Body = append(largest.Body, 'b')
	AppendRecord(nil, &largest)
}

// TestNoAllocation covers the paths of every frame: splitting, parsing, writing a
// delivery, a SEND and its outcome, a record of a link.
func TestNoAllocation(t *testing.T) {
	body := AppendBody(nil, MessageFrom(CommandMessage, User{1700000000000, "zhangsan"}, 0, []string{strings.Repeat("x", 128)}))
	framed := AppendDelivery(nil, body, 1700000000001)
	dst, record := make([]byte, 0, 4096), Record{Kind: RecordPush, Body: body}
	wire := AppendRecord(nil, &record)
	text := []byte(strings.Repeat("x", 128))
	for name, hot := range map[string]func(){
		"split and read": func() {
			frame, _, _ := NextFrame(framed, FrameMax)
			var v View
			v.Parse(frame)
		},
		"delivery":  func() { AppendDelivery(dst, body, 1700000000001) },
		"sent body": func() { AppendSentBody(dst, 1700000000000, "zhangsan", 0, text) },
		"send":      func() { AppendSend(dst, 77, 1700000000001, text) },
		"gap":       func() { AppendGap(dst, 1<<63) },
		"outcome":   func() { AppendGroupOutcome(dst, 77, 1<<63, OutcomeDelivered, CodeSuccess, ReceiversOf(1<<40)) },
		"send of":   func() { AppendSendOf(dst, Send{77, 1700000000001, 1 << 63, WantReceived}, text) },
		"counted":   func() { AppendCountedDelivery(dst, body, 1700000000001) },
		"ack":       func() { AppendAck(dst, 1<<40) },
		"our part":  func() { AppendOurPart(dst, true, goldenTime) },
		"old part":  func() { OriginalPart(body) },
		"record":    func() { AppendRecord(dst, &record); _, _ = ParseRecord(wire, &record) },
	} {
		if n := testing.AllocsPerRun(100, hot); n != 0 {
			t.Errorf("%s allocates %v times, want 0", name, n)
		}
	}
}

func BenchmarkDelivery(b *testing.B) {
	body := AppendBody(nil, MessageFrom(CommandMessage, User{1700000000000, "zhangsan"}, 0, []string{strings.Repeat("x", 128)}))
	dst := make([]byte, 0, 512)
	for b.Loop() {
		dst = AppendDelivery(dst[:0], body, 1700000000001)
	}
}

func BenchmarkParse(b *testing.B) {
	body := AppendBody(nil, MessageFrom(CommandMessage, User{1700000000000, "zhangsan"}, 0, []string{strings.Repeat("x", 128)}))
	framed := AppendDelivery(nil, body, 1700000000001)
	var v View
	for b.Loop() {
		frame, _, _ := NextFrame(framed, FrameMax)
		v.Parse(frame)
	}
}

// TestTextIDsMax parses a frame with the maximum number of ids, and with one more.
func TestTextIDsMax(t *testing.T) {
	for n, want := range map[int]Reason{BatchMax: ReasonNone, BatchMax + 1: ReasonManyTexts} {
		var v View
		body := appendTextIDs(nil, TextIDsFrom(1, n)...)
		if reason := v.Parse(body); reason != want {
			t.Errorf("%d ids: %v, want %v", n, reason, want)
		}
	}
}

// TestMessageBytesMax: the largest accepted message makes a frame that fits,
// whatever its names and ids. Its times are omitted if they do not fit.
func TestMessageBytesMax(t *testing.T) {
	for size, times := range map[int]int{MessageBytesMax / BatchMax: 0, MessageBytesMax/BatchMax - 10: BatchMax} {
		texts := make([]string, BatchMax)
		for i := range texts {
			texts[i] = strings.Repeat("x", size)
		}
		sender := User{ID: 1<<63 - 1, Name: strings.Repeat("\U0001F600", UserNameMax)}
		m := MessageFrom(CommandMessage, sender, ^TextID(0)-BatchMax, texts)
		m.ToAll, m.Sent = true, SameTime(1<<63-1, BatchMax)
		frame := AppendDelivery(nil, AppendBody([]byte("before"), m)[len("before"):], 1<<63-1)
		if len(frame)-lengthMaxBytes > FrameMax {
			t.Errorf("a frame of %d bytes, want at most %d", len(frame), FrameMax)
		}
		var v View
		body, _, reason := NextFrame(frame, FrameMax)
		if reason == ReasonNone {
			reason = v.Parse(body)
		}
		if reason != ReasonNone || v.Sent != times || !v.ToAll {
			t.Errorf("texts of %d bytes: %v, %d times, to all %t, want %d", size, reason, v.Sent, v.ToAll, times)
		}
	}
}
