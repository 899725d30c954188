package storetest

import (
	"fmt"
	"slices"
	"sync"
	"testing"

	"cim/proto"
	"cim/store"
)

// restored tells of sessions at place, and checks which are superseded.
func (b *bench) restored(place store.Place, sessions, superseded []proto.Session) {
	b.t.Helper()
	got, err := b.store.Restore(b.ctx, place, sessions)
	if err != nil || !slices.Equal(got.Superseded, superseded) || len(got.Returned) != 0 {
		b.t.Fatalf("Restore of %v: %+v, %v; want %v superseded", sessions, got, err, superseded)
	}
}

// returned tells of sessions at place whose records the store has lost.
func (b *bench) returned(place store.Place, sessions []proto.Session) {
	b.t.Helper()
	got, err := b.store.Restore(b.ctx, place, sessions)
	if err != nil || !slices.Equal(got.Returned, sessions) || len(got.Superseded) != 0 {
		b.t.Fatalf("Restore of %v: %+v, %v; want that all have their records back", sessions, got, err)
	}
}

// restore tells of sessions of each kind at once: who still has the record,
// who was superseded here or elsewhere, who was given back, who is at another
// place, and who has no generation.
func restore(_ *testing.T, b *bench) {
	keeps, again, moved, gone, other := b.register("keeps"), b.register("again"), b.register("moved"), b.register("gone"), b.register("other")
	session := func(user proto.User, place store.Place, seen proto.Generation) proto.Session {
		return proto.Session{User: user.ID, Generation: b.claimed(user, place, seen)}
	}
	kept, early, left, back, away := session(keeps, here, 0), session(again, here, 0), session(moved, here, 0), session(gone, here, 0), session(other, there, 0)
	late, right := session(again, here, early.Generation), session(moved, there, left.Generation)
	b.want("Release", true)(b.store.Release(b.ctx, gone.ID, back.Generation))
	none := proto.Session{User: b.register("none").ID}

	b.restored(here, nil, nil)
	for range 2 {
		b.restored(here, []proto.Session{kept, early, late, none, left, back, away}, []proto.Session{early, left, back, away})
		b.wantRecord(keeps, store.Record{Place: here, Generation: kept.Generation, Connected: true})
		b.wantRecord(again, store.Record{Place: here, Generation: late.Generation, Connected: true})
		b.wantRecord(moved, store.Record{Place: there, Generation: right.Generation})
		b.wantNoRecord(gone, store.Fresh)
		b.wantRecord(other, store.Record{Place: there, Generation: away.Generation})
	}
	present, err := b.store.Connected(b.ctx)
	if err != nil || len(present) != 2 || present[0].User != keeps || present[1].User != again {
		b.t.Errorf("Connected: %+v, %v; want %v and %v", present, err, keeps, again)
	}
}

// restoreLost tells a store of sessions that are newer than all that it knows:
// they have their records back, and later generations are larger.
func restoreLost(t *testing.T, b *bench) {
	ann, bob := b.register("ann"), b.register("bob")
	old := b.claimed(bob, there, 0)
	sessions := []proto.Session{{User: ann.ID, Generation: 1000}, {User: bob.ID, Generation: old + 1000}}
	b.returned(here, sessions)
	b.wantRecord(ann, store.Record{Place: here, Generation: 1000, Connected: true})
	b.wantRecord(bob, store.Record{Place: here, Generation: old + 1000, Connected: true})
	b.restored(here, sessions, nil)
	b.restored(there, []proto.Session{{User: ann.ID, Generation: 999}}, []proto.Session{{User: ann.ID, Generation: 999}})
	b.want("Release", true)(b.store.Release(b.ctx, ann.ID, 1000))
	b.restored(here, sessions[:1], sessions[:1])
	if next := b.claimed(ann, here, 0); next <= 1000 {
		t.Errorf("generation %d after one of 1000", next)
	}
}

// restoreConcurrently lets several routes tell a store that lost all of the
// same sessions at once: none counts as superseded for any of them.
func restoreConcurrently(t *testing.T, b *bench) {
	var sessions []proto.Session
	for i := range 50 {
		sessions = append(sessions, proto.Session{User: b.register(fmt.Sprint("user", i)).ID, Generation: proto.Generation(5000 + i)})
	}
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			if got, err := b.store.Restore(b.ctx, here, sessions); err != nil || len(got.Superseded) != 0 {
				t.Errorf("Restore: %d superseded, %v", len(got.Superseded), err)
			}
		})
	}
	all.Wait()
	if present, err := b.store.Connected(b.ctx); err != nil || len(present) != len(sessions) {
		t.Errorf("Connected: %d, %v; want %d", len(present), err, len(sessions))
	}
}
