package storetest

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"cim/proto"
	"cim/store"
)

// model compares the store with a simple model of one user's presence, box and
// lease, over random steps. Each check has a user of its own, so that one
// store serves all. Past this many schedules a check does nothing: rapid has one
// number of checks for the whole binary.
func model(t *testing.T, b *bench, schedules int) {
	checks := 0
	rapid.Check(t, func(rt *rapid.T) {
		if checks++; checks > schedules {
			return
		}
		m := &modelUser{bench: b, user: b.register(fmt.Sprint("user", checks))}
		rt.Repeat(map[string]func(*rapid.T){
			"claim": m.claim, "confirm": m.confirm, "release": m.release,
			"append": m.append, "return": m.giveBack, "remove": m.remove, "removeByKeys": m.removeByKeys, "expire": m.expire,
			"acquire": m.acquire, "extend": m.extend, "releaseIfEmpty": m.releaseIfEmpty, "abandon": m.abandon,
			"": m.compare,
		})
		m.clear(rt)
	})
}

// modelUser is what the store should have of one user.
type modelUser struct {
	bench *bench
	user  proto.User

	record     store.Record // generation 0: none
	generation proto.Generation

	box    []modelText
	serial uint64   // the largest seen
	seen   []uint64 // serials of texts, those that were removed too

	lease  store.Lease // 0: free
	until  time.Time
	leases []store.Lease // all that were given
}

type modelText struct {
	sender proto.UserID
	id     proto.TextID
	text   string
	stored time.Time
	serial uint64 // 0: not seen yet
}

func (m *modelUser) claim(rt *rapid.T) {
	seen := m.record.Generation + proto.Generation(rapid.IntRange(0, 2).Draw(rt, "seen+1")) - 1
	if m.record.Generation == 0 {
		seen = m.generation
	}
	place := rapid.SampledFrom([]store.Place{here, there}).Draw(rt, "place")
	generation, err := m.bench.store.Claim(m.bench.ctx, m.user.ID, place, seen)
	if m.record.Generation > seen {
		if !errors.Is(err, store.ErrSuperseded) {
			rt.Fatalf("Claim past %d, record of %d: %v", seen, m.record.Generation, err)
		}
		return
	}
	if err != nil || generation <= m.generation {
		rt.Fatalf("Claim past %d: generation %d after %d, %v", seen, generation, m.generation, err)
	}
	m.generation, m.record = generation, store.Record{Place: place, Generation: generation}
}

// near is a generation at or beside the record's.
func (m *modelUser) near(rt *rapid.T) proto.Generation {
	return m.generation + proto.Generation(rapid.IntRange(0, 2).Draw(rt, "generation+1")) - 1
}

func (m *modelUser) confirm(rt *rapid.T) {
	generation := m.near(rt)
	want := m.record.Generation != 0 && m.record.Generation == generation
	got, err := m.bench.store.Confirm(m.bench.ctx, m.user.ID, generation)
	wantAnswer(rt, got, want, err)
	m.record.Connected = m.record.Connected || want
}

func (m *modelUser) release(rt *rapid.T) {
	generation := m.near(rt)
	want := m.record.Generation != 0 && m.record.Generation == generation
	got, err := m.bench.store.Release(m.bench.ctx, m.user.ID, generation)
	wantAnswer(rt, got, want, err)
	if want {
		m.record = store.Record{}
	}
}

// sender is one of six, so that four fill a box.
func (m *modelUser) sender(rt *rapid.T) proto.User {
	id := proto.UserID(rapid.IntRange(1, 6).Draw(rt, "sender"))
	return proto.User{ID: id, Name: fmt.Sprint("sender", id)}
}

// id is none, one that is drawn again and again, or a large one.
func (m *modelUser) id(rt *rapid.T) proto.TextID {
	return rapid.OneOf(rapid.Just(proto.TextID(0)), rapid.Map(rapid.IntRange(1, 30), func(i int) proto.TextID { return proto.TextID(i) }),
		rapid.Map(rapid.Uint64Range(1<<62, 1<<63), func(i uint64) proto.TextID { return proto.TextID(i) })).Draw(rt, "id")
}

