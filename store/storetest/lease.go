package storetest

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"cim/proto"
	"cim/store"
)

const leaseFor = time.Minute

// lease is had by one at a time, a user.
func lease(t *testing.T, b *bench) {
	ann, bob := b.register("ann"), b.register("bob")
	first := b.acquire(ann, leaseFor)
	if first == 0 {
		t.Fatal("a free lease was refused")
	}
	b.wantFree(ann, false)
	b.wantFree(bob, true)
	b.want("ReleaseIfEmpty", true)(b.store.ReleaseIfEmpty(b.ctx, ann.ID, first, 0))
	if second := b.acquire(ann, leaseFor); second == 0 || second == first {
		t.Errorf("lease %d after %d", second, first)
	}
	b.want("Extend of none", false)(b.store.Extend(b.ctx, bob.ID, 0, leaseFor))
	b.wantFree(bob, true)
}

// leaseTTL lets others have the lease from its ttl on, counted from the last
// Extend; its old holder then has nothing to give back.
func leaseTTL(t *testing.T, b *bench) {
	ann := b.register("ann")
	first := b.acquire(ann, leaseFor)
	b.clock.move(leaseFor - time.Millisecond)
	b.want("Extend", true)(b.store.Extend(b.ctx, ann.ID, first, leaseFor))
	b.clock.move(leaseFor - time.Millisecond)
	b.wantFree(ann, false)
	b.clock.move(time.Millisecond)
	second := b.acquire(ann, leaseFor)
	if second == 0 || second == first {
		t.Fatalf("past its ttl: lease %d after %d", second, first)
	}
	b.append(ann, ann, "waits")
	b.want("Extend of a lost one", false)(b.store.Extend(b.ctx, ann.ID, first, leaseFor))
	b.want("ReleaseIfEmpty of a lost one", true)(b.store.ReleaseIfEmpty(b.ctx, ann.ID, first, 0))
	if err := b.store.Abandon(b.ctx, ann.ID, first); err != nil {
		t.Fatalf("Abandon of a lost one: %v", err)
	}
	b.wantFree(ann, false)
	b.want("Extend", true)(b.store.Extend(b.ctx, ann.ID, second, leaseFor))
}

// leaseOverdue leaves a lease past its ttl to its holder while nobody takes
// it: a text that came before is still the holder's matter.
func leaseOverdue(_ *testing.T, b *bench) {
	ann := b.register("ann")
	overdue := b.acquire(ann, leaseFor)
	b.append(ann, ann, "its sender was refused the lease")
	b.wantFree(ann, false)
	b.clock.move(leaseFor)
	b.want("ReleaseIfEmpty", false)(b.store.ReleaseIfEmpty(b.ctx, ann.ID, overdue, 0))
	b.want("Extend", true)(b.store.Extend(b.ctx, ann.ID, overdue, leaseFor))
	b.wantFree(ann, false)
}

// releaseIfEmpty keeps the lease while the box has a text.
func releaseIfEmpty(_ *testing.T, b *bench) {
	ann := b.register("ann")
	b.append(ann, ann, "1", "2")
	lease := b.acquire(ann, leaseFor)
	page := b.page(ann)
	b.want("ReleaseIfEmpty with two texts", false)(b.store.ReleaseIfEmpty(b.ctx, ann.ID, lease, 0))
	b.remove(ann, page[0])
	b.want("ReleaseIfEmpty with one text", false)(b.store.ReleaseIfEmpty(b.ctx, ann.ID, lease, 0))
	b.wantFree(ann, false)
	b.remove(ann, page[1])
	b.want("ReleaseIfEmpty", true)(b.store.ReleaseIfEmpty(b.ctx, ann.ID, lease, 0))
	b.wantFree(ann, true)
	b.want("ReleaseIfEmpty again", true)(b.store.ReleaseIfEmpty(b.ctx, ann.ID, lease, 0))
}

