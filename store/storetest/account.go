package storetest

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"cim/proto"
)

// registerKnown registers one name twice: it is one account.
func registerKnown(t *testing.T, b *bench) {
	first := b.register("ann")
	b.clock.move(time.Hour)
	if again := b.register("ann"); again != first {
		t.Errorf("registered again as %v, was %v", again, first)
	}
	if name, found, err := b.store.Account(b.ctx, first.ID); name != "ann" || !found || err != nil {
		t.Errorf("Account(%d): %q, %t, %v", first.ID, name, found, err)
	}
	if name, found, err := b.store.Account(b.ctx, first.ID+1); name != "" || found || err != nil {
		t.Errorf("Account of nobody: %q, %t, %v", name, found, err)
	}
	if user, found, err := b.store.Find(b.ctx, "ann"); user != first || !found || err != nil {
		t.Errorf("Find(ann): %v, %t, %v", user, found, err)
	}
	for range 2 { // looking for a name does not make an account
		if user, found, err := b.store.Find(b.ctx, "bob"); user != (proto.User{}) || found || err != nil {
			t.Errorf("Find of nobody: %v, %t, %v", user, found, err)
		}
	}
}

// registerNames keeps names apart that a careless key would mix, and the
// longest there is.
func registerNames(t *testing.T, b *bench) {
	names := []string{
		"a", "A", "a:b", "a;;b", "1700000000000", "accounts", "né", "ne\u0301",
		strings.Repeat("😀", proto.UserNameMax), strings.Repeat("😀", proto.UserNameMax-1),
	}
	users := make(map[proto.UserID]string)
	for _, name := range names {
		users[b.register(name).ID] = name
	}
	if len(users) != len(names) {
		t.Errorf("%d names got %d accounts", len(names), len(users))
	}
	for id, name := range users {
		if got, found, err := b.store.Account(b.ctx, id); got != name || !found || err != nil {
			t.Errorf("Account(%d): %q, %t, %v; want %q", id, got, found, err, name)
		}
	}
}

// userIDs are the time, and one more than the last when the clock stands
// still or runs backwards.
func userIDs(t *testing.T, b *bench) {
	start := proto.UserID(b.clock.Now().UnixMilli())
	for i, step := range []struct {
		move time.Duration
		want proto.UserID
	}{
		{0, start},
		{0, start + 1},
		{-time.Hour, start + 2},
		{time.Hour + 2*time.Millisecond, start + 3},
		{time.Second, start + 1002},
	} {
		b.clock.move(step.move)
		if got := b.register(fmt.Sprint("user", i)).ID; got != step.want {
			t.Errorf("step %d: id %d, want %d", i, got, step.want)
		}
	}
}

// registerConcurrently lets goroutines register the same names and names of
// their own, while the clock jumps back: one id a name, one name an id.
func registerConcurrently(t *testing.T, b *bench) {
	const goroutines, names = 8, 20
	results := make([]map[string]proto.UserID, goroutines)
	var all sync.WaitGroup
	for g := range goroutines {
		results[g] = make(map[string]proto.UserID)
		all.Go(func() {
			for i := range names {
				b.clock.move(-time.Millisecond)
				for _, name := range []string{fmt.Sprint("shared", i), fmt.Sprint("own", g, "-", i)} {
					user, err := b.store.Register(b.ctx, name)
					if err != nil || user.Name != name {
						t.Errorf("Register(%q): %v, %v", name, user, err)
					}
					results[g][name] = user.ID
				}
			}
		})
	}
	all.Wait()
	byName, byID := make(map[string]proto.UserID), make(map[proto.UserID]string)
	for _, result := range results {
		for name, id := range result {
			if other, found := byName[name]; found && other != id {
				t.Errorf("%q is %d and %d", name, id, other)
			}
			if other, found := byID[id]; found && other != name {
				t.Errorf("%d is %q and %q", id, name, other)
			}
			byName[name], byID[id] = id, name
		}
	}
	if want := names * (goroutines + 1); len(byName) != want {
		t.Errorf("%d accounts, want %d", len(byName), want)
	}
}

// refuseTokens keeps a time for one account, which only grows.
func refuseTokens(t *testing.T, b *bench) {
	ann, ben := b.register("ann"), b.register("ben")
	want := func(user proto.User, want proto.UnixMilli) {
		t.Helper()
		if at, err := b.store.TokensRefusedBefore(b.ctx, user.ID); at != want || err != nil {
			t.Errorf("tokens of %s are refused before %d, %v; want %d", user.Name, at, err, want)
		}
	}
	want(ann, 0)
	for _, step := range []struct{ at, want proto.UnixMilli }{
		{1_700_000_000_000, 1_700_000_000_000},
		{1_700_000_000_000, 1_700_000_000_000},
		{1_699_999_999_999, 1_700_000_000_000}, // never back
		{1, 1_700_000_000_000},
		{1_700_000_001_000, 1_700_000_001_000},
		{9_007_199_254_740_991, 9_007_199_254_740_991}, // the largest whole number of a float64
	} {
		if err := b.store.RefuseTokensBefore(b.ctx, ann.ID, step.at); err != nil {
			t.Fatalf("RefuseTokensBefore(%d): %v", step.at, err)
		}
		want(ann, step.want)
	}
	want(ben, 0)
	if name, found, err := b.store.Account(b.ctx, ann.ID); name != "ann" || !found || err != nil {
		t.Errorf("the account is %q, %t, %v", name, found, err)
	}
}
