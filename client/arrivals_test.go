package client

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"

	"cim/proto"
)

// TestArrivals remembers arrivalsMax texts and not one more, and holds no more
// memory than that on its way there.
func TestArrivals(t *testing.T) {
	var a arrivals
	if a.again(1) || !a.again(1) || cap(a.ids) > 16 {
		t.Fatalf("the first text: %+v", a)
	}
	for id := proto.TextID(2); id <= arrivalsMax; id++ {
		if a.again(id) {
			t.Fatalf("text %d is new", id)
		}
	}
	if !a.again(1) || !a.again(arrivalsMax) {
		t.Error("a text of the last ones is not remembered")
	}
	if a.again(arrivalsMax + 1) {
		t.Error("one more is new")
	}
	if !a.again(2) || a.again(1) {
		t.Error("one more takes the place of the oldest, and of no other")
	}
	if a.again(2) || !a.again(4) {
		t.Error("the next takes the place of the next")
	}
	if cap(a.ids) != arrivalsMax {
		t.Errorf("room for %d texts, want %d", cap(a.ids), arrivalsMax)
	}
}

// BenchmarkArrivals is one new text to a client that remembers all it may.
func BenchmarkArrivals(b *testing.B) {
	var a arrivals
	for id := range proto.TextID(arrivalsMax) {
		a.again(id + 1)
	}
	next := proto.TextID(arrivalsMax)
	b.ReportAllocs()
	for b.Loop() {
		next++
		a.again(next)
	}
}

// TestDuplicates brings texts that come twice once: in one frame, in another,
// in one that was stored, and over another connection. Texts without an id are
// all brought. The log tells of it without the text.
func TestDuplicates(t *testing.T) {
	f := newFake(t, ticketOne)
	config := f.config()
	var log bytes.Buffer // written by the client's goroutine, read after its end
	config.Log = slog.New(slog.NewTextHandler(&log, nil))
	seen := states(&config)
	got := make(chan Message, 100)
	config.OnMessage = func(m Message) { got <- m }
	c, p := f.logIn(config)
	bob := proto.User{ID: 9, Name: "bob"}
	write := func(command proto.Command, ids []proto.TextID, texts ...string) {
		m := proto.MessageFrom(command, bob, 0, texts)
		m.IDs = ids
		p.write(proto.AppendDelivery(nil, proto.AppendBody(nil, m), ann.ID))
	}
	want := func(texts ...string) {
		t.Helper()
		for _, text := range texts {
			if m := await(t, got); m.Text != text || m.Sender != bob {
				t.Fatalf("message %+v, want %q of bob", m, text)
			}
		}
	}
	write(proto.CommandMessage, []proto.TextID{40}, "one")
	write(proto.CommandMessage, []proto.TextID{40}, "secret")
	write(proto.CommandOffline, []proto.TextID{40, 41, 41, 42}, "secret", "two", "secret", "three")
	write(proto.CommandMessage, nil, "without")
	write(proto.CommandMessage, nil, "without")
	want("one", "two", "three", "without", "without")

	p.close()
	wantState(t, seen, StateReconnecting)
	p = f.takeLogin(proto.LoginAnswer{User: ann.ID, Heartbeat: 30})
	write(proto.CommandMessage, []proto.TextID{42}, "secret")
	write(proto.CommandMessage, []proto.TextID{43}, "four")
	want("four")
	if c.Duplicates() != 4 {
		t.Errorf("Duplicates() = %d, want 4", c.Duplicates())
	}
	shut(t, c)
	if told := log.String(); strings.Count(told, "second time") != 4 || !strings.Contains(told, "sender=9 text=42") {
		t.Errorf("the log says:\n%s", told)
	}
	if strings.Contains(log.String(), "secret") {
		t.Error("the log has a text")
	}
}
