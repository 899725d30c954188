package route

import (
	"testing"

	"cim/proto"
	"cim/store"
)

// TestCacheTableBound fills one part to its bound and puts one more: one of the
// others is forgotten, and the table is as long as before.
func TestCacheTableBound(t *testing.T) {
	table := newCacheTable[string]()
	part := table.part(1)
	var users []proto.UserID
	for id := proto.UserID(1); len(users) <= cachePartMax; id++ {
		if table.part(id) == part {
			users = append(users, id)
		}
	}
	for _, id := range users[:cachePartMax] {
		table.put(id, "x")
	}
	if n := table.len(); n != cachePartMax {
		t.Fatalf("%d at the edge, want %d", n, cachePartMax)
	}
	table.put(users[0], "y")
	if v, _ := table.get(users[0]); v != "y" || table.len() != cachePartMax {
		t.Errorf("one that is there: %q, %d in all", v, table.len())
	}
	last := users[cachePartMax]
	table.put(last, "z")
	if v, found := table.get(last); !found || v != "z" || table.len() != cachePartMax {
		t.Errorf("one past: %q, %d in all", v, table.len())
	}
	forgotten := 0
	for _, id := range users {
		if _, found := table.get(id); !found {
			forgotten++
		}
	}
	if forgotten != 1 {
		t.Errorf("%d forgotten, want 1", forgotten)
	}
}

// TestPresenceCache: a record read from the store replaces the cached one, a login reported by
// another process does so only if it is newer, and an end removes its own login only.
func TestPresenceCache(t *testing.T) {
	k := newCaches(nil)
	want := func(what string, generation proto.Generation) {
		t.Helper()
		if got, found := k.presence.get(1); got.generation != generation || found != (generation != 0) {
			t.Errorf("%s: %+v, want %d", what, got, generation)
		}
	}
	k.noteLogin(1, 9, 0)
	want("no generation", 0)
	k.noteLogin(1, 9, 5)
	want("reported", 5)
	k.noteLogin(1, 9, 4)
	want("an older one reported", 5)
	k.noteLogin(1, 8, 5)
	if got, _ := k.presence.get(1); got.epoch != 8 {
		t.Errorf("the same one elsewhere: %+v", got)
	}
	k.forgetLogin(1, 4)
	want("an older one ended", 5)
	k.notePresence(1, store.Record{Generation: 3}, true)
	want("seen", 3)
	k.forgetLogin(1, 3)
	want("ended", 0)
	k.noteLogin(1, 9, 5)
	k.notePresence(1, store.Record{}, false)
	want("seen that there is none", 0)
}

// BenchmarkCacheTable is what a lookup that succeeds costs more; its memory is that
// of a full table for each user.
func BenchmarkCacheTable(b *testing.B) {
	table := newCacheTable[sessionKey]()
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for id := proto.UserID(1); pb.Next(); id = id%1000 + 1 {
			table.put(id, sessionKey{1, 1})
		}
	})
}

// TestCachesReadMemory: if the store has its records in memory, the caches read those and keep none
// of their own.
func TestCachesReadMemory(t *testing.T) {
	presence := store.NewMemoryPresence(nil)
	k := newCaches(presence.Record)
	if _, found := k.presenceOf(1); found {
		t.Error("a user without a record is known")
	}
	generation, err := presence.Claim(t.Context(), 1, store.Place{Epoch: 7}, 0)
	if err != nil {
		t.Fatal(err)
	}
	k.noteLogin(1, 7, generation)
	k.notePresence(2, store.Record{Place: store.Place{Epoch: 7}, Generation: 9}, true)
	if got, found := k.presenceOf(1); !found || got != (sessionKey{7, generation}) {
		t.Errorf("%+v, %v, want generation %d at epoch 7", got, found, generation)
	}
	if _, found := k.presenceOf(2); found {
		t.Error("a record that the store does not have is known")
	}
	if n := k.presence.len(); n != 0 {
		t.Errorf("%d records are remembered, want none", n)
	}
}
