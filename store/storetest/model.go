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
// store serves all.
func model(t *testing.T, b *bench) {
	checks := 0
	rapid.Check(t, func(rt *rapid.T) {
		checks++
		m := &modelUser{bench: b, user: b.register(fmt.Sprint("user", checks))}
		rt.Repeat(map[string]func(*rapid.T){
			"claim": m.claim, "confirm": m.confirm, "release": m.release,
			"append": m.append, "remove": m.remove, "expire": m.expire,
			"acquire": m.acquire, "extend": m.extend, "releaseIfEmpty": m.releaseIfEmpty, "abandon": m.abandon,
			"": m.compare,
		})
	})
}

// modelUser is what the store should have of one user.
type modelUser struct {
	bench *bench
	user  proto.User

	record     store.Record // generation 0: none
	generation proto.Generation

	box    []modelText
	serial uint64 // the largest seen

	lease  store.Lease // 0: free
	until  time.Time
	leases []store.Lease // all that were given
}

type modelText struct {
	text   string
	stored time.Time
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

func (m *modelUser) append(rt *rapid.T) {
	count := rapid.SampledFrom([]int{0, 1, 2, proto.BatchMax, 400}).Draw(rt, "count")
	size := rapid.SampledFrom([]int{0, 1, 5000}).Draw(rt, "size")
	some := texts(count, size)
	err := m.bench.store.Append(m.bench.ctx, m.user.ID, m.user, 0, 0, some)
	bytes := 0
	for _, text := range m.box {
		bytes += len(text.text)
	}
	if len(m.box)+count > store.BoxMaxMessages || bytes+count*size > store.BoxMaxBytes {
		if !errors.Is(err, store.ErrBoxFull) {
			rt.Fatalf("Append of %d texts of %d bytes to %d of %d: %v", count, size, len(m.box), bytes, err)
		}
		return
	}
	if err != nil {
		rt.Fatalf("Append of %d texts of %d bytes to %d of %d: %v", count, size, len(m.box), bytes, err)
	}
	for _, text := range some {
		m.box = append(m.box, modelText{text: text, stored: m.bench.clock.Now()})
	}
}

// remove takes off a part of a page.
func (m *modelUser) remove(rt *rapid.T) {
	page := m.page(rt)
	if len(page) == 0 {
		return
	}
	last := rapid.IntRange(0, len(page)-1).Draw(rt, "last")
	if err := m.bench.store.Remove(m.bench.ctx, m.user.ID, keysOf(page[:last+1])); err != nil {
		rt.Fatalf("Remove: %v", err)
	}
	m.box = m.box[last+1:]
	m.serial = max(m.serial, page[last].Serial)
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
	lease := m.some(rt)
	held := lease != 0 && lease == m.lease
	got, err := m.bench.store.ReleaseIfEmpty(m.bench.ctx, m.user.ID, lease, 0)
	wantAnswer(rt, got, !held || len(m.box) == 0, err)
	if held && got {
		m.lease = 0
	}
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
	last, bytes, page := m.serial, 0, m.page(rt)
	for i, message := range page {
		if want := m.box[i]; message.Text != want.text || !message.Stored.Equal(want.stored) || message.Sender != m.user {
			rt.Fatalf("text %d: %d bytes of %v, want %d of %v", i, len(message.Text), message.Stored, len(want.text), want.stored)
		}
		if message.Serial <= last {
			rt.Fatalf("text %d has serial %d after %d", i, message.Serial, last)
		}
		last, bytes = message.Serial, bytes+len(message.Text)
	}
	if len(page) < len(m.box) && len(page) < store.PageMax && bytes+len(m.box[len(page)].text) <= store.PageMaxBytes {
		rt.Fatalf("a page has %d texts, %d bytes, of %d; more would fit", len(page), bytes, len(m.box))
	}
	m.comparePageAfter(rt, page)
	if len(page) > store.PageMax || bytes > store.PageMaxBytes {
		rt.Fatalf("a page has %d texts, %d bytes", len(page), bytes)
	}
}

// comparePageAfter reads behind a text of page: the texts behind it come.
func (m *modelUser) comparePageAfter(rt *rapid.T, page []store.OfflineMessage) {
	if len(page) == 0 {
		return
	}
	behind := rapid.IntRange(1, len(page)).Draw(rt, "behind")
	got, err := m.bench.store.Page(m.bench.ctx, m.user.ID, page[behind-1].Serial)
	if err != nil || len(got) < len(page)-behind || len(got) > len(m.box)-behind || len(got) == 0 && len(m.box) > behind {
		rt.Fatalf("Page behind text %d: %d texts, %v; the box has %d", behind, len(got), err, len(m.box))
	}
	for i, message := range got {
		if want := m.box[behind+i]; message.Text != want.text || !message.Stored.Equal(want.stored) {
			rt.Fatalf("Page behind text %d: text %d: %d bytes, want %d", behind, i, len(message.Text), len(want.text))
		}
	}
}

func (m *modelUser) page(rt *rapid.T) []store.OfflineMessage {
	page, err := m.bench.store.Page(m.bench.ctx, m.user.ID, 0)
	if err != nil || len(page) > len(m.box) || len(page) == 0 && len(m.box) > 0 {
		rt.Fatalf("Page: %d texts, %v; the box has %d", len(page), err, len(m.box))
	}
	return page
}

// wantAnswer checks an answer of yes or no.
func wantAnswer(rt *rapid.T, got, want bool, err error) {
	rt.Helper()
	if err != nil || got != want {
		rt.Fatalf("answer %t, %v; want %t", got, err, want)
	}
}