// releaseRead keeps the lease while the box has a text behind the one that was
// read last, wherever texts were removed.
func releaseRead(_ *testing.T, b *bench) {
	ann := b.register("ann")
	b.append(ann, ann, "1", "2", "3", "4")
	page := b.page(ann)
	last := page[3].Serial
	for _, after := range []uint64{page[0].Serial, page[2].Serial, last, last + 1, ^uint64(0)} {
		lease := b.acquire(ann, leaseFor)
		b.want("ReleaseIfEmpty", after >= last)(b.store.ReleaseIfEmpty(b.ctx, ann.ID, lease, after))
		if after < last {
			b.abandon(ann, lease)
		}
		b.wantFree(ann, true)
	}
	lease := b.acquire(ann, leaseFor)
	b.remove(ann, page[3], page[0])
	b.want("ReleaseIfEmpty in front of a text", false)(b.store.ReleaseIfEmpty(b.ctx, ann.ID, lease, page[1].Serial))
	b.remove(ann, page[2])
	b.want("ReleaseIfEmpty where texts were removed behind", true)(b.store.ReleaseIfEmpty(b.ctx, ann.ID, lease, page[1].Serial))
	lease = b.acquire(ann, leaseFor)
	b.append(ann, ann, "5")
	b.want("ReleaseIfEmpty with a new text", false)(b.store.ReleaseIfEmpty(b.ctx, ann.ID, lease, last))
	b.clock.move(ttl)
	b.want("ReleaseIfEmpty when it is too old", true)(b.store.ReleaseIfEmpty(b.ctx, ann.ID, lease, last))
}

// releaseExpired counts a box as empty whose texts are all too old.
func releaseExpired(_ *testing.T, b *bench) {
	ann := b.register("ann")
	b.append(ann, ann, "old")
	b.clock.move(time.Millisecond)
	b.append(ann, ann, "less old")
	lease := b.acquire(ann, leaseFor)
	b.clock.move(ttl - time.Millisecond)
	b.want("ReleaseIfEmpty with one text", false)(b.store.ReleaseIfEmpty(b.ctx, ann.ID, lease, 0))
	b.clock.move(time.Millisecond)
	b.want("ReleaseIfEmpty", true)(b.store.ReleaseIfEmpty(b.ctx, ann.ID, lease, 0))
	b.wantFree(ann, true)
}

// releaseConcurrently lets some store a text for one user at the same time,
// each of whom then catches up if the lease is free. Whoever is refused relies
// on the holder: so when all are done, no text is left.
func releaseConcurrently(t *testing.T, b *bench) {
	const senders, rounds = 3, 150
	ann := b.register("ann")
	for round := range rounds {
		var all sync.WaitGroup
		for range senders {
			all.Go(func() {
				if err := storeAndCatchUp(b.ctx, b.store, ann); err != nil {
					t.Errorf("store and catch up: %v", err)
				}
			})
		}
		all.Wait()
		if left := b.page(ann); len(left) != 0 {
			t.Fatalf("round %d: %d texts are left and nobody looks at them", round, len(left))
		}
		b.wantFree(ann, true)
	}
}

func storeAndCatchUp(ctx context.Context, s store.Store, user proto.User) error {
	if err := s.Append(ctx, user.ID, user, 0, 0, []string{"text"}); err != nil {
		return err
	}
	lease, err := s.Acquire(ctx, user.ID, leaseFor)
	if err != nil || lease == 0 {
		return err
	}
	for released := false; !released; {
		page, err := s.Page(ctx, user.ID, 0)
		if err != nil {
			return err
		}
		if len(page) > 0 {
			err = s.Remove(ctx, user.ID, keysOf(page))
		}
		if err != nil {
			return err
		}
		if released, err = s.ReleaseIfEmpty(ctx, user.ID, lease, 0); err != nil {
			return err
		}
	}
	return nil
}

