package loadgen

import (
	"fmt"
	"strings"
	"testing"

	"cim/proto"
)

// heard is a fleet without sockets: client 0 receives from 16 slots, in a stream of rounds rounds
// of one message from each.
func heard(tb testing.TB, rounds int) (*eventLoop, *client, []byte) {
	tb.Helper()
	clock, err := newClock()
	if err != nil {
		tb.Fatal(err)
	}
	const slots = 16
	t := &trial{
		id: 9, sizes: OneSize(128), padding: strings.Repeat(".", 128-TextMin),
		load: load{window: slots}, groupSlots: slots, start: 0, end: 1 << 62,
	}
	l := &eventLoop{clock: clock, faults: new(faults), trial: t, tally: newTally(slots)}
	l.inbox.loop = l
	user := proto.User{ID: 1_700_000_000_000}
	receiver := &client{loop: l, user: user, next: make([]uint32, slots), privateSlot: noSlot, loggedIn: make(chan error, 1)}
	receiver.session = newCIMSession(nil, user, proto.DialectV2)
	for i := range slots {
		user := proto.User{ID: proto.UserID(1_700_000_000_001 + i), Name: fmt.Sprintf("load-1-0-%d", i)}
		s := newSlot(t.id, i, &client{index: i + 1, user: user}, nil)
		s.windowed, l.tally.spreads[i].receivers = true, 1<<20
		s.sent.Store(uint32(rounds))
		t.slots = append(t.slots, s)
	}
	var stream []byte
	for round := range rounds {
		for i, s := range t.slots {
			text := appendText(nil, heading{t.id, allReceivers, stamp{uint32(i), uint32(round), int64(round), 0}}, t.padding)
			id := proto.TextID(1 + round*slots + i)
			body := proto.AppendSentBody(nil, s.sender.user.ID, s.sender.user.Name, id, text)
			stream = proto.AppendDelivery(stream, body, receiver.user.ID)
		}
	}
	return l, receiver, stream
}

func own(c *client) *cimSession { return c.session.(*cimSession) }

// split has the client read data.
func split(l *eventLoop, c *client, data []byte) proto.Reason {
	l.inbox.client = c
	return own(c).split(&l.inbox, data)
}

// text is what slot says as this message of trial 9.
func text(slot, sequence uint32) []byte {
	return appendText(nil, heading{9, allReceivers, stamp{slot: slot, sequence: sequence}}, strings.Repeat(".", 128-TextMin))
}

// tail is what ends every delivery to c: its id first, and the property that names it.
func tail(c *client) string {
	frame, _, _ := proto.NextFrame(proto.AppendDelivery(nil, nil, c.user.ID), proto.FrameMax)
	return string(frame)
}

// forget lets the same stream be new again.
func (c *client) forget() { clear(c.next) }

// TestReceiveInPieces cuts one stream into pieces of every size: each piece may
// end within a length or a frame.
func TestReceiveInPieces(t *testing.T) {
	const rounds = 2
	l, c, stream := heard(t, rounds)
	for piece := 1; piece <= len(stream); piece++ {
		l.tally = newTally(len(l.trial.slots))
		c.forget()
		for rest := stream; len(rest) > 0; {
			n := min(piece, len(rest))
			data := []byte(string(rest[:n])) // as in gnet's buffer, gone after the call
			if reason := split(l, c, data); reason != proto.ReasonNone {
				t.Fatal(reason)
			}
			clear(data)
			rest = rest[n:]
		}
		got := l.tally
		if got.received != 16*rounds || got.doubled+got.reordered+got.misdelivered+len(got.gaps) != 0 {
			t.Fatalf("pieces of %d: received %d, %+v", piece, got.received, got)
		}
	}
}

// TestReceiveAnyOrder gives the same deliveries in another order of fields:
// they count the same.
func TestReceiveAnyOrder(t *testing.T) {
	const rounds = 2
	l, c, stream := heard(t, rounds)
	for rest := stream; len(rest) > 0; {
		frame, size, _ := proto.NextFrame(rest, proto.FrameMax)
		var v proto.View
		if reason := v.Parse(frame); reason != proto.ReasonNone {
			t.Fatal(reason)
		}
		body := proto.AppendBody(nil, proto.Message{Command: proto.CommandMessage, Batch: []string{string(v.Text)}, Properties: []proto.Property{
			{Key: "more", Value: "of it"},
			{Key: proto.PropertySenderName, Value: string(v.Property(proto.PropertySenderName))},
			{Key: proto.PropertySenderID, Value: string(v.Property(proto.PropertySenderID))},
		}})
		if reason := split(l, c, proto.AppendDelivery(nil, body, c.user.ID)); reason != proto.ReasonNone {
			t.Fatal(reason)
		}
		rest = rest[size:]
	}
	if l.tally.received != 16*rounds || l.tally.misdelivered != 0 {
		t.Errorf("received %d, misdelivered %d", l.tally.received, l.tally.misdelivered)
	}
}

