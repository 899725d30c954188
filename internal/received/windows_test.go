package received

import (
	"maps"
	"math/rand/v2"
	"testing"

	"cim/proto"
)

// TestWindow remembers WindowMax texts of a sender and not one more, and never
// holds more memory than that.
func TestWindow(t *testing.T) {
	var a Windows
	again := func(id proto.TextID) bool { return a.Again(9, id) }
	if again(1) || !again(1) || cap(a.window(9).ids) > 4 {
		t.Fatalf("the first text: %+v", a.window(9))
	}
	for id := proto.TextID(2); id <= WindowMax; id++ {
		if again(id) {
			t.Fatalf("text %d is new", id)
		}
	}
	if !again(1) || !again(WindowMax) {
		t.Error("a text of the last ones is not remembered")
	}
	if again(WindowMax + 1) {
		t.Error("one more is new")
	}
	if !again(2) || again(1) {
		t.Error("one more takes the place of the oldest, and of no other")
	}
	if again(2) || !again(4) {
		t.Error("the next takes the place of the next")
	}
	if w := a.window(9); cap(w.ids) != WindowMax || a.texts != WindowMax {
		t.Errorf("room for %d texts and %d counted, want %d", cap(w.ids), a.texts, WindowMax)
	}
}

// TestWindowOfEach: the id of a text is unique for its sender only, since otherwise
// a stranger who guesses ids could suppress texts of others.
func TestWindowOfEach(t *testing.T) {
	var a Windows
	for sender := range proto.UserID(100) {
		if a.Again(sender, 1) {
			t.Fatalf("text 1 of sender %d counts as another's", sender)
		}
	}
}

// TestWindowsBound remembers a full box of one sender while others fill the rest,
// and drops the sender that has been silent for the longest time.
func TestWindowsBound(t *testing.T) {
	const box, old, others = 1000, 1, 1000
	var a Windows
	for id := range proto.TextID(box) {
		a.Again(old, id+1)
	}
	for i := range WindowsMax - box {
		a.Again(proto.UserID(10+i%others), proto.TextID(i+1))
	}
	for id := range proto.TextID(box) {
		if !a.Again(old, id+1) {
			t.Fatalf("text %d of %d is forgotten", id+1, box)
		}
	}
	oldest := a.order.Back().Value.(*window)
	kept := len(oldest.ids)
	a.Again(5, 1)
	if _, known := a.windows[oldest.sender]; known || a.texts != WindowsMax+1-kept {
		t.Errorf("behind one more %d texts, and the oldest sender is known: %t", a.texts, known)
	}
	if !a.Again(old, 1) {
		t.Error("another sender is forgotten")
	}
}

// FuzzWindows compares the windows with lists of all that ever arrived: a text
// among the last WindowMax of a sender is known, unless its sender was dropped, and
// a text that never came is not.
func FuzzWindows(f *testing.F) {
	f.Add(uint64(1), uint8(1), uint16(10))
	f.Add(uint64(2), uint8(3), uint16(5000))
	f.Add(uint64(3), uint8(200), uint16(40000))
	f.Fuzz(func(t *testing.T, seed uint64, senders uint8, texts uint16) {
		random := rand.New(rand.NewPCG(seed, 1))
		var a Windows
		type key struct {
			sender proto.UserID
			id     proto.TextID
		}
		came := map[key]int{} // number of the text for its sender
		counts := map[proto.UserID]int{}
		for range texts {
			k := key{proto.UserID(random.IntN(int(senders) + 1)), proto.TextID(random.IntN(3*WindowMax) + 1)}
			_, kept := a.windows[k.sender]
			if !kept {
				counts[k.sender] = 0
				maps.DeleteFunc(came, func(other key, _ int) bool { return other.sender == k.sender })
			}
			at, has := came[k]
			known := has && counts[k.sender]-at <= WindowMax
			if got := a.Again(k.sender, k.id); got != known {
				t.Fatalf("text %d of %d: again %t, want %t", k.id, k.sender, got, known)
			}
			if !known {
				came[k] = counts[k.sender]
				counts[k.sender]++
			}
			if a.texts > WindowsMax || len(a.windows) != a.order.Len() {
				t.Fatalf("%d texts of %d senders, %d in order", a.texts, len(a.windows), a.order.Len())
			}
		}
	})
}

// BenchmarkWindows is one new text to a client that remembers as many as it may.
func BenchmarkWindows(b *testing.B) {
	var a Windows
	for i := range WindowsMax {
		a.Again(proto.UserID(i%8), proto.TextID(i+1))
	}
	next := proto.TextID(WindowsMax)
	b.ReportAllocs()
	for b.Loop() {
		next++
		a.Again(proto.UserID(next%8), next)
	}
}
