package redisform

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"cim/proto"
	"cim/store"
)

// runOriginal runs the suite of compat.Original on stores that open opens.
func runOriginal(t *testing.T, open factory) {
	for name, test := range map[string]func(*testing.T, *bench){
		"ClaimOriginal":             claimOriginal,
		"ClaimOriginalRefused":      claimOriginalRefused,
		"ClaimOriginalOver":         claimOriginalOver,
		"ClaimOriginalConcurrently": claimOriginalConcurrently,
		"ReleaseOriginal":           releaseOriginal,
		"OriginalPlaces":            originalPlaces,
		"AppendOriginal":            appendOriginal,
		"OriginalTextIDs":           originalTextIDs,
		"OriginalTimes":             originalTimes,
		"MixedOrder":                mixedOrder,
		"MixedRandomly":             mixedRandomly,
		"MixedCount":                mixedCount,
		"MixedRelease":              mixedRelease,
		"MixedConcurrently":         mixedConcurrently,
	} {
		t.Run(name, func(t *testing.T) { test(t, newBench(t, open)) })
	}
}

var (
	old      = store.Place{Host: "10.0.0.8", CIMPort: 11211, HTTPPort: 8081}
	otherOld = store.Place{Host: "10.0.0.9", CIMPort: 11211, HTTPPort: 8081}
)

// onOriginal is a claim for a server of the original that must succeed.
func (b *bench) onOriginal(user proto.User, place store.Place, older store.Record) {
	b.t.Helper()
	if err := b.store.ClaimOriginal(b.ctx, user.ID, place, older); err != nil {
		b.t.Fatalf("ClaimOriginal over %+v: %v", older, err)
	}
	b.wantRecord(user, store.Record{Place: place, Connected: true})
	b.wantLoggedIn(user, true)
}

func (b *bench) wantLoggedIn(user proto.User, want bool) {
	b.t.Helper()
	b.want("LoggedIn", want)(b.store.LoggedIn(b.ctx, user.ID))
}

func (b *bench) appendOriginal(receiver, sender proto.User, texts ...string) {
	b.t.Helper()
	if err := b.store.AppendOriginal(b.ctx, receiver.ID, sender, 0, 0, texts); err != nil {
		b.t.Fatalf("AppendOriginal of %d texts: %v", len(texts), err)
	}
}

// claimOriginal logs in and out at a server of the original.
func claimOriginal(_ *testing.T, b *bench) {
	ann := b.register("ann")
	b.wantLoggedIn(ann, false)
	b.onOriginal(ann, old, store.Record{})
	b.want("Release", true)(b.store.ReleaseOriginal(b.ctx, ann.ID, old))
	b.wantLoggedIn(ann, false)
	b.wantNoRecord(ann, store.Fresh)
	b.wantNoRecord(ann, store.Cached)
	b.onOriginal(ann, otherOld, store.Record{})
}

// claimOriginalRefused claims what was not seen as it is.
func claimOriginalRefused(t *testing.T, b *bench) {
	ann := b.register("ann")
	b.onOriginal(ann, old, store.Record{})
	generation := proto.Generation(1)
	for _, older := range []store.Record{
		{}, {Place: otherOld}, {Place: here, Generation: generation},
	} {
		if err := b.store.ClaimOriginal(b.ctx, ann.ID, otherOld, older); !errors.Is(err, store.ErrSuperseded) {
			t.Errorf("a claim that saw %+v: %v", older, err)
		}
	}
	b.wantRecord(ann, store.Record{Place: old, Connected: true})
	b.onOriginal(ann, otherOld, store.Record{Place: old, Connected: true})
}

// claimOriginalOver goes from a server of ours to one of the original and back.
func claimOriginalOver(t *testing.T, b *bench) {
	ann := b.register("ann")
	first := b.claimed(ann, here)
	if err := b.store.ClaimOriginal(b.ctx, ann.ID, old, store.Record{Place: here, Generation: first - 1}); !errors.Is(err, store.ErrSuperseded) {
		t.Errorf("a claim that had not seen the record: %v", err)
	}
	b.onOriginal(ann, old, store.Record{Place: here, Generation: first})
	second := b.claimed(ann, there)
	if second <= first {
		t.Errorf("generation %d after %d", second, first)
	}
	b.want("Release of what is ours", false)(b.store.ReleaseOriginal(b.ctx, ann.ID, old))
	b.wantRecord(ann, store.Record{Place: there, Generation: second})
	b.wantLoggedIn(ann, true)
}

