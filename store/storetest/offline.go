package storetest

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"cim/proto"
	"cim/store"
)

// texts returns n texts of size bytes each.
func texts(n, size int) []string { return slices.Repeat([]string{strings.Repeat("x", size)}, n) }

// wantFull checks that texts of a sender who has none in user's box do not fit,
// and that nothing of them was kept.
func (b *bench) wantFull(user proto.User, texts ...string) {
	b.t.Helper()
	err := b.store.Append(b.ctx, user.ID, b.register("latecomer"), 0, 0, texts)
	if !errors.Is(err, store.ErrBoxFull) || errors.Is(err, store.ErrShareFull) {
		b.t.Fatalf("Append of %d texts to a full box: %v", len(texts), err)
	}
}

// wantShareFull checks that texts of sender go past its share of user's box.
func (b *bench) wantShareFull(user, sender proto.User, texts ...string) {
	b.t.Helper()
	err := b.store.Append(b.ctx, user.ID, sender, 0, 0, texts)
	if !errors.Is(err, store.ErrShareFull) || !errors.Is(err, store.ErrBoxFull) {
		b.t.Fatalf("Append of %d texts past a share: %v", len(texts), err)
	}
}

// fillShare fills sender's share of user's box to its bound in texts, but for left
// of them.
func (b *bench) fillShare(user, sender proto.User, left int) {
	b.t.Helper()
	b.appendID(user, sender, proto.TextID(sender.ID), texts(store.ShareMaxMessages-left, 1)...)
}

// fillUp fills user's box to its bound in texts, but for left of the last share,
// and returns the senders.
func (b *bench) fillUp(user proto.User, left int) (senders []proto.User) {
	b.t.Helper()
	for i := range store.BoxMaxMessages / store.ShareMaxMessages {
		senders = append(senders, b.register(fmt.Sprint("filler", i)))
	}
	for _, sender := range senders[1:] {
		b.fillShare(user, sender, 0)
	}
	b.fillShare(user, senders[0], left)
	return senders
}

// appendOrder keeps the order, each text's sender, and each text as it was.
func appendOrder(t *testing.T, b *bench) {
	ann, bob, eve := b.register("ann"), b.register("bob"), b.register("eve😀")
	b.append(ann, bob, "1", "", "3\x00\n")
	b.append(ann, eve)
	b.clock.move(1500 * time.Microsecond)
	b.append(ann, eve, "naïve 😀", strings.Repeat("y", proto.TextMax))
	b.append(ann, ann, "6")
	want := []store.OfflineMessage{
		{Sender: bob, Text: "1"},
		{Sender: bob, Text: ""},
		{Sender: bob, Text: "3\x00\n"},
		{Sender: eve, Text: "naïve 😀"},
		{Sender: eve, Text: strings.Repeat("y", proto.TextMax)},
		{Sender: ann, Text: "6"},
	}
	got, last := b.page(ann), uint64(0)
	if len(got) != len(want) {
		t.Fatalf("%d texts, want %d", len(got), len(want))
	}
	for i, message := range got {
		if message.Sender != want[i].Sender || message.Text != want[i].Text {
			t.Errorf("text %d is %.20q by %v, want %.20q by %v", i, message.Text, message.Sender, want[i].Text, want[i].Sender)
		}
		if message.Serial <= last {
			t.Errorf("serial %d after %d", message.Serial, last)
		}
		last = message.Serial
	}
	if stored, now := got[5].Stored, b.clock.Now().Truncate(time.Millisecond); !stored.Equal(now) {
		t.Errorf("stored %v, want %v", stored, now)
	}
	if again := b.page(ann); len(again) != len(want) {
		t.Errorf("a page read again has %d texts, want %d", len(again), len(want))
	}
}

// textIDs keeps the id of each text, the largest too, and none as none.
func textIDs(t *testing.T, b *bench) {
	ann, bob := b.register("ann"), b.register("bob")
	last := ^proto.TextID(0)
	for _, id := range []proto.TextID{7, 0, last - 1} {
		if err := b.store.Append(b.ctx, ann.ID, bob, id, 0, []string{"a", "b"}); err != nil {
			t.Fatal(err)
		}
	}
	want := []proto.TextID{7, 8, 0, 0, last - 1, last}
	page := b.page(ann)
	if len(page) != len(want) {
		t.Fatalf("%d texts, want %d", len(page), len(want))
	}
	for i, message := range page {
		if message.ID != want[i] {
			t.Errorf("text %d has the id %d, want %d", i, message.ID, want[i])
		}
	}
}