func (m *modelUser) append(rt *rapid.T) {
	count := rapid.SampledFrom([]int{0, 1, 2, proto.BatchMax, 400, store.ShareMaxMessages}).Draw(rt, "count")
	some := texts(count, rapid.SampledFrom([]int{0, 1, min(5000, 2_000_000/max(count, 1))}).Draw(rt, "size"))
	sender, id := m.sender(rt), m.id(rt)
	err := m.bench.store.Append(m.bench.ctx, m.user.ID, sender, id, 0, some)
	fresh := m.fresh(store.TextsOf(sender, id, 0, some))
	var want error
	switch {
	case len(fresh) == 0:
	case !fits(slices.Concat(m.of(sender.ID), fresh), store.ShareMaxMessages, store.ShareMaxBytes):
		want = store.ErrShareFull
	case !fits(slices.Concat(m.box, fresh), store.BoxMaxMessages, store.BoxMaxBytes):
		want = store.ErrBoxFull
	}
	m.put(rt, fresh, err, want)
}

// giveBack returns texts of several senders, some of which the box has.
func (m *modelUser) giveBack(rt *rapid.T) {
	var some []store.Returned
	for range rapid.IntRange(0, 4).Draw(rt, "runs") {
		count := rapid.SampledFrom([]int{1, 2, 300}).Draw(rt, "count")
		size := rapid.SampledFrom([]int{0, 1, 5000}).Draw(rt, "size")
		some = append(some, store.TextsOf(m.sender(rt), m.id(rt), 0, texts(count, size))...)
	}
	err := m.bench.store.Return(m.bench.ctx, m.user.ID, some)
	fresh := m.fresh(some)
	var want error
	if len(fresh) > 0 && !fits(slices.Concat(m.box, fresh), 2*store.BoxMaxMessages, 2*store.BoxMaxBytes) {
		want = store.ErrBoxFull
	}
	m.put(rt, fresh, err, want)
}

// put checks what the store said to fresh, and puts it into the box.
func (m *modelUser) put(rt *rapid.T, fresh []modelText, err, want error) {
	if !errors.Is(err, want) || errors.Is(err, store.ErrShareFull) != (want == store.ErrShareFull) {
		rt.Fatalf("%d texts to %d: %v, want %v", len(fresh), len(m.box), err, want)
	}
	if want == nil {
		m.box = append(m.box, fresh...)
	}
}

// fresh are those of texts that the box does not have.
func (m *modelUser) fresh(texts []store.Returned) (fresh []modelText) {
	has := map[store.TextKey]bool{}
	for _, text := range m.box {
		has[store.TextKey{Sender: text.sender, ID: text.id}] = true
	}
	for _, text := range texts {
		key := store.TextKey{Sender: text.Sender.ID, ID: text.ID}
		if text.ID == 0 || !has[key] {
			fresh = append(fresh, modelText{sender: key.Sender, id: key.ID, text: text.Text, stored: m.bench.clock.Now()})
		}
		has[key] = true
	}
	return fresh
}

func (m *modelUser) of(sender proto.UserID) []modelText {
	return slices.DeleteFunc(slices.Clone(m.box), func(text modelText) bool { return text.sender != sender })
}

func fits(all []modelText, count, bytes int) bool {
	for _, text := range all {
		count, bytes = count-1, bytes-len(text.text)-store.TextOverhead
	}
	return count >= 0 && bytes >= 0
}

// remove takes off the head of a page, as a catch-up does.
func (m *modelUser) remove(rt *rapid.T) {
	page := m.page(rt)
	if len(page) == 0 {
		return
	}
	m.removeKeys(rt, keysOf(page[:rapid.IntRange(1, len(page)).Draw(rt, "head")]))
}