// TestReceiveChecksAlike changes each byte of a text, of a run that does not verify: from any
// system it is corrupt and does not count as received.
func TestReceiveChecksAlike(t *testing.T) {
	for name, bring := range map[string]func(l *eventLoop, c *client, text []byte) proto.Reason{
		"cim": func(l *eventLoop, c *client, text []byte) proto.Reason {
			sender := l.trial.slots[3].sender.user
			return split(l, c, proto.AppendDelivery(nil, proto.AppendSentBody(nil, sender.ID, sender.Name, 1, text), c.user.ID))
		},
		"cim, v1": func(l *eventLoop, c *client, text []byte) proto.Reason {
			sender := l.trial.slots[3].sender.user
			frame, _ := proto.AppendV1Delivery(nil, proto.AppendSentBody(nil, sender.ID, sender.Name, 1, text), c.user.ID)
			own(c).dialect = proto.DialectV1
			return split(l, c, frame)
		},
		"another system": func(l *eventLoop, c *client, text []byte) proto.Reason {
			l.inbox.client = c
			l.inbox.Text(text)
			return proto.ReasonNone
		},
	} {
		l, c, _ := heard(t, 1)
		if reason := bring(l, c, text(3, 0)); reason != proto.ReasonNone || l.tally.received != 1 {
			t.Fatalf("%s: %s, received %d", name, reason, l.tally.received)
		}
		for at := range len(text(3, 0)) {
			l, c, _ := heard(t, 1)
			changed := text(3, 0)
			changed[at] ^= 1
			if reason := bring(l, c, changed); reason != proto.ReasonNone || l.tally.corrupt != 1 || l.tally.received != 0 {
				t.Errorf("%s, byte %d: %s, corrupt %d, received %d", name, at, reason, l.tally.corrupt, l.tally.received)
			}
		}
	}
}

// TestReceiveInOneWalk reads every delivery of the two ways that a message takes
// in one walk, and leaves frames with a field that it does not know to View.
func TestReceiveInOneWalk(t *testing.T) {
	l, c, _ := heard(t, 1)
	sender := l.trial.slots[3].sender.user
	text := text(3, 0)
	conn := proto.AppendSentBody(nil, sender.ID, sender.Name, 7, text)
	http := proto.AppendBody(nil, proto.MessageFrom(proto.CommandMessage, sender, 7, []string{string(text)}))
	for name, c := range map[string]struct {
		frame   []byte
		whole   bool
		counted bool
	}{
		"conn":    {proto.AppendDelivery(nil, conn, c.user.ID), true, false},
		"http":    {proto.AppendDelivery(nil, http, c.user.ID), true, false},
		"counted": {proto.AppendCountedDelivery(nil, conn, c.user.ID), true, true},
		"offline": {proto.AppendDelivery(nil, proto.AppendBody(nil, proto.MessageFrom(proto.CommandOffline, sender, 7, []string{string(text)})), c.user.ID), false, false},
		"a pong":  {[]byte(proto.Pong), false, false},
		"unknown": {proto.AppendDelivery(nil, append([]byte("\xf8\x07\x01"), conn...), c.user.ID), false, false},
	} {
		frame, _, _ := proto.NextFrame(c.frame, proto.FrameMax)
		var m message
		if whole := m.read(frame); whole != c.whole {
			t.Errorf("%s: read in one walk %t", name, whole)
			continue
		}
		if c.whole && (string(m.text) != string(text) || m.id != 7 || string(m.senderName) != sender.Name || m.counted != c.counted) {
			t.Errorf("%s: %+v", name, m)
		}
	}
	frame, _, _ := proto.NextFrame(proto.AppendDelivery(nil, conn, c.user.ID), proto.FrameMax)
	for end := range frame {
		if cut := frame[:end:end]; new(message).read(cut) && new(proto.View).Parse(cut) != proto.ReasonNone {
			t.Errorf("a frame cut at %d, within a field, is read", end)
		}
	}
}