// sentTimes keeps when each text was sent, apart from when it was stored, and an
// unknown time as the time of storing.
func sentTimes(t *testing.T, b *bench) {
	ann, bob := b.register("ann"), b.register("bob")
	now := proto.UnixMilli(b.clock.Now().UnixMilli())
	for _, at := range []proto.UnixMilli{now - 5001, 0, 1, now + 1} {
		if err := b.store.Append(b.ctx, ann.ID, bob, 0, at, []string{"a", "b"}); err != nil {
			t.Fatal(err)
		}
	}
	want := []proto.UnixMilli{now - 5001, now - 5001, now, now, 1, 1, now + 1, now + 1}
	page := b.page(ann)
	if len(page) != len(want) {
		t.Fatalf("%d texts, want %d", len(page), len(want))
	}
	for i, message := range page {
		if message.SentAt() != want[i] || message.Sender != bob || message.Text != []string{"a", "b"}[i%2] {
			t.Errorf("text %d is %+v, sent at %d, want %d", i, message, message.SentAt(), want[i])
		}
		if !message.Stored.Equal(b.clock.Now().Truncate(time.Millisecond)) {
			t.Errorf("text %d was stored at %v: the time of sending moves its end", i, message.Stored)
		}
	}
}

// appendConcurrently lets senders append to one box: all is there, the texts
// of one append side by side, each sender's in its order.
func appendConcurrently(t *testing.T, b *bench) {
	const senders, appends = 8, 10
	ann := b.register("ann")
	var all sync.WaitGroup
	for s := range senders {
		sender := b.register(fmt.Sprint("sender", s))
		all.Go(func() {
			for i := range appends {
				pair := []string{fmt.Sprint(2 * i), fmt.Sprint(2*i + 1)}
				if err := b.store.Append(b.ctx, ann.ID, sender, 0, 0, pair); err != nil {
					t.Errorf("Append: %v", err)
				}
			}
		})
	}
	all.Wait()
	next := make(map[proto.UserID]int)
	got := b.drain(ann)
	for i, message := range got {
		if message.Text != fmt.Sprint(next[message.Sender.ID]) {
			t.Fatalf("text %d of %s is %q, want %d", i, message.Sender.Name, message.Text, next[message.Sender.ID])
		}
		next[message.Sender.ID]++
		if i%2 == 1 && got[i-1].Sender != message.Sender {
			t.Fatalf("texts %d and %d are of one append, but by %v and %v", i-1, i, got[i-1].Sender, message.Sender)
		}
	}
	if len(got) != senders*appends*2 {
		t.Errorf("%d texts, want %d", len(got), senders*appends*2)
	}
}

// boxCount fills a box to its bound in texts, and one past it, by as many senders
// as it takes.
func boxCount(t *testing.T, b *bench) {
	ann, bob := b.register("ann"), b.register("bob")
	senders := b.fillUp(ann, 1)
	b.wantFull(ann, "1", "2")
	b.append(ann, bob, "fits")
	b.wantFull(ann, "past")
	b.append(ann, bob)
	b.append(bob, ann, "another's box has room")
	first := b.page(ann)[0]
	b.remove(ann, first)
	b.append(ann, senders[0], "room again")
	b.wantFull(ann, "past")
	got := b.drain(ann)
	if len(got) != store.BoxMaxMessages {
		t.Fatalf("%d texts, want %d", len(got), store.BoxMaxMessages)
	}
	if tail := got[len(got)-2:]; tail[0].Text != "fits" || tail[1].Text != "room again" {
		t.Errorf("the last texts are %q and %q", tail[0].Text, tail[1].Text)
	}
	b.append(ann, bob, texts(store.ShareMaxMessages, 0)...)
}

// share fills one sender's share to its bound in texts, and one past it: others'
// texts fit. What goes makes room in the share.
func share(_ *testing.T, b *bench) {
	ann, bob, eve := b.register("ann"), b.register("bob"), b.register("eve")
	b.append(ann, eve, texts(store.ShareMaxMessages-2, 0)...)
	b.wantShareFull(ann, eve, "1", "2", "3")
	b.append(ann, eve, "fits")
	b.appendID(ann, eve, 7, "fits")
	b.wantShareFull(ann, eve, "")
	b.wantShareFull(ann, eve, texts(store.ShareMaxMessages+1, 0)...)
	b.append(ann, eve)
	b.appendID(ann, eve, 7, "it is there")
	b.append(bob, eve, "another's box")
	b.append(ann, bob, "another's text")
	b.removeKeys(ann, store.TextKey{Sender: eve.ID, ID: 7}, b.page(ann)[0].Key())
	b.append(ann, eve, "room", "again")
	b.wantShareFull(ann, eve, "")
	b.giveBack(ann, store.Returned{Sender: eve, ID: 9, Text: "comes back"})
	b.wantShareFull(ann, eve, "")
	b.clock.move(ttl)
	b.append(ann, eve, texts(store.ShareMaxMessages, proto.TextMax/8)...)
	b.wantShareFull(ann, eve, "")
}

