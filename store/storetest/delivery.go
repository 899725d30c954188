package storetest

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"

	"cim/proto"
	"cim/store"
)

// appendID stores texts with ids, which must fit.
func (b *bench) appendID(receiver, sender proto.User, id proto.TextID, texts ...string) {
	b.t.Helper()
	if err := b.store.Append(b.ctx, receiver.ID, sender, id, 0, texts); err != nil {
		b.t.Fatalf("Append of %d texts from id %d on: %v", len(texts), id, err)
	}
}

// giveBack returns texts, which must fit.
func (b *bench) giveBack(user proto.User, texts ...store.Returned) {
	b.t.Helper()
	if err := b.store.Return(b.ctx, user.ID, texts); err != nil {
		b.t.Fatalf("Return of %d texts: %v", len(texts), err)
	}
}

// removeByID takes out the texts of a sender and id: not those of another
// sender, not those without an id, whatever serial the key has.
func removeByID(t *testing.T, b *bench) {
	ann, bob, eve := b.register("ann"), b.register("bob"), b.register("eve")
	b.appendID(ann, bob, 7, "bob 7", "bob 8", "bob 9")
	b.appendID(ann, eve, 7, "eve 7")
	b.appendID(ann, bob, ^proto.TextID(0), "bob, the largest")
	b.append(ann, bob, "bob, without")
	page := b.page(ann)
	for _, key := range []store.TextKey{
		{Sender: eve.ID, ID: 8},
		{Sender: bob.ID, ID: 6},
		{Sender: bob.ID, ID: 10},
		{Sender: ann.ID, ID: 7},
		{Sender: bob.ID, ID: ^proto.TextID(0) - 1},
		{Sender: eve.ID, ID: 9, Serial: page[0].Serial},
		{Sender: bob.ID},
	} {
		b.removeKeys(ann, key)
		if got := b.page(ann); !slices.Equal(got, page) {
			t.Fatalf("the key %+v removed something: %+v", key, got)
		}
	}
	b.removeKeys(ann, store.TextKey{Sender: bob.ID, ID: 8}, store.TextKey{Sender: bob.ID, ID: 8})
	b.wantTexts(ann, "bob 7", "bob 9", "eve 7", "bob, the largest", "bob, without")
	b.removeKeys(ann, store.TextKey{Sender: bob.ID, ID: 7, Serial: page[5].Serial})
	b.wantTexts(ann, "bob 9", "eve 7", "bob, the largest", "bob, without")
	b.removeKeys(ann, store.TextKey{Sender: bob.ID, ID: ^proto.TextID(0), Serial: 1}, store.TextKey{Sender: eve.ID, ID: 7})
	b.wantTexts(ann, "bob 9", "bob, without")
	b.removeKeys(ann, store.TextKey{Serial: page[2].Serial})
	b.wantTexts(ann, "bob, without")
	b.removeKeys(ann, store.TextKey{Sender: eve.ID, Serial: page[5].Serial})
	b.wantTexts(ann)
}

// removeAnywhere takes texts out in a random order: what is left stays in its
// order, with its serials, in any part that is read.
func removeAnywhere(t *testing.T, b *bench) {
	seed := rand.Uint64()
	random := rand.New(rand.NewPCG(seed, 0))
	for u := range 5 {
		ann := b.register(fmt.Sprint("ann", u))
		left := b.fill(ann, 60)
		for len(left) > 0 {
			for range min(1+random.IntN(8), len(left)) {
				i := random.IntN(len(left))
				b.remove(ann, left[i])
				left = slices.Delete(left, i, i+1)
			}
			if random.IntN(3) == 0 {
				late := fmt.Sprint("late ", len(left))
				b.append(ann, ann, late)
				page := b.page(ann)
				left = append(left, page[len(page)-1])
				if left[len(left)-1].Text != late {
					t.Fatalf("seed %d: the last text is %q, want %q", seed, left[len(left)-1].Text, late)
				}
			}
			after := uint64(0)
			if len(left) > 0 {
				after = left[random.IntN(len(left))].Serial
			}
			behind := slices.DeleteFunc(slices.Clone(left), func(m store.OfflineMessage) bool { return m.Serial <= after })
			if got := b.pageAfter(ann, after); !slices.Equal(got, behind) {
				t.Fatalf("seed %d: behind %d there are %d texts, want %d", seed, after, len(got), len(behind))
			}
			if got := b.page(ann); !slices.Equal(got, left) {
				t.Fatalf("seed %d: there are %d texts, want %d", seed, len(got), len(left))
			}
		}
	}
}

