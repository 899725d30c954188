package redis

import (
	"errors"
	"testing"
	"time"

	"cim/proto"
	"cim/store"
)

// TestForeignPlace lets texts become foreign ones in a box, behind what it has: the
// place is noted, and what comes behind theirs is kept in the box.
func TestForeignPlace(t *testing.T) {
	s := single(t)
	ann := registered(t, s, "ann")
	text := func(id proto.TextID) []store.Returned {
		return []store.Returned{{Sender: ann, ID: id, Text: "text"}}
	}
	read := func() Box {
		t.Helper()
		box, _, err := s.ReadBox(t.Context(), ann.ID, 0)
		if err != nil {
			t.Fatal(err)
		}
		return box
	}
	keep := func(f Foreign, id proto.TextID, want bool) {
		t.Helper()
		if foreign, err := s.KeepForeign(t.Context(), ann.ID, f, text(id)); err != nil || foreign != want {
			t.Errorf("text %d becomes foreign: %t, %v; want %t", id, foreign, err, want)
		}
	}
	if err := s.AppendTexts(t.Context(), ann.ID, text(1)); err != nil {
		t.Fatal(err)
	}
	if box := read(); box.Noted || len(box.Texts) != 1 || box.Front >= box.Texts[0].Serial {
		t.Errorf("before: %+v", box)
	}
	keep(Foreign{Max: 2}, 1, false) // the box has it
	keep(Foreign{Max: 2}, 2, true)
	keep(Foreign{Texts: 1, Max: 2}, 3, true)
	keep(Foreign{Texts: 2, Max: 2}, 4, false) // too many
	if box := read(); !box.Noted || len(box.Texts) != 2 || box.Front < box.Texts[0].Serial || box.Front >= box.Texts[1].Serial {
		t.Errorf("the place is not between the two texts of ours: %+v", box)
	}
	keep(Foreign{Texts: 2, Max: 9}, 5, false) // behind one of ours
	keep(Foreign{Max: 9}, 6, true)            // they have gone
	if box := read(); len(box.Texts) != 3 || box.Front < box.Texts[2].Serial {
		t.Errorf("they do not stand behind all of ours: %+v", box)
	}
}

// TestForeignBounds counts foreign texts among those of a box and of a sender.
func TestForeignBounds(t *testing.T) {
	s := single(t)
	ann := registered(t, s, "ann")
	one := []store.Returned{{Sender: ann, ID: 1, Text: "text"}}
	full := Foreign{Texts: store.BoxMaxMessages, Max: 2 * store.BoxMaxMessages}
	if foreign, err := s.KeepForeign(t.Context(), ann.ID, full, one); foreign || !errors.Is(err, store.ErrBoxFull) || errors.Is(err, store.ErrShareFull) {
		t.Errorf("a full box: %t, %v", foreign, err)
	}
	share := store.TextsOf(ann, 1, 0, make([]string, store.ShareMaxMessages))
	if foreign, err := s.KeepForeign(t.Context(), ann.ID, Foreign{Max: store.BoxMaxMessages}, share); !foreign || err != nil {
		t.Fatalf("a share: %t, %v", foreign, err)
	}
	there := Foreign{Texts: store.ShareMaxMessages, Max: store.BoxMaxMessages}
	more := []store.Returned{{Sender: ann, ID: 5000, Text: "text"}}
	if foreign, err := s.KeepForeign(t.Context(), ann.ID, there, more); foreign || !errors.Is(err, store.ErrShareFull) {
		t.Errorf("past the share: %t, %v", foreign, err)
	}
}

// TestNotedWhileReleased notes a foreign text between the two steps of a release:
// the lease is not given back, and neither over a text that was counted.
func TestNotedWhileReleased(t *testing.T) {
	s := single(t)
	ann := registered(t, s, "ann")
	lease, err := s.Acquire(t.Context(), ann.ID, time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	noted := func() int64 {
		t.Helper()
		_, answers, err := s.ReadBox(t.Context(), ann.ID, 0, NotedForeign(ann.ID))
		if err != nil {
			t.Fatal(err)
		}
		n, err := answers[0].Number()
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	before := noted()
	if err := s.NoteForeign(t.Context(), ann.ID); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		noted    int64
		left     int
		released bool
	}{{before, 0, false}, {noted(), 1, false}, {noted(), 0, true}} {
		if released, err := s.ReleaseCounted(t.Context(), ann.ID, lease, 0, c.noted, c.left); released != c.released || err != nil {
			t.Errorf("%+v: released %t, %v", c, released, err)
		}
	}
}

// TestTripUnknown sends scripts that the Redis does not know, or no more: each is run,
// and what reads behind a page is sent again behind it.
func TestTripUnknown(t *testing.T) {
	d := own(t)
	s := opened(t, Config{URLs: []string{"redis://" + d.Addr}})
	ann := registered(t, s, "ann")
	set := NewScript(`return {redis.call('SET', KEYS[1], ARGV[1])['ok'], ARGV[1]}`)
	if err := s.Append(t.Context(), ann.ID, ann, 1, 0, []string{"text"}); err != nil {
		t.Fatal(err)
	}
	for i := range 2 {
		answers, err := s.Trip(t.Context(), "try", ann.ID, true, set.On("a", "1"), Command{Name: "STRLEN", Key: "none"}, set.On("b", "2"))
		if err != nil || len(answers) != 3 {
			t.Fatal(len(answers), err)
		}
		for n, want := range map[int]string{0: "1", 2: "2"} {
			if texts, err := answers[n].Texts(); err != nil || len(texts) != 2 || texts[1] != want {
				t.Errorf("turn %d, answer %d: %q, %v", i, n, texts, err)
			}
		}
		if n, err := answers[1].Number(); n != 0 || err != nil {
			t.Errorf("turn %d: %d, %v", i, n, err)
		}
		said(t, d.Addr, "SCRIPT", "FLUSH")
		box, then, err := s.ReadBox(t.Context(), ann.ID, 0, Command{Name: "INCR", Key: "sent"})
		if err != nil || len(box.Texts) != 1 || len(then) != 1 {
			t.Fatalf("turn %d: %+v, %d answers behind it, %v", i, box, len(then), err)
		}
		if n, err := then[0].Number(); n != int64(2*i+2) || err != nil {
			t.Errorf("turn %d: sent %d times by now, %v; want it again behind the page", i, n, err)
		}
	}
}