// boxBytes fills shares and a box to their bounds in bytes, and one past them.
func boxBytes(t *testing.T, b *bench) {
	const each = proto.TextMax + store.TextOverhead
	const full = store.ShareMaxBytes / each
	const rest = store.ShareMaxBytes - full*each - store.TextOverhead
	ann := b.register("ann")
	count := 0
	for i := range store.BoxMaxBytes / store.ShareMaxBytes {
		sender := b.register(fmt.Sprint("sender", i))
		b.appendLong(ann, sender, full)
		b.wantShareFull(ann, sender, strings.Repeat("x", rest+1))
		b.append(ann, sender, strings.Repeat("x", rest))
		b.wantShareFull(ann, sender, "")
		count += full + 1
	}
	b.wantFull(ann, "")
	first := b.page(ann)[0]
	b.remove(ann, first)
	b.wantFull(ann, strings.Repeat("x", proto.TextMax+1))
	b.append(ann, b.register("latecomer"), strings.Repeat("x", proto.TextMax))
	b.wantFull(ann, "")
	if got := len(b.drain(ann)); got != count {
		t.Errorf("%d texts, want %d", got, count)
	}
	b.appendLong(ann, ann, 4<<20/proto.TextMax)
	b.append(ann, ann, texts(store.ShareMaxMessages-4<<20/proto.TextMax, 0)...)
}

// appendLong stores n texts of the largest size, a few at a time, as a request has
// them.
func (b *bench) appendLong(user, sender proto.User, n int) {
	b.t.Helper()
	for some := range slices.Chunk(texts(n, proto.TextMax), 32) {
		b.append(user, sender, some...)
	}
}

// boxesApart has serials of two users in turn, and removes one user's.
func boxesApart(t *testing.T, b *bench) {
	ann, bob := b.register("ann"), b.register("bob")
	for range 3 {
		b.append(ann, bob, "to ann")
		b.append(bob, ann, "to bob")
	}
	if page := b.page(ann); len(page) != 3 {
		t.Errorf("ann has %d texts, want 3", len(page))
	}
	b.remove(ann, b.page(ann)...)
	if page := b.page(ann); len(page) != 0 {
		t.Errorf("ann has %d texts, want none", len(page))
	}
	page := b.page(bob)
	if len(page) != 3 {
		t.Fatalf("bob has %d texts, want 3", len(page))
	}
	for _, message := range page {
		if message.Text != "to bob" || message.Sender != ann {
			t.Errorf("bob has %q by %v", message.Text, message.Sender)
		}
	}
}

// pageCount reads a box of one text more than a page takes.
func pageCount(t *testing.T, b *bench) {
	ann := b.register("ann")
	if page := b.page(ann); len(page) != 0 {
		t.Errorf("a page of an empty box has %d texts", len(page))
	}
	b.append(ann, ann, texts(store.PageMax, 1)...)
	if page := b.page(ann); len(page) != store.PageMax {
		t.Errorf("a page has %d texts, want %d", len(page), store.PageMax)
	}
	b.append(ann, ann, "one past")
	page := b.page(ann)
	if len(page) != store.PageMax {
		t.Fatalf("a page has %d texts, want %d", len(page), store.PageMax)
	}
	b.remove(ann, page...)
	if page := b.page(ann); len(page) != 1 || page[0].Text != "one past" {
		t.Errorf("the next page has %d texts, want one", len(page))
	}
}

// pageBytes reads pages at their bound in bytes, one past it, and one whose
// first text is larger than a page.
func pageBytes(t *testing.T, b *bench) {
	const half = store.PageMaxBytes / 2
	for i, test := range []struct {
		sizes []int
		want  int
	}{
		{[]int{half, half}, 2},
		{[]int{half, half, 0, 1}, 3},
		{[]int{half, half + 1}, 1},
		{[]int{store.PageMaxBytes + 1, 0}, 1},
	} {
		user := b.register(fmt.Sprint("user", i))
		for _, size := range test.sizes {
			b.append(user, user, strings.Repeat("x", size))
		}
		if page := b.page(user); len(page) != test.want {
			t.Errorf("texts of %v bytes: a page has %d, want %d", test.sizes, len(page), test.want)
		}
	}
}