// fill appends n texts and returns them as they are stored.
func (b *bench) fill(user proto.User, n int) []store.OfflineMessage {
	b.t.Helper()
	for i := range n {
		id := proto.TextID(0)
		if i%2 == 1 {
			id = proto.TextID(1000 + i)
		}
		b.appendID(user, user, id, fmt.Sprint(i))
	}
	return b.page(user)
}

// appendAgain appends texts that the box has, in whole and in part: each is
// there once, where it was. Another's text of the same id is another text, and
// one without an id always is.
func appendAgain(t *testing.T, b *bench) {
	ann, bob, eve := b.register("ann"), b.register("bob"), b.register("eve")
	b.appendID(ann, bob, 7, "7", "8", "9")
	first := b.page(ann)
	for range 2 {
		b.appendID(ann, bob, 7, "7", "8", "9")
		b.appendID(ann, bob, 8, "8")
		if got := b.page(ann); !slices.Equal(got, first) {
			t.Fatalf("appended again: %+v", got)
		}
	}
	b.appendID(ann, bob, 9, "9", "10")
	b.appendID(ann, eve, 9, "eve's")
	b.appendID(bob, bob, 9, "to another")
	b.append(ann, bob, "none")
	b.append(ann, bob, "none")
	b.wantTexts(ann, "7", "8", "9", "10", "eve's", "none", "none")
	b.wantTexts(bob, "to another")
	b.remove(ann, first[1])
	b.appendID(ann, bob, 8, "8")
	b.wantTexts(ann, "7", "9", "10", "eve's", "none", "none", "8")
	b.clock.move(ttl)
	b.appendID(ann, bob, 7, "7")
	b.wantTexts(ann, "7")
}

// appendAgainFull appends texts that a full box has: they need no room.
func appendAgainFull(_ *testing.T, b *bench) {
	ann, bob := b.register("ann"), b.register("bob")
	senders := b.fillUp(ann, 0)
	again := b.page(ann)[5]
	b.appendID(ann, again.Sender, again.ID, again.Text)
	b.appendID(ann, senders[0], proto.TextID(senders[0].ID), texts(store.ShareMaxMessages, 1)...)
	b.wantShareFull(ann, again.Sender, "x")
	b.wantFull(ann, "x")
	b.remove(ann, again)
	b.append(ann, bob, "room again")
	b.wantFull(ann, "x")
	b.giveBack(ann, store.Returned{Sender: bob, ID: 5, Text: "past the bound"})
	b.appendID(ann, senders[0], proto.TextID(senders[0].ID), texts(store.ShareMaxMessages, 1)...)
	b.appendID(ann, bob, 5, "past the bound")
	b.append(ann, bob)
	b.wantFull(ann, "x")
}

// returnTexts puts texts of several senders behind what is there, in order,
// with all that they were.
func returnTexts(t *testing.T, b *bench) {
	ann, bob, eve := b.register("ann"), b.register("bob"), b.register("eve😀")
	b.giveBack(ann)
	b.appendID(ann, bob, 5, "first")
	b.giveBack(ann,
		store.Returned{Sender: bob, ID: 7, Sent: 12345, Text: "a"},
		store.Returned{Sender: eve, ID: ^proto.TextID(0), Text: ""},
		store.Returned{Sender: bob, Sent: 12346, Text: "naïve 😀\x00"})
	b.append(ann, eve, "last")
	got := b.wantTexts(ann, "first", "a", "", "naïve 😀\x00", "last")
	if m := got[1]; m.Sender != bob || m.ID != 7 || m.Sent != 12345 {
		t.Errorf("returned: %+v", m)
	}
	if m := got[2]; m.Sender != eve || m.ID != ^proto.TextID(0) || m.Sent != 0 {
		t.Errorf("returned: %+v", m)
	}
	if m := got[3]; m.Sender != bob || m.ID != 0 || m.Sent != 12346 {
		t.Errorf("returned: %+v", m)
	}
	for i, m := range got[1:] {
		if m.Serial <= got[i].Serial || m.Stored.Before(got[i].Stored) {
			t.Errorf("text %d has serial %d, stored %v, after %d, %v", i+1, m.Serial, m.Stored, got[i].Serial, got[i].Stored)
		}
	}
	b.removeKeys(ann, store.TextKey{Sender: bob.ID, ID: 7}, store.TextKey{Sender: eve.ID, ID: ^proto.TextID(0)})
	b.wantTexts(ann, "first", "naïve 😀\x00", "last")
}

