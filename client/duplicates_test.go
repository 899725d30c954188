package client

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"

	"cim/proto"
)

// TestDuplicates: texts that arrive twice are passed once: in one frame, in another, in a stored
// one, and over another connection. Texts without an id are all passed. The log mentions a
// duplicate without its text.
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
