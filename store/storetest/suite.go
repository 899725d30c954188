// Package storetest is the conformance suite of package store: what every
// store does alike, walked to each bound and one past it. A store's own tests
// call Run; what only one store can do (to survive a kill, say) it tests there.
package storetest

import (
	"context"
	"math"
	"slices"
	"sync"
	"testing"
	"time"

	"cim/proto"
	"cim/store"
)

// Factory makes an empty store that reads the clock of config, and closes it
// when t ends.
type Factory func(t *testing.T, config store.Config) store.Store

// patience bounds one test, so that a store that hangs fails.
const patience = time.Minute

// ttl is the age bound of the offline messages of all tests.
const ttl = time.Hour

// againSchedules is how many random schedules RunAgain takes for the model.
const againSchedules = 20

// Run runs the suite on stores that make makes.
func Run(t *testing.T, make Factory) { run(t, make, math.MaxInt) }

// RunAgain runs the suite on a store that Run has gone through, in another
// setting of its own: of the model's random schedules, which take most of the
// time, it takes the first 20.
func RunAgain(t *testing.T, make Factory) { run(t, make, againSchedules) }

func run(t *testing.T, make Factory, schedules int) {
	for name, test := range map[string]func(*testing.T, *bench){
		"RegisterKnown":        registerKnown,
		"RegisterNames":        registerNames,
		"UserIDs":              userIDs,
		"RegisterConcurrently": registerConcurrently,
		"RefuseTokens":         refuseTokens,
		"Claim":                claim,
		"ClaimConcurrently":    claimConcurrently,
		"GenerationsGrow":      generationsGrow,
		"Confirm":              confirm,
		"Release":              release,
		"Lookup":               lookup,
		"Connected":            connected,
		"Restore":              restore,
		"RestoreLost":          restoreLost,
		"RestoreConcurrently":  restoreConcurrently,
		"AppendOrder":          appendOrder,
		"SentTimes":            sentTimes,
		"AppendConcurrently":   appendConcurrently,
		"TextIDs":              textIDs,
		"BoxCount":             boxCount,
		"BoxBytes":             boxBytes,
		"Share":                share,
		"BoxesApart":           boxesApart,
		"PageCount":            pageCount,
		"PageBytes":            pageBytes,
		"PageAfter":            pageAfter,
		"Remove":               remove,
		"RemoveByID":           removeByID,
		"RemoveAnywhere":       removeAnywhere,
		"AppendAgain":          appendAgain,
		"AppendAgainFull":      appendAgainFull,
		"Return":               returnTexts,
		"ReturnAgain":          returnAgain,
		"ReturnFull":           returnFull,
		"TwoRoutes":            twoRoutes,
		"SerialsGrow":          serialsGrow,
		"Expiry":               expiry,
		"StoredNeverBackwards": storedNeverBackwards,
		"Lease":                lease,
		"LeaseTTL":             leaseTTL,
		"LeaseOverdue":         leaseOverdue,
		"ReleaseIfEmpty":       releaseIfEmpty,
		"ReleaseRead":          releaseRead,
		"ReleaseExpired":       releaseExpired,
		"ReleaseConcurrently":  releaseConcurrently,
		"Abandon":              abandon,
		"Cancelled":            cancelled,
		"Model":                func(t *testing.T, b *bench) { model(t, b, schedules) },
	} {
		t.Run(name, func(t *testing.T) { test(t, newBench(t, make)) })
	}
}

// bench is a store under test, with its clock.
type bench struct {
	t     *testing.T
	ctx   context.Context
	store store.Store
	clock *clock
}

func newBench(t *testing.T, make Factory) *bench {
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	clock := &clock{now: time.UnixMilli(1_700_000_000_000)}
	s := make(t, store.Config{Now: clock.Now, OfflineTTL: ttl})
	if err := s.Ready(ctx); err != nil {
		t.Fatalf("a new store is not ready: %v", err)
	}
	return &bench{t: t, ctx: ctx, store: s, clock: clock}
}

// register returns the account called name. The test's goroutine calls it, as
// all methods of bench.
func (b *bench) register(name string) proto.User {
	b.t.Helper()
	user, err := b.store.Register(b.ctx, name)
	if err != nil {
		b.t.Fatalf("Register(%q): %v", name, err)
	}
	return user
}

// append stores texts, which must fit.
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

// remove removes texts by their keys.
func (b *bench) remove(user proto.User, texts ...store.OfflineMessage) {
	b.t.Helper()
	b.removeKeys(user, keysOf(texts)...)
}

func keysOf(texts []store.OfflineMessage) []store.TextKey {
	keys := make([]store.TextKey, len(texts))
	for i, text := range texts {
		keys[i] = text.Key()
	}
	return keys
}

func (b *bench) removeKeys(user proto.User, keys ...store.TextKey) {
	b.t.Helper()
	if err := b.store.Remove(b.ctx, user.ID, keys); err != nil {
		b.t.Fatalf("Remove of %d keys: %v", len(keys), err)
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

func (b *bench) acquire(user proto.User, ttl time.Duration) store.Lease {
	b.t.Helper()
	lease, err := b.store.Acquire(b.ctx, user.ID, ttl)
	if err != nil {
		b.t.Fatalf("Acquire: %v", err)
	}
	return lease
}

// wantFree checks whether user's lease can be had, and gives it back.
func (b *bench) wantFree(user proto.User, free bool) {
	b.t.Helper()
	lease := b.acquire(user, time.Second)
	if (lease != 0) != free {
		b.t.Fatalf("the lease is free: %t, want %t", lease != 0, free)
	}
	b.abandon(user, lease)
}

func (b *bench) abandon(user proto.User, lease store.Lease) {
	b.t.Helper()
	if err := b.store.Abandon(b.ctx, user.ID, lease); err != nil {
		b.t.Fatalf("Abandon: %v", err)
	}
}

// wantTexts checks what is in user's box, by its texts.
func (b *bench) wantTexts(user proto.User, want ...string) []store.OfflineMessage {
	b.t.Helper()
	page, got := b.page(user), []string{}
	for _, message := range page {
		got = append(got, message.Text)
	}
	if !slices.Equal(got, want) {
		b.t.Fatalf("the box has %q, want %q", got, want)
	}
	return page
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

// clock is a clock that only the test moves.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

// Now is called by any goroutine.
func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

// move moves the clock by d, which may be negative.
func (c *clock) move(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}
