package redisform

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"cim/proto"
	"cim/store"
)

const (
	// patience bounds one test of the suite.
	patience = time.Minute
	// leaseFor is how long its leases last.
	leaseFor = time.Minute
)

var (
	here  = store.Place{Host: "10.0.0.1", CIMPort: 11211, HTTPPort: 8081, Epoch: 7}
	there = store.Place{Host: "10.0.0.2", CIMPort: 11212, HTTPPort: 8082, Epoch: 1 << 63}
)

// bench is a store under test. Its clock stands still. The test's goroutine calls
// its methods.
type bench struct {
	t     *testing.T
	ctx   context.Context
	store *Store
	now   time.Time
}

// factory makes an empty store with these settings, and closes it when t ends.
type factory func(t *testing.T, config store.Config) *Store

func newBench(t *testing.T, open factory) *bench {
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	b := &bench{t: t, ctx: ctx, now: time.UnixMilli(1_700_000_000_000)}
	b.store = open(t, store.Config{Now: func() time.Time { return b.now }, OfflineTTL: time.Hour})
	return b
}

func (b *bench) register(name string) proto.User {
	b.t.Helper()
	return registered(b.t, b.store, name)
}

// claimed is a claim for a server of ours that must succeed.
func (b *bench) claimed(user proto.User, place store.Place) proto.Generation {
	b.t.Helper()
	generation, err := b.store.Claim(b.ctx, user.ID, place, 0)
	if err != nil {
		b.t.Fatalf("Claim: %v", err)
	}
	return generation
}

func (b *bench) wantRecord(user proto.User, want store.Record) {
	b.t.Helper()
	record, found, err := b.store.Lookup(b.ctx, user.ID, store.Fresh)
	if err != nil || !found || record != want {
		b.t.Fatalf("Lookup: %+v, %t, %v; want %+v", record, found, err, want)
	}
}

func (b *bench) wantNoRecord(user proto.User, freshness store.Freshness) {
	b.t.Helper()
	if record, found, err := b.store.Lookup(b.ctx, user.ID, freshness); err != nil || found {
		b.t.Fatalf("Lookup: %+v, %t, %v; want none", record, found, err)
	}
}

// append stores texts in our form, which must fit.
func (b *bench) append(receiver, sender proto.User, texts ...string) {
	b.t.Helper()
	if err := b.store.Append(b.ctx, receiver.ID, sender, 0, 0, texts); err != nil {
		b.t.Fatalf("Append of %d texts: %v", len(texts), err)
	}
}

func (b *bench) page(user proto.User) []store.OfflineMessage {
	b.t.Helper()
	return b.pageAfter(user, 0)
}

func (b *bench) pageAfter(user proto.User, serial uint64) []store.OfflineMessage {
	b.t.Helper()
	page, err := b.store.Page(b.ctx, user.ID, serial)
	if err != nil {
		b.t.Fatalf("Page: %v", err)
	}
	return page
}

func (b *bench) remove(user proto.User, texts ...store.OfflineMessage) {
	b.t.Helper()
	if err := b.store.Remove(b.ctx, user.ID, keysOf(texts)); err != nil {
		b.t.Fatalf("Remove of %d texts: %v", len(texts), err)
	}
}

// drain empties user's box page by page and returns all that it had.
func (b *bench) drain(user proto.User) []store.OfflineMessage {
	b.t.Helper()
	var all []store.OfflineMessage
	for page := b.page(user); len(page) > 0; page = b.page(user) {
		all = append(all, page...)
		b.remove(user, page...)
	}
	return all
}

func (b *bench) acquire(user proto.User) store.Lease {
	b.t.Helper()
	lease, err := b.store.Acquire(b.ctx, user.ID, leaseFor)
	if err != nil || lease == 0 {
		b.t.Fatalf("Acquire: %d, %v", lease, err)
	}
	return lease
}

// want checks the answer of a method that answers yes or no.
func (b *bench) want(what string, want bool) func(got bool, err error) {
	return func(got bool, err error) {
		b.t.Helper()
		if err != nil || got != want {
			b.t.Fatalf("%s: %t, %v; want %t", what, got, err, want)
		}
	}
}

// texts are n texts of a size.
func texts(n, size int) []string { return slices.Repeat([]string{strings.Repeat("x", size)}, n) }