// abandon gives the lease back and leaves the texts.
func abandon(t *testing.T, b *bench) {
	ann := b.register("ann")
	b.append(ann, ann, "stays")
	lease := b.acquire(ann, leaseFor)
	if err := b.store.Abandon(b.ctx, ann.ID, lease+1); err != nil {
		t.Fatalf("Abandon of another: %v", err)
	}
	b.wantFree(ann, false)
	if err := b.store.Abandon(b.ctx, ann.ID, lease); err != nil {
		t.Fatalf("Abandon: %v", err)
	}
	b.wantFree(ann, true)
	if page := b.page(ann); len(page) != 1 {
		t.Errorf("%d texts are left, want 1", len(page))
	}
}

// cancelled calls every method with a context that has ended: each says so and
// does nothing.
func cancelled(t *testing.T, b *bench) {
	ann := b.register("ann")
	generation := b.claimed(ann, here, 0)
	b.append(ann, ann, "stays")
	lease := b.acquire(ann, leaseFor)
	ctx, cancel := context.WithCancel(b.ctx)
	cancel()
	for name, err := range callAll(ctx, b.store, ann, generation, lease, b.page(ann)[0].Serial) {
		if !errors.Is(err, context.Canceled) {
			t.Errorf("%s: %v, want that its context was cancelled", name, err)
		}
	}
	if at, err := b.store.TokensRefusedBefore(b.ctx, ann.ID); at != 0 || err != nil {
		t.Errorf("tokens are refused before %d, %v; want none", at, err)
	}
	b.wantRecord(ann, store.Record{Place: here, Generation: generation})
	b.wantFree(ann, false)
	page := b.page(ann)
	if len(page) != 1 {
		t.Fatalf("%d texts are left, want 1", len(page))
	}
	b.remove(ann, page[0])
	b.want("ReleaseIfEmpty", true)(b.store.ReleaseIfEmpty(b.ctx, ann.ID, lease, 0))
	if bob := b.register("bob"); bob.ID != ann.ID+1 {
		t.Errorf("the next account is %d, want %d", bob.ID, ann.ID+1)
	}
}

// callAll calls every method and returns the errors by the methods' names.
func callAll(ctx context.Context, s store.Store, user proto.User, generation proto.Generation, lease store.Lease, serial uint64) map[string]error {
	errs := map[string]error{"Ready": s.Ready(ctx)}
	_, errs["Register"] = s.Register(ctx, "bob")
	_, errs["Register known"] = s.Register(ctx, user.Name)
	_, _, errs["Find"] = s.Find(ctx, user.Name)
	_, _, errs["Account"] = s.Account(ctx, user.ID)
	errs["RefuseTokensBefore"] = s.RefuseTokensBefore(ctx, user.ID, 1)
	_, errs["TokensRefusedBefore"] = s.TokensRefusedBefore(ctx, user.ID)
	_, errs["Claim"] = s.Claim(ctx, user.ID, there, generation)
	_, errs["Confirm"] = s.Confirm(ctx, user.ID, generation)
	_, errs["Release"] = s.Release(ctx, user.ID, generation)
	_, errs["Restore"] = s.Restore(ctx, here, []proto.Session{{User: user.ID, Generation: generation + 1}})
	_, _, errs["Lookup"] = s.Lookup(ctx, user.ID, store.Fresh)
	_, _, errs["Lookup cached"] = s.Lookup(ctx, user.ID, store.Cached)
	_, errs["Connected"] = s.Connected(ctx)
	errs["Append"] = s.Append(ctx, user.ID, user, 0, 0, []string{"text"})
	_, errs["Page"] = s.Page(ctx, user.ID, 0)
	errs["Return"] = s.Return(ctx, user.ID, []store.Returned{{Sender: user, Text: "text"}})
	errs["Remove"] = s.Remove(ctx, user.ID, []store.TextKey{{Serial: serial}})
	_, errs["Acquire"] = s.Acquire(ctx, user.ID, leaseFor)
	_, errs["Extend"] = s.Extend(ctx, user.ID, lease, leaseFor)
	_, errs["ReleaseIfEmpty"] = s.ReleaseIfEmpty(ctx, user.ID, lease, 0)
	errs["Abandon"] = s.Abandon(ctx, user.ID, lease)
	return errs
}