// TestReceiveTextID takes a text without an id, as the original stores them,
// and none whose id is 0 or missing beside others.
func TestReceiveTextID(t *testing.T) {
	for _, c := range []struct {
		name string
		ids  []proto.TextID
		good int
	}{
		{"none", nil, 2},
		{"both", []proto.TextID{5, 6}, 2},
		{"one is 0", []proto.TextID{5, 0}, 1},
		{"one is missing", []proto.TextID{5}, 1},
		{"all are 0", []proto.TextID{0, 0}, 0},
	} {
		l, to, _ := heard(t, 2)
		m := proto.MessageFrom(proto.CommandOffline, l.trial.slots[0].sender.user, 0, []string{
			string(text(0, 0)), string(text(0, 1)),
		})
		m.IDs = c.ids
		if reason := split(l, to, proto.AppendDelivery(nil, proto.AppendBody(nil, m), to.user.ID)); reason != proto.ReasonNone {
			t.Fatal(reason)
		}
		if l.tally.received != c.good || l.tally.misdelivered != 2-c.good {
			t.Errorf("%s: received %d, misdelivered %d, want %d received", c.name, l.tally.received, l.tally.misdelivered, c.good)
		}
	}
}

// TestReceiveNeverSent takes a message of a sequence, slot or trial that does
// not exist.
func TestReceiveNeverSent(t *testing.T) {
	l, c, _ := heard(t, 1)
	sender := l.trial.slots[3].sender.user
	for _, h := range []heading{{9, allReceivers, stamp{slot: 3, sequence: 1}}, {9, allReceivers, stamp{slot: 16}}, {9, 0, stamp{slot: 3}}, {8, 1, stamp{slot: 3}}} {
		body := proto.AppendSentBody(nil, sender.ID, sender.Name, 1, appendText(nil, h, l.trial.padding))
		before := l.tally.misdelivered
		split(l, c, proto.AppendDelivery(nil, body, c.user.ID))
		if l.tally.misdelivered != before+1 || l.tally.received != 0 {
			t.Errorf("%+v: misdelivered %d, received %d", h, l.tally.misdelivered-before, l.tally.received)
		}
	}
}

// TestReceiveForAnother changes one digit of each place that names the
// receiver: no copy may count as received.
func TestReceiveForAnother(t *testing.T) {
	for name, at := range map[string]func(l *eventLoop, c *client, frame string) int{
		"id":       func(_ *eventLoop, c *client, frame string) int { return strings.LastIndex(frame, tail(c)) + 1 },
		"property": func(_ *eventLoop, _ *client, frame string) int { return len(frame) - 1 },
		"sender": func(l *eventLoop, _ *client, frame string) int {
			id := fmt.Sprint(l.trial.slots[0].sender.user.ID)
			return strings.Index(frame, id) + len(id) - 1
		},
	} {
		l, c, stream := heard(t, 1)
		_, size, _ := proto.NextFrame(stream, proto.FrameMax)
		frame := stream[:size]
		frame[at(l, c, string(frame))] ^= 1
		if reason := split(l, c, frame); reason != proto.ReasonNone {
			t.Fatalf("%s: %s", name, reason)
		}
		wrong := &l.tally.misdelivered
		if name == "sender" {
			wrong = &l.tally.wrongSender
		}
		if *wrong != 1 || l.tally.received != 0 || len(l.tally.examples.all()) != 1 {
			t.Errorf("%s: %+v", name, l.tally)
		}
	}
}

// TestReceiveOfAnother lets a client receive slot 5 only and sends it all 16.
func TestReceiveOfAnother(t *testing.T) {
	l, c, stream := heard(t, 1)
	c.privateSlot, c.next = 5, nil
	if reason := split(l, c, stream); reason != proto.ReasonNone {
		t.Fatal(reason)
	}
	if l.tally.received != 1 || l.tally.misdelivered != 15 {
		t.Errorf("received %d, misdelivered %d", l.tally.received, l.tally.misdelivered)
	}
}

// TestReceiveBadBytes ends the connection at bytes that are no frame.
func TestReceiveBadBytes(t *testing.T) {
	for _, data := range []string{"\xff\xff\xff\xff\xff", "\x80\x80\x05", "\x02\x0a\x05"} {
		l, c, _ := heard(t, 1)
		if reason := split(l, c, []byte(data)); reason == proto.ReasonNone {
			t.Errorf("%q was taken", data)
		}
		l, c, _ = heard(t, 1)
		reason := proto.ReasonNone
		for i := 0; i < len(data) && reason == proto.ReasonNone; i++ {
			reason = split(l, c, []byte{data[i]})
		}
		if reason == proto.ReasonNone {
			t.Errorf("%q was taken byte by byte", data)
		}
	}
}

// TestReceiveAllocates walks whole reads, and reads that end within a frame.
func TestReceiveAllocates(t *testing.T) {
	l, c, stream := heard(t, 1)
	half := len(stream)/2 + 5
	split(l, c, stream[:half])
	split(l, c, stream[half:])
	pong := []byte(proto.Pong)
	n := testing.AllocsPerRun(100, func() {
		c.forget()
		split(l, c, stream[:half])
		split(l, c, stream[half:])
		split(l, c, pong)
	})
	if n != 0 {
		t.Errorf("a read allocates %v times, want 0", n)
	}
	if l.tally.misdelivered+l.tally.doubled != 0 {
		t.Errorf("%+v", l.tally)
	}
}

