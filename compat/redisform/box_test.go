package redisform

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"cim/proto"
	"cim/store"
	"cim/store/redis"
)

// TestRemoveShownElsewhere removes texts of the original by their keys through a
// Store that has not shown them, and after the lease was given back.
func TestRemoveShownElsewhere(t *testing.T) {
	b := newBoxTest(t)
	other := opened(t, at(shared))
	text := func(text string) string {
		return `"{\"content\":\"` + text + `\",\"properties\":{\"sendUserId\":\"9\",\"sendUserName\":\"bob\"}}"`
	}
	written(t, b.user, "1", text("string"))
	writtenHash(t, b.user, "2", plainHash("2", "hash")...)
	written(t, b.user, "-3", text("negative"))
	written(t, b.user, "no-number", text("odd id"))
	written(t, b.user, "5", text("stays"))
	if err := b.store.Append(t.Context(), b.user.ID, proto.User{ID: 9, Name: "bob"}, 6, 0, []string{"ours"}); err != nil {
		t.Fatal(err)
	}
	page, err := b.store.Page(t.Context(), b.user.ID, 0)
	if err != nil || len(page) != 6 {
		t.Fatalf("Page: %+v, %v", page, err)
	}
	var keys, others []store.TextKey
	for _, message := range page {
		if message.Text != "stays" {
			keys = append(keys, store.TextKey{Sender: message.Sender.ID, ID: message.ID})
			others = append(others, store.TextKey{Sender: message.Sender.ID + 1, ID: message.ID})
		}
	}
	for _, s := range []*Store{b.store, other} {
		if err := s.Remove(t.Context(), b.user.ID, others); err != nil {
			t.Fatal(err)
		}
	}
	b.wantTexts("string", "hash", "negative", "odd id", "stays", "ours")
	if err := other.Remove(t.Context(), b.user.ID, keys[:3]); err != nil {
		t.Fatal(err)
	}
	b.wantTexts("odd id", "stays", "ours")
	if err := b.store.Abandon(t.Context(), b.user.ID, 1); err != nil {
		t.Fatal(err)
	}
	if err := b.store.Remove(t.Context(), b.user.ID, keys[3:]); err != nil {
		t.Fatal(err)
	}
	b.wantTexts("stays")
	b.empty()
}

// TestReleaseReadOriginal gives a lease back when all texts of the original were
// shown up to a serial, and not before.
func TestReleaseReadOriginal(t *testing.T) {
	b := newBoxTest(t)
	written(t, b.user, "1", `"{\"content\":\"1\"}"`)
	written(t, b.user, "2", `"{\"content\":\"2\"}"`)
	lease, err := b.store.Acquire(t.Context(), b.user.ID, time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	page, err := b.store.Page(t.Context(), b.user.ID, 0)
	if err != nil || len(page) != 2 {
		t.Fatalf("Page: %+v, %v", page, err)
	}
	written(t, b.user, "3", `"{\"content\":\"3\"}"`)
	if released, err := b.store.ReleaseIfEmpty(t.Context(), b.user.ID, lease, page[1].Serial); released || err != nil {
		t.Errorf("released over a text that was not shown: %t, %v", released, err)
	}
	page, err = b.store.Page(t.Context(), b.user.ID, page[1].Serial)
	if err != nil || len(page) != 1 {
		t.Fatalf("Page: %+v, %v", page, err)
	}
	if released, err := b.store.ReleaseIfEmpty(t.Context(), b.user.ID, lease, page[0].Serial-1); released || err != nil {
		t.Errorf("released in front of a text: %t, %v", released, err)
	}
	if released, err := b.store.ReleaseIfEmpty(t.Context(), b.user.ID, lease, page[0].Serial); !released || err != nil {
		t.Errorf("not released when all was shown: %t, %v", released, err)
	}
}

// TestAppendOriginalAgain stores a text in the original's form that is there, in
// whole and in part: it is kept once. Another sender's of the same id is another.
func TestAppendOriginalAgain(t *testing.T) {
	for _, form := range []Form{FormString, FormHash} {
		said(t, shared.Addr, "FLUSHALL")
		s := opened(t, Config{Redis: redis.Config{URLs: []string{"redis://" + shared.Addr}}, Form: form})
		b := boxTest{t, s, registered(t, s, "ann")}
		bob, eve := proto.User{ID: 9, Name: "bob"}, proto.User{ID: 8, Name: "eve"}
		add := func(sender proto.User, id proto.TextID, texts ...string) {
			t.Helper()
			if err := s.AppendOriginal(t.Context(), b.user.ID, sender, id, 0, texts); err != nil {
				t.Fatal(err)
			}
		}
		for range 2 {
			add(bob, 1<<63, "1", "2")
			add(bob, 1<<63+1, "2")
		}
		b.wantTexts("1", "2")
		add(bob, 1<<63+1, "2", "3")
		b.wantTexts("1", "2", "3")
		add(eve, 1<<63, "eve's")
		b.wantTexts("1", "2", "3", "eve's")
		b.empty()
		add(bob, 5, "5")
		add(eve, 5, "5 by eve")
		b.wantTexts("5", "5 by eve")
		b.empty()
	}
}

// TestFormShare refuses the texts of one sender in the original's form past its
// share, counts anew once the list was empty, and keeps what is beyond keptMax in
// our form.
func TestFormShare(t *testing.T) {
	b := newBoxTest(t)
	bob, eve := proto.User{ID: 9, Name: "bob"}, proto.User{ID: 8, Name: "eve"}
	add := func(sender proto.User, n int) error {
		return b.store.AppendOriginal(t.Context(), b.user.ID, sender, 0, 0, make([]string, n))
	}
	for range 2 {
		if err := errors.Join(add(eve, store.ShareMaxMessages-2), add(bob, 1), add(eve, 1), add(bob, 1), add(eve, 1)); err != nil {
			t.Fatal(err)
		}
		if err := add(eve, 1); !errors.Is(err, store.ErrShareFull) {
			t.Errorf("one past the share: %v", err)
		}
		b.wantSaid(fmt.Sprintf(":%d\r\n", keptMax), "LLEN", listKey(b.user.ID))
		b.empty()
	}
}
