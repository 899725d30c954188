package client

import (
	"bytes"
	"log/slog"
	"maps"
	"math/rand/v2"
	"strings"
	"testing"

	"cim/proto"
)

// TestWindow remembers windowMax texts of a sender and not one more, and holds no
// more memory than that on its way there.
func TestWindow(t *testing.T) {
	var a arrivals
	again := func(id proto.TextID) bool { return a.again(9, id) }
	if again(1) || !again(1) || cap(a.window(9).ids) > 4 {
		t.Fatalf("the first text: %+v", a.window(9))
	}
	for id := proto.TextID(2); id <= windowMax; id++ {
		if again(id) {
			t.Fatalf("text %d is new", id)
		}
	}
	if !again(1) || !again(windowMax) {
		t.Error("a text of the last ones is not remembered")
	}
	if again(windowMax + 1) {
		t.Error("one more is new")
	}
	if !again(2) || again(1) {
		t.Error("one more takes the place of the oldest, and of no other")
	}
	if again(2) || !again(4) {
		t.Error("the next takes the place of the next")
	}
	if w := a.window(9); cap(w.ids) != windowMax || a.texts != windowMax {
		t.Errorf("room for %d texts and %d counted, want %d", cap(w.ids), a.texts, windowMax)
	}
}

// TestWindowOfEach: an id that one sender has used says nothing about a text of
// another, or a stranger who guesses ids could suppress it.
func TestWindowOfEach(t *testing.T) {
	var a arrivals
	for sender := range proto.UserID(100) {
		if a.again(sender, 1) {
			t.Fatalf("text 1 of sender %d counts as another's", sender)
		}
	}
}

// TestWindowsBound remembers a full box of one sender while others fill what is
// left, and forgets the sender who has been silent for the longest.
func TestWindowsBound(t *testing.T) {
	const box, old, others = 1000, 1, 1000
	var a arrivals
	for id := range proto.TextID(box) {
		a.again(old, id+1)
	}
	for i := range windowsMax - box {
		a.again(proto.UserID(10+i%others), proto.TextID(i+1))
	}
	for id := range proto.TextID(box) {
		if !a.again(old, id+1) {
			t.Fatalf("text %d of %d is forgotten", id+1, box)
		}
	}
	oldest := a.order.Back().Value.(*window)
	kept := len(oldest.ids)
	a.again(5, 1)
	if _, known := a.windows[oldest.sender]; known || a.texts != windowsMax+1-kept {
		t.Errorf("behind one more %d texts, and the oldest sender is known: %t", a.texts, known)
	}
	if !a.again(old, 1) {
		t.Error("another sender is forgotten")
	}
}

// FuzzArrivals compares the windows with lists of all that ever arrived: what
// is among the last windowMax of a sender is known, unless its sender was
// forgotten, and what never came is not.
func FuzzArrivals(f *testing.F) {
	f.Add(uint64(1), uint8(1), uint16(10))
	f.Add(uint64(2), uint8(3), uint16(5000))
	f.Add(uint64(3), uint8(200), uint16(40000))
	f.Fuzz(func(t *testing.T, seed uint64, senders uint8, texts uint16) {
		random := rand.New(rand.NewPCG(seed, 1))
		var a arrivals
		type key struct {
			sender proto.UserID
			id     proto.TextID
		}
		came := map[key]int{} // which one of its sender's
		counts := map[proto.UserID]int{}
		for range texts {
			k := key{proto.UserID(random.IntN(int(senders) + 1)), proto.TextID(random.IntN(3*windowMax) + 1)}
			_, kept := a.windows[k.sender]
			if !kept {
				counts[k.sender] = 0
				maps.DeleteFunc(came, func(other key, _ int) bool { return other.sender == k.sender })
			}
			at, has := came[k]
			known := has && counts[k.sender]-at <= windowMax
			if got := a.again(k.sender, k.id); got != known {
				t.Fatalf("text %d of %d: again %t, want %t", k.id, k.sender, got, known)
			}
			if !known {
				came[k] = counts[k.sender]
				counts[k.sender]++
			}
			if a.texts > windowsMax || len(a.windows) != a.order.Len() {
				t.Fatalf("%d texts of %d senders, %d in order", a.texts, len(a.windows), a.order.Len())
			}
		}
	})
}

// BenchmarkArrivals is one new text to a client that remembers all it may.
func BenchmarkArrivals(b *testing.B) {
	var a arrivals
	for i := range windowsMax {
		a.again(proto.UserID(i%8), proto.TextID(i+1))
	}
	next := proto.TextID(windowsMax)
	b.ReportAllocs()
	for b.Loop() {
		next++
		a.again(proto.UserID(next%8), next)
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