// TestGapsBound fills the memory of missing sequences to its bound and one
// past it.
func TestGapsBound(t *testing.T) {
	y := newTally(0)
	for sequence := range uint32(gapsMax) {
		y.addGap(gap{1, 2, sequence}, false)
	}
	if len(y.gaps) != gapsMax || y.beyond != 0 {
		t.Fatalf("%d gaps, %d beyond", len(y.gaps), y.beyond)
	}
	y.addGap(gap{1, 3, 7}, false)
	y.addGap(gap{1, 3, 8}, true)
	if len(y.gaps) != gapsMax || y.beyond != 1 || y.beyondFailed != 1 {
		t.Errorf("%d gaps, %d beyond, want %d and 1", len(y.gaps), y.beyond, gapsMax)
	}
	if !y.found(1, 2, 5) || y.found(1, 2, 5) || y.found(1, 3, 7) {
		t.Error("a missing sequence is found once, and none beyond the bound")
	}
}

// BenchmarkReceive is a read of 16 deliveries, one from each slot, and
// BenchmarkText is the part of it that all systems have alike, the check of a
// text: ns per delivery. BenchmarkParse of package peer is the other part, of
// other systems.
func BenchmarkReceive(b *testing.B) {
	l, c, stream := heard(b, 1)
	b.ReportAllocs()
	for i := 0; i < b.N; i += 16 {
		c.forget()
		l.arrival = l.clock.now()
		if reason := split(l, c, stream); reason != proto.ReasonNone {
			b.Fatal(reason)
		}
	}
}

// BenchmarkText: see BenchmarkReceive.
func BenchmarkText(b *testing.B) {
	l, c, _ := heard(b, 1)
	texts := make([][]byte, len(l.trial.slots))
	for i := range texts {
		texts[i] = text(uint32(i), 0)
	}
	l.inbox.client = c
	b.ReportAllocs()
	for i := 0; i < b.N; i += 16 {
		c.forget()
		l.arrival = l.clock.now()
		for _, text := range texts {
			l.inbox.Text(text)
		}
	}
	if l.tally.corrupt+l.tally.misdelivered > 0 {
		b.Errorf("%+v", l.tally)
	}
}

// TestMeasuredTime goes to the edges of the measured time and one past them,
// with arrivals and with due times.
func TestMeasuredTime(t *testing.T) {
	const start, end = 1000, 2000
	for _, c := range []struct {
		arrival, due        int64
		deliveries, latency int
	}{
		{start - 1, start - 1, 0, 0},
		{start, start - 1, 1, 0},
		{start, start, 1, 1},
		{end - 1, end - 1, 1, 1},
		{end, end - 1, 0, 1},
		{end, end, 0, 0},
	} {
		l, _, _ := heard(t, 1)
		l.trial.start, l.trial.end, l.arrival = start, end, c.arrival
		l.measure(&slot{}, stamp{due: c.due})
		if l.tally.received != 1 || l.tally.deliveries != c.deliveries || int(l.tally.latency.TotalCount()) != c.latency {
			t.Errorf("%+v: received %d, deliveries %d, latencies %d",
				c, l.tally.received, l.tally.deliveries, l.tally.latency.TotalCount())
		}
	}
}

// TestService leaves out of the service time what made a send late; a window
// needs no second count.
func TestService(t *testing.T) {
	for window, want := range map[int]int64{0: 1, 1: 0} {
		l, _, _ := heard(t, 1)
		l.trial.window, l.arrival = window, 10_000
		l.measure(&slot{}, stamp{due: 2000, late: 3000 / lateUnit})
		service := l.tally.service
		if l.tally.latency.Max() < 8000 || service.TotalCount() != want || want == 1 && (service.Max() < 4990 || service.Max() > 5020) {
			t.Errorf("window %d: latency %d, %d service times up to %d", window, l.tally.latency.Max(), service.TotalCount(), service.Max())
		}
	}
}

// TestDifference has the counts since the earlier reading, and nothing from before.
func TestDifference(t *testing.T) {
	before, now := newHistogram(), newHistogram()
	for _, ns := range []int64{1000, 2000, 1 << 30} {
		record(before, ns)
		record(now, ns)
	}
	record(now, 5000)
	d := difference(now, before)
	if d.TotalCount() != 1 || d.Max() < 5000 || d.Max() > 5010 || before.TotalCount() != 3 {
		t.Errorf("%d values up to %d", d.TotalCount(), d.Max())
	}
}