// claimOriginalConcurrently lets one of many logins win.
func claimOriginalConcurrently(t *testing.T, b *bench) {
	for i := range 10 {
		ann := b.register(fmt.Sprint("ann", i))
		older := store.Record{}
		if i%2 == 1 {
			older = store.Record{Place: here, Generation: b.claimed(ann, here)}
		}
		var won atomic.Int32
		var all sync.WaitGroup
		for range 4 {
			all.Go(func() {
				err := b.store.ClaimOriginal(b.ctx, ann.ID, old, older)
				if err == nil {
					won.Add(1)
				} else if !errors.Is(err, store.ErrSuperseded) {
					t.Errorf("ClaimOriginal: %v", err)
				}
			})
		}
		all.Wait()
		if n := won.Load(); n != 1 {
			t.Errorf("%d of 4 logins at once stand, want 1", n)
		}
	}
}

// releaseOriginal removes no record but that of the place, and takes a user
// without one out of those that are logged in.
func releaseOriginal(_ *testing.T, b *bench) {
	ann, bob := b.register("ann"), b.register("bob")
	b.onOriginal(ann, old, store.Record{})
	b.want("Release of another place", false)(b.store.ReleaseOriginal(b.ctx, ann.ID, otherOld))
	b.wantLoggedIn(ann, true)
	b.wantRecord(ann, store.Record{Place: old, Connected: true})
	for _, want := range []bool{true, false} {
		b.want("Release", want)(b.store.ReleaseOriginal(b.ctx, ann.ID, old))
		b.wantLoggedIn(ann, false)
	}
	generation := b.claimed(bob, here)
	b.want("Release of one of ours", false)(b.store.ReleaseOriginal(b.ctx, bob.ID, store.Place{Host: here.Host, CIMPort: here.CIMPort, HTTPPort: here.HTTPPort}))
	b.wantRecord(bob, store.Record{Place: here, Generation: generation})
}

// originalPlaces lists those on servers of the original, however many others
// there are.
func originalPlaces(t *testing.T, b *bench) {
	want := map[proto.UserID]store.Place{}
	for i := range 30 {
		user := b.register(fmt.Sprint("user", i))
		switch i % 3 {
		case 0:
			b.onOriginal(user, old, store.Record{})
			want[user.ID] = old
		case 1:
			b.claimed(user, here)
		}
	}
	places, err := b.store.OriginalPlaces(b.ctx)
	if err != nil || len(places) != len(want) {
		t.Fatalf("%d places, %v; want %d", len(places), err, len(want))
	}
	for user, place := range want {
		if places[user] != place {
			t.Errorf("user %d is at %+v, want %+v", user, places[user], place)
		}
	}
}

// appendOriginal keeps order, senders and texts as they were.
func appendOriginal(t *testing.T, b *bench) {
	ann, bob, eve := b.register("ann"), b.register("bob"), b.register("eve😀")
	texts := []string{"1", "", "\"quoted\\ <&>\u2028", "naïve 😀\x00\n", strings.Repeat("y", proto.TextMax)}
	b.appendOriginal(ann, bob, texts...)
	b.appendOriginal(ann, eve)
	b.appendOriginal(ann, eve, "6")
	b.appendOriginal(bob, ann, "another's")
	got := b.drain(ann)
	if len(got) != len(texts)+1 {
		t.Fatalf("%d texts, want %d", len(got), len(texts)+1)
	}
	for i, message := range got[:len(texts)] {
		if message.Text != texts[i] || message.Sender != bob || message.ID == 0 {
			t.Errorf("text %d is %.20q by %v, of id %d", i, message.Text, message.Sender, message.ID)
		}
	}
	if last := got[len(texts)]; last.Text != "6" || last.Sender != eve {
		t.Errorf("the last text is %q by %v", last.Text, last.Sender)
	}
	if stored, now := got[0].Stored, b.now; !stored.Equal(now) {
		t.Errorf("stored %v, want %v", stored, now)
	}
	if page := b.page(bob); len(page) != 1 || page[0].Text != "another's" {
		t.Errorf("bob's box: %+v", page)
	}
}