// returnAgain returns what the box has, from an append, from a return, and from
// the same return: each text is there once, where it was.
func returnAgain(t *testing.T, b *bench) {
	ann, bob, eve := b.register("ann"), b.register("bob"), b.register("eve")
	b.appendID(ann, bob, 7, "7", "8")
	texts := []store.Returned{
		{Sender: bob, ID: 8, Text: "8"},
		{Sender: bob, ID: 9, Text: "9"},
		{Sender: eve, ID: 9, Text: "eve's"},
		{Sender: bob, ID: 9, Text: "9"},
	}
	b.giveBack(ann, texts...)
	first := b.wantTexts(ann, "7", "8", "9", "eve's")
	b.giveBack(ann, texts...)
	b.appendID(ann, bob, 9, "9")
	if got := b.page(ann); !slices.Equal(got, first) {
		t.Fatalf("returned again: %+v", got)
	}
	b.giveBack(ann, store.Returned{Sender: bob, Text: "none"}, store.Returned{Sender: bob, Text: "none"})
	b.wantTexts(ann, "7", "8", "9", "eve's", "none", "none")
}

// returnFull returns into a full box, to the end of the reserve in texts and in
// bytes, and one past it. What was returned counts for Append.
func returnFull(_ *testing.T, b *bench) {
	ann, bob, eve := b.register("ann"), b.register("bob"), b.register("eve")
	refused := func(user proto.User, texts ...store.Returned) {
		b.t.Helper()
		if err := b.store.Return(b.ctx, user.ID, texts); !errors.Is(err, store.ErrBoxFull) {
			b.t.Fatalf("Return of %d texts to a full reserve: %v", len(texts), err)
		}
	}
	b.fillUp(ann, 0)
	some := store.TextsOf(bob, 1, 0, texts(store.BoxMaxMessages-1, 1))
	b.giveBack(ann, some...)
	one, two := store.Returned{Sender: eve, ID: 5, Text: "1"}, store.Returned{Sender: eve, Text: "2"}
	refused(ann, one, two)
	b.giveBack(ann, one)
	refused(ann, two)
	b.giveBack(ann, some[3], one)
	b.wantFull(ann, "x")
	b.clock.move(ttl)
	b.giveBack(ann, some...)
	const each = proto.TextMax + store.TextOverhead
	const full = 2 * store.BoxMaxBytes / each
	for some := range slices.Chunk(store.TextsOf(eve, 1, 0, texts(full, proto.TextMax)), 32) {
		b.giveBack(bob, some...)
	}
	rest := texts(1, 2*store.BoxMaxBytes-full*each-store.TextOverhead)[0]
	refused(bob, store.Returned{Sender: bob, Text: rest + "x"})
	refused(bob, store.Returned{Sender: bob, Text: rest}, two)
	b.giveBack(bob, store.Returned{Sender: bob, Text: rest})
	refused(bob, two)
}

// twoRoutes lets two routes deliver side by side, as they do at the edge of a
// move: each appends and returns texts under ids that the other has, too, and
// removes what it has delivered by its keys. Each text comes at most once after
// its last removal, and none that was not removed is gone.
func twoRoutes(t *testing.T, b *bench) {
	const routes, ids, rounds = 2, 40, 60
	ann, bob := b.register("ann"), b.register("bob")
	var all sync.WaitGroup
	for r := range routes {
		random := rand.New(rand.NewPCG(uint64(r), 1))
		all.Go(func() {
			for range rounds {
				if err := deliverSome(b, random, ann, bob, ids); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	all.Wait()
	b.appendID(ann, bob, 1, texts(ids, 1)...)
	seen := map[proto.TextID]bool{}
	for _, message := range b.page(ann) {
		if seen[message.ID] {
			t.Errorf("the text %d is in the box twice", message.ID)
		}
		seen[message.ID] = true
	}
	if len(seen) != ids {
		t.Errorf("%d texts are in the box, want %d", len(seen), ids)
	}
	b.remove(ann, b.page(ann)...)
	b.wantTexts(ann)
}

// deliverSome does one random step of a route.
func deliverSome(b *bench, random *rand.Rand, receiver, sender proto.User, ids int) error {
	id := proto.TextID(1 + random.IntN(ids))
	switch random.IntN(3) {
	case 0:
		return b.store.Append(b.ctx, receiver.ID, sender, id, 0, texts(1+random.IntN(1+ids-int(id)), 1))
	case 1:
		return b.store.Return(b.ctx, receiver.ID, []store.Returned{{Sender: sender, ID: id, Text: "x"}, {Sender: sender, ID: 1, Text: "x"}})
	}
	page, err := b.store.Page(b.ctx, receiver.ID, 0)
	if err != nil || len(page) == 0 {
		return err
	}
	from := random.IntN(len(page))
	return b.store.Remove(b.ctx, receiver.ID, keysOf(page[from:from+1+random.IntN(len(page)-from)]))
}