// pageAfter reads behind a serial: at, beside and beyond the edges of a box.
// Another box grows with it, whose serials may lie between.
func pageAfter(t *testing.T, b *bench) {
	ann, bob := b.register("ann"), b.register("bob")
	if page := b.pageAfter(ann, 5); len(page) != 0 {
		t.Errorf("an empty box has %d texts after 5", len(page))
	}
	for i := range store.PageMax + 2 {
		b.append(ann, ann, fmt.Sprint(i))
		b.append(bob, bob, "between")
	}
	first := b.page(ann)
	last := first[len(first)-1].Serial
	rest := b.pageAfter(ann, last)
	if len(rest) != 2 || rest[0].Text != fmt.Sprint(store.PageMax) || rest[1].Serial <= rest[0].Serial {
		t.Fatalf("after the first page: %+v", rest)
	}
	end := rest[1].Serial
	all := append(slices.Clone(first), rest...)
	for _, after := range []uint64{first[0].Serial - 1, first[0].Serial, last - 1, last, last + 1, end - 1, end, end + 1, ^uint64(0)} {
		behind := slices.DeleteFunc(slices.Clone(all), func(m store.OfflineMessage) bool { return m.Serial <= after })
		want := behind[:min(len(behind), store.PageMax)]
		if got := b.pageAfter(ann, after); !slices.Equal(got, want) {
			t.Errorf("after %d: %d texts, want %d of them in order", after, len(got), len(want))
		}
	}
	b.remove(ann, first...)
	for _, after := range []uint64{0, first[0].Serial, last} {
		if got := b.pageAfter(ann, after); !slices.Equal(got, rest) {
			t.Errorf("after %d, with the first page removed: %+v", after, got)
		}
	}
	b.append(ann, ann, "late")
	if got := b.pageAfter(ann, end); len(got) != 1 || got[0].Text != "late" {
		t.Errorf("after the end, with a text more: %+v", got)
	}
}

// remove takes texts out by their serials, and nothing else.
func remove(t *testing.T, b *bench) {
	ann := b.register("ann")
	b.removeKeys(ann, store.TextKey{Serial: 5})
	b.append(ann, ann, "1", "2", "3", "4")
	page := b.page(ann)
	b.removeKeys(ann)
	b.removeKeys(ann, store.TextKey{}, store.TextKey{Serial: page[0].Serial - 1}, store.TextKey{Serial: page[3].Serial + 1}, store.TextKey{Serial: ^uint64(0)})
	b.wantTexts(ann, "1", "2", "3", "4")
	for range 2 {
		b.remove(ann, page[:2]...)
		if got := b.wantTexts(ann, "3", "4"); got[0].Serial != page[2].Serial {
			t.Fatalf("the serial %d has become %d", page[2].Serial, got[0].Serial)
		}
	}
	b.remove(ann, page...)
	b.wantTexts(ann)
}

// serialsGrow even when the box was emptied or its texts expired in between.
func serialsGrow(t *testing.T, b *bench) {
	ann, last := b.register("ann"), uint64(0)
	for i := range 4 {
		b.append(ann, ann, "1", "2")
		page := b.page(ann)
		if len(page) != 2 || page[0].Serial <= last || page[1].Serial <= page[0].Serial {
			t.Fatalf("round %d: %+v after serial %d", i, page, last)
		}
		last = page[1].Serial
		if i%2 == 0 {
			b.remove(ann, page...)
		} else {
			b.clock.move(ttl)
		}
	}
}

// expiry walks texts to the last millisecond of their time, and past it.
func expiry(t *testing.T, b *bench) {
	ann, bob := b.register("ann"), b.register("bob")
	b.fillUp(ann, 1)
	b.clock.move(time.Millisecond)
	b.append(ann, bob, "later")
	b.clock.move(ttl - 2*time.Millisecond)
	b.wantFull(ann, "past")
	if page := b.page(ann); len(page) != store.PageMax {
		t.Errorf("before its time: a page has %d texts, want %d", len(page), store.PageMax)
	}
	b.clock.move(time.Millisecond)
	b.wantTexts(ann, "later")
	b.fillShare(ann, bob, 1)
	b.wantShareFull(ann, bob, "past")
	b.clock.move(ttl)
	b.wantTexts(ann)
	b.fillShare(ann, bob, 0)
	b.wantShareFull(ann, bob, "x")
	b.clock.move(ttl)
	b.fillShare(ann, bob, 0)
}

// storedNeverBackwards appends while the clock runs backwards: no text expires
// before one that is in front of it.
func storedNeverBackwards(t *testing.T, b *bench) {
	ann := b.register("ann")
	b.append(ann, ann, "1")
	b.clock.move(-ttl / 2)
	b.append(ann, ann, "2")
	page := b.page(ann)
	if len(page) != 2 || page[1].Stored.Before(page[0].Stored) {
		t.Fatalf("appended while the clock ran backwards: %+v", page)
	}
	b.clock.move(3*ttl/2 - time.Millisecond)
	if page := b.page(ann); len(page) != 2 {
		t.Errorf("before their time: %d texts, want 2", len(page))
	}
	b.clock.move(time.Millisecond)
	if page := b.page(ann); len(page) != 0 {
		t.Errorf("past their time: %d texts, want none", len(page))
	}
}