// originalTextIDs keeps the ids, those above the largest signed number too.
func originalTextIDs(t *testing.T, b *bench) {
	ann, last := b.register("ann"), ^proto.TextID(0)
	var want []proto.TextID
	for _, id := range []proto.TextID{7, last/2 - 1, last/2 + 1, last - 1} {
		if err := b.store.AppendOriginal(b.ctx, ann.ID, ann, id, 0, []string{"a", "b"}); err != nil {
			t.Fatal(err)
		}
		want = append(want, id, id+1)
	}
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

// originalTimes keeps when each text was sent as its time of creation.
func originalTimes(t *testing.T, b *bench) {
	ann, now := b.register("ann"), proto.UnixMilli(b.now.UnixMilli())
	want := []proto.UnixMilli{now - 5001, now}
	for _, at := range []proto.UnixMilli{now - 5001, 0} {
		if err := b.store.AppendOriginal(b.ctx, ann.ID, ann, 0, at, []string{"x"}); err != nil {
			t.Fatal(err)
		}
	}
	for i, message := range b.page(ann) {
		if message.SentAt() != want[i] {
			t.Errorf("text %d was sent at %d, want %d", i, message.SentAt(), want[i])
		}
	}
}

// mixedOrder goes through all orders of five texts in either form: each comes
// once and in its place, read at once, text by text, and behind each other.
func mixedOrder(t *testing.T, b *bench) {
	for forms := range 32 {
		ann := b.register(fmt.Sprint("ann", forms))
		for i := range 5 {
			if forms>>i&1 == 1 {
				b.appendOriginal(ann, ann, fmt.Sprint(i))
			} else {
				b.append(ann, ann, fmt.Sprint(i))
			}
		}
		for range 2 {
			page := b.page(ann)
			if len(page) != 5 {
				t.Fatalf("forms %05b: %d texts, want 5", forms, len(page))
			}
			for i, message := range page {
				if message.Text != fmt.Sprint(i) || i > 0 && message.Serial <= page[i-1].Serial {
					t.Fatalf("forms %05b: text %d is %q, of serial %d", forms, i, message.Text, message.Serial)
				}
				if behind := b.pageAfter(ann, message.Serial); len(behind) != 4-i || len(behind) > 0 && behind[0] != page[i+1] {
					t.Fatalf("forms %05b: behind text %d: %+v", forms, i, behind)
				}
			}
		}
		for i := range 5 {
			page := b.page(ann)
			if len(page) != 5-i || page[0].Text != fmt.Sprint(i) {
				t.Fatalf("forms %05b: with %d removed: %+v", forms, i, page)
			}
			b.remove(ann, page[0])
		}
	}
}

// mixedRandomly appends in either form while a catch-up reads and removes:
// what it reads is what was appended, in order.
func mixedRandomly(t *testing.T, b *bench) {
	seed := rand.Uint64()
	random := rand.New(rand.NewPCG(seed, 0))
	for u := range 20 {
		ann, sent, read := b.register(fmt.Sprint("ann", u)), 0, 0
		left, gone := uint64(0), []store.OfflineMessage(nil)
		lease := b.acquire(ann)
		for range 60 {
			switch step := random.IntN(5); step {
			case 0, 1:
				texts := make([]string, 1+random.IntN(3))
				for i := range texts {
					texts[i], sent = fmt.Sprint(sent), sent+1
				}
				if step == 0 {
					b.append(ann, ann, texts...)
				} else {
					b.appendOriginal(ann, ann, texts...)
				}
			case 2, 3:
				page := b.pageAfter(ann, left)
				if len(page) != sent-read {
					t.Fatalf("seed %d: a page of %d texts, want %d", seed, len(page), sent-read)
				}
				for _, message := range page[:random.IntN(len(page)+1)] {
					if message.Text != fmt.Sprint(read) || message.Serial <= left {
						t.Fatalf("seed %d: read %q of serial %d after %d, want %d", seed, message.Text, message.Serial, left, read)
					}
					left, read = message.Serial, read+1
					gone = append(gone, message)
				}
			case 4:
				b.remove(ann, gone...)
				gone = nil
			}
		}
		b.remove(ann, gone...)
		b.want("ReleaseIfEmpty", read == sent)(b.store.ReleaseIfEmpty(b.ctx, ann.ID, lease, 0))
	}
}

// mixedCount fills a box and a share in both forms to their bounds, and one past
// them.
func mixedCount(t *testing.T, b *bench) {
	refused := func(want error, user, sender proto.User, texts ...string) {
		t.Helper()
		err := b.store.AppendOriginal(b.ctx, user.ID, sender, 0, 0, texts)
		if !errors.Is(err, want) || errors.Is(err, store.ErrShareFull) != (want == store.ErrShareFull) {
			t.Fatalf("AppendOriginal of %d texts: %v, want %v", len(texts), err, want)
		}
	}
	const half = store.ShareMaxMessages / 2
	ann, bob := b.register("ann"), b.register("bob")
	for i := range store.BoxMaxMessages / store.ShareMaxMessages {
		sender := b.register(fmt.Sprint("sender", i))
		if i == 0 {
			b.append(ann, sender, texts(half, 1)...)
		} else {
			b.appendOriginal(ann, sender, texts(half, 1)...)
		}
		b.appendOriginal(ann, sender, texts(half-1, 1)...)
		refused(store.ErrShareFull, ann, sender, "1", "2")
		b.appendOriginal(ann, sender, "fits")
		refused(store.ErrShareFull, ann, sender, "past")
	}
	refused(store.ErrBoxFull, ann, bob, "past")
	if got := b.drain(ann); len(got) != store.BoxMaxMessages || got[len(got)-1].Text != "fits" {
		t.Errorf("%d texts, the last of which is %q", len(got), got[len(got)-1].Text)
	}
	b.appendOriginal(ann, ann, texts(store.ShareMaxMessages, 1)...)
	// As they are written there texts have more bytes than here.
	many := store.ShareMaxBytes / (proto.TextMax + store.TextOverhead)
	b.appendOriginal(bob, bob, texts(many, proto.TextMax)...)
	refused(store.ErrShareFull, bob, bob, texts(1, proto.TextMax)...)
	b.appendOriginal(bob, bob, "short")
	if got := b.drain(bob); len(got) != many+1 {
		t.Errorf("%d texts, want %d", len(got), many+1)
	}
}

// mixedRelease gives no lease back over a text in either form.
func mixedRelease(_ *testing.T, b *bench) {
	ann := b.register("ann")
	lease := b.acquire(ann)
	for range 2 {
		b.appendOriginal(ann, ann, "1")
		b.want("ReleaseIfEmpty", false)(b.store.ReleaseIfEmpty(b.ctx, ann.ID, lease, 0))
		b.want("ReleaseIfEmpty of a lost lease", true)(b.store.ReleaseIfEmpty(b.ctx, ann.ID, lease+1, 0))
		b.drain(ann)
	}
	b.want("ReleaseIfEmpty", true)(b.store.ReleaseIfEmpty(b.ctx, ann.ID, lease, 0))
	b.acquire(ann)
}

// mixedConcurrently lets senders append in both forms while a catch-up drains:
// each text comes once, each sender's in its order, and the lease is given back
// only over an empty box.
func mixedConcurrently(t *testing.T, b *bench) {
	const senders, appends = 4, 25
	ann := b.register("ann")
	var sending sync.WaitGroup
	for s := range senders {
		sender := b.register(fmt.Sprint("sender", s))
		sending.Go(func() {
			for i := range appends {
				var err error
				if s%2 == 0 {
					err = b.store.AppendOriginal(b.ctx, ann.ID, sender, 0, 0, []string{fmt.Sprint(i)})
				} else {
					err = b.store.Append(b.ctx, ann.ID, sender, 0, 0, []string{fmt.Sprint(i)})
				}
				if err != nil {
					t.Errorf("append: %v", err)
				}
			}
		})
	}
	sent := make(chan struct{})
	go func() { sending.Wait(); close(sent) }()
	next, got := map[proto.UserID]int{}, 0
	for done := false; !done; {
		select {
		case <-sent:
			done = true
		default:
		}
		lease := b.acquire(ann)
		for released := false; !released; {
			for _, message := range b.drain(ann) {
				if message.Text != fmt.Sprint(next[message.Sender.ID]) {
					t.Fatalf("%q by %s, want %d", message.Text, message.Sender.Name, next[message.Sender.ID])
				}
				next[message.Sender.ID]++
				got++
			}
			var err error
			if released, err = b.store.ReleaseIfEmpty(b.ctx, ann.ID, lease, 0); err != nil {
				t.Fatal(err)
			}
		}
	}
	if got != senders*appends {
		t.Errorf("%d texts, want %d", got, senders*appends)
	}
}
