package storetest

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"

	"cim/proto"
	"cim/store"
)

var (
	here  = store.Place{Host: "10.0.0.1", CIMPort: 11211, HTTPPort: 8081, Epoch: 7}
	there = store.Place{Host: "10.0.0.2", CIMPort: 11212, HTTPPort: 8082, Epoch: 1 << 63}
)

// claimed is a claim that must succeed.
func (b *bench) claimed(user proto.User, place store.Place, seen proto.Generation) proto.Generation {
	b.t.Helper()
	generation, err := b.store.Claim(b.ctx, user.ID, place, seen)
	if err != nil || generation == 0 {
		b.t.Fatalf("Claim past %d: %d, %v", seen, generation, err)
	}
	return generation
}

// wantRecord checks user's record.
func (b *bench) wantRecord(user proto.User, want store.Record) {
	b.t.Helper()
	record, found, err := b.store.Lookup(b.ctx, user.ID, store.Fresh)
	if err != nil || !found || record != want {
		b.t.Fatalf("Lookup: %+v, %t, %v; want %+v", record, found, err, want)
	}
}

// wantNoRecord checks that user has none.
func (b *bench) wantNoRecord(user proto.User, freshness store.Freshness) {
	b.t.Helper()
	record, found, err := b.store.Lookup(b.ctx, user.ID, freshness)
	if err != nil || found || record != (store.Record{}) {
		b.t.Fatalf("Lookup: %+v, %t, %v; want none", record, found, err)
	}
}

// claim replaces the record only if the caller has seen it.
func claim(t *testing.T, b *bench) {
	ann := b.register("ann")
	first := b.claimed(ann, here, 0)
	b.wantRecord(ann, store.Record{Place: here, Generation: first})
	if _, err := b.store.Claim(b.ctx, ann.ID, there, first-1); !errors.Is(err, store.ErrSuperseded) {
		t.Errorf("a claim that had not seen the record: %v", err)
	}
	b.wantRecord(ann, store.Record{Place: here, Generation: first})
	second := b.claimed(ann, there, first)
	if second <= first {
		t.Errorf("generation %d after %d", second, first)
	}
	b.wantRecord(ann, store.Record{Place: there, Generation: second})
	b.claimed(ann, there, second+1)
}

// claimConcurrently lets many claim who have seen the same: one succeeds.
func claimConcurrently(t *testing.T, b *bench) {
	ann := b.register("ann")
	seen := proto.Generation(0)
	for range 20 {
		var all sync.WaitGroup
		var winner, winners atomic.Uint64
		for range 8 {
			all.Go(func() {
				generation, err := b.store.Claim(b.ctx, ann.ID, here, seen)
				switch {
				case err == nil:
					winner.Store(uint64(generation))
					winners.Add(1)
				case !errors.Is(err, store.ErrSuperseded):
					t.Errorf("Claim: %v", err)
				}
			})
		}
		all.Wait()
		if winners.Load() != 1 {
			t.Fatalf("%d claims succeeded, want 1", winners.Load())
		}
		seen = proto.Generation(winner.Load())
		b.wantRecord(ann, store.Record{Place: here, Generation: seen})
	}
}

// generationsGrow even when the record is gone in between.
func generationsGrow(t *testing.T, b *bench) {
	ann, last := b.register("ann"), proto.Generation(0)
	for range 3 {
		generation := b.claimed(ann, here, 0)
		if generation <= last {
			t.Fatalf("generation %d after %d", generation, last)
		}
		b.want("Release", true)(b.store.Release(b.ctx, ann.ID, generation))
		last = generation
	}
}

// confirm marks the record of its own generation only.
func confirm(_ *testing.T, b *bench) {
	ann := b.register("ann")
	b.want("Confirm without a record", false)(b.store.Confirm(b.ctx, ann.ID, 0))
	b.wantNoRecord(ann, store.Fresh)
	first := b.claimed(ann, here, 0)
	b.want("Confirm of a later one", false)(b.store.Confirm(b.ctx, ann.ID, first+1))
	b.wantRecord(ann, store.Record{Place: here, Generation: first})
	for range 2 {
		b.want("Confirm", true)(b.store.Confirm(b.ctx, ann.ID, first))
		b.wantRecord(ann, store.Record{Place: here, Generation: first, Connected: true})
	}
	second := b.claimed(ann, there, first)
	b.want("Confirm of an earlier one", false)(b.store.Confirm(b.ctx, ann.ID, first))
	b.wantRecord(ann, store.Record{Place: there, Generation: second})
}

// release removes the record of its own generation only.
func release(_ *testing.T, b *bench) {
	ann := b.register("ann")
	b.want("Release without a record", false)(b.store.Release(b.ctx, ann.ID, 0))
	first := b.claimed(ann, here, 0)
	second := b.claimed(ann, there, first)
	for _, other := range []proto.Generation{0, first, second + 1} {
		b.want("Release of another", false)(b.store.Release(b.ctx, ann.ID, other))
	}
	b.wantRecord(ann, store.Record{Place: there, Generation: second})
	b.want("Release", true)(b.store.Release(b.ctx, ann.ID, second))
	b.want("Release again", false)(b.store.Release(b.ctx, ann.ID, second))
	b.wantNoRecord(ann, store.Fresh)
}

// lookup never mixes users, and knows of nobody who did not claim.
func lookup(_ *testing.T, b *bench) {
	ann, bob, eve := b.register("ann"), b.register("bob"), b.register("eve")
	b.wantNoRecord(ann, store.Cached)
	of := b.claimed(ann, here, 0)
	ob := b.claimed(bob, there, 0)
	b.wantRecord(ann, store.Record{Place: here, Generation: of})
	b.wantRecord(bob, store.Record{Place: there, Generation: ob})
	b.wantNoRecord(eve, store.Cached)
	b.wantNoRecord(eve, store.Fresh)
}

// connected lists the confirmed, by id, with their names.
func connected(t *testing.T, b *bench) {
	var want []store.Present
	for i := range 30 {
		user := b.register(fmt.Sprint("user", 99-i))
		generation := b.claimed(user, here, 0)
		if i%3 != 0 {
			b.want("Confirm", true)(b.store.Confirm(b.ctx, user.ID, generation))
		}
		switch i % 3 {
		case 1:
			b.want("Release", true)(b.store.Release(b.ctx, user.ID, generation))
		case 2:
			want = append(want, store.Present{User: user, Record: store.Record{Place: here, Generation: generation, Connected: true}})
		}
	}
	got, err := b.store.Connected(b.ctx)
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("Connected: %+v, %v; want %+v", got, err, want)
	}
}