// removeByKeys takes some of a page out, by what names them, among keys of texts
// that there are not.
func (m *modelUser) removeByKeys(rt *rapid.T) {
	keys := []store.TextKey{{Sender: 1, ID: 1<<61 + 1}, {Sender: 99, ID: 1}, {}}
	for _, message := range m.page(rt) {
		switch rapid.IntRange(0, 3).Draw(rt, "which") {
		case 0:
			keys = append(keys, message.Key())
		case 1:
			keys = append(keys, store.TextKey{Sender: message.Sender.ID, ID: message.ID})
		case 2:
			if rapid.IntRange(0, 9).Draw(rt, "by serial") == 0 {
				keys = append(keys, store.TextKey{Serial: message.Serial})
			}
		}
	}
	m.removeKeys(rt, rapid.Permutation(keys).Draw(rt, "keys"))
}

func (m *modelUser) removeKeys(rt *rapid.T, keys []store.TextKey) {
	if err := m.bench.store.Remove(m.bench.ctx, m.user.ID, keys); err != nil {
		rt.Fatalf("Remove: %v", err)
	}
	m.box = slices.DeleteFunc(m.box, func(text modelText) bool {
		return slices.ContainsFunc(keys, func(key store.TextKey) bool {
			if key.ID == 0 {
				return text.serial != 0 && key.Serial == text.serial
			}
			return key.Sender == text.sender && key.ID == text.id
		})
	})
}

// clear takes out all, so that many checks have room in one store.
func (m *modelUser) clear(rt *rapid.T) {
	for len(m.box) > 0 {
		m.removeKeys(rt, keysOf(m.page(rt)))
	}
}

func (m *modelUser) expire(rt *rapid.T) {
	m.bench.clock.move(rapid.SampledFrom([]time.Duration{time.Millisecond, leaseFor, ttl / 2, ttl}).Draw(rt, "move"))
	now := m.bench.clock.Now()
	m.box = slices.DeleteFunc(m.box, func(text modelText) bool { return now.Sub(text.stored) >= ttl })
}

func (m *modelUser) acquire(rt *rapid.T) {
	lease, err := m.bench.store.Acquire(m.bench.ctx, m.user.ID, leaseFor)
	now := m.bench.clock.Now()
	free := m.lease == 0 || !now.Before(m.until)
	wantAnswer(rt, lease != 0, free, err)
	if free {
		m.lease, m.until = lease, now.Add(leaseFor)
		m.leases = append(m.leases, lease)
	}
}

// some is a lease given so far, or none.
func (m *modelUser) some(rt *rapid.T) store.Lease {
	return rapid.SampledFrom(append([]store.Lease{0, m.lease}, m.leases...)).Draw(rt, "lease")
}

func (m *modelUser) extend(rt *rapid.T) {
	lease := m.some(rt)
	want := lease != 0 && lease == m.lease
	got, err := m.bench.store.Extend(m.bench.ctx, m.user.ID, lease, leaseFor)
	wantAnswer(rt, got, want, err)
	if want {
		m.until = m.bench.clock.Now().Add(leaseFor)
	}
}

func (m *modelUser) releaseIfEmpty(rt *rapid.T) {
	lease, after := m.some(rt), m.someSerial(rt)
	held := lease != 0 && lease == m.lease
	got, err := m.bench.store.ReleaseIfEmpty(m.bench.ctx, m.user.ID, lease, after)
	wantAnswer(rt, got, !held || m.behind(after) == len(m.box), err)
	if held && got {
		m.lease = 0
	}
}

// someSerial is one of a text, perhaps removed, or beside one. It is in front of
// texts that were not seen.
func (m *modelUser) someSerial(rt *rapid.T) uint64 {
	serial := rapid.SampledFrom(append([]uint64{m.serial + 1, m.serial}, m.seen...)).Draw(rt, "serial")
	serial += uint64(rapid.IntRange(0, 2).Draw(rt, "serial+1")) - 1
	if last := len(m.box) - 1; last >= 0 && m.box[last].serial == 0 {
		serial = min(serial, m.serial)
	}
	return serial
}

// behind is where in the box the texts behind a serial begin. Texts that were not
// seen are behind all that were.
func (m *modelUser) behind(after uint64) int {
	i := slices.IndexFunc(m.box, func(text modelText) bool { return text.serial == 0 || text.serial > after })
	if i < 0 {
		return len(m.box)
	}
	return i
}

func (m *modelUser) abandon(rt *rapid.T) {
	lease := m.some(rt)
	if err := m.bench.store.Abandon(m.bench.ctx, m.user.ID, lease); err != nil {
		rt.Fatalf("Abandon: %v", err)
	}
	if lease == m.lease {
		m.lease = 0
	}
}

// compare looks at all that can be looked at.
func (m *modelUser) compare(rt *rapid.T) {
	record, found, err := m.bench.store.Lookup(m.bench.ctx, m.user.ID, store.Fresh)
	if err != nil || found != (m.record.Generation != 0) || record != m.record {
		rt.Fatalf("Lookup: %+v, %t, %v; want %+v", record, found, err, m.record)
	}
	m.see(rt, 0, m.page(rt))
	after := m.someSerial(rt)
	page, err := m.bench.store.Page(m.bench.ctx, m.user.ID, after)
	if err != nil {
		rt.Fatalf("Page behind %d: %v", after, err)
	}
	m.see(rt, after, page)
}

// see compares a page with the box behind a serial, and notes its serials.
func (m *modelUser) see(rt *rapid.T, after uint64, page []store.OfflineMessage) {
	want, last, bytes := m.box[m.behind(after):], after, 0
	if len(page) > len(want) || len(page) == 0 && len(want) > 0 {
		rt.Fatalf("a page behind %d has %d texts; %d are there", after, len(page), len(want))
	}
	for i, got := range page {
		text := &want[i]
		if got.Text != text.text || !got.Stored.Equal(text.stored) || got.Sender.ID != text.sender || got.ID != text.id {
			rt.Fatalf("behind %d: text %d: %d bytes of %v, id %d by %d; want %+.40v", after, i, len(got.Text), got.Stored, got.ID, got.Sender.ID, *text)
		}
		if got.Serial <= last || text.serial != 0 && got.Serial != text.serial || text.serial == 0 && got.Serial <= m.serial {
			rt.Fatalf("behind %d: text %d has serial %d after %d, was %d", after, i, got.Serial, last, text.serial)
		}
		if text.serial == 0 {
			text.serial, m.serial, m.seen = got.Serial, got.Serial, append(m.seen, got.Serial)
		}
		last, bytes = got.Serial, bytes+len(got.Text)
	}
	if len(page) < len(want) && len(page) < store.PageMax && bytes+len(want[len(page)].text) <= store.PageMaxBytes {
		rt.Fatalf("a page behind %d has %d texts, %d bytes, of %d; more would fit", after, len(page), bytes, len(want))
	}
	if len(page) > store.PageMax || len(page) > 1 && bytes > store.PageMaxBytes {
		rt.Fatalf("a page has %d texts, %d bytes", len(page), bytes)
	}
}

// page reads the first page and notes its serials.
func (m *modelUser) page(rt *rapid.T) []store.OfflineMessage {
	page, err := m.bench.store.Page(m.bench.ctx, m.user.ID, 0)
	if err != nil {
		rt.Fatalf("Page: %v", err)
	}
	m.see(rt, 0, page)
	return page
}

// wantAnswer checks an answer of yes or no.
func wantAnswer(rt *rapid.T, got, want bool, err error) {
	rt.Helper()
	if err != nil || got != want {
		rt.Fatalf("answer %t, %v; want %t", got, err, want)
	}
}
