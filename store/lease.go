package store

import (
	"context"
	"sync"
	"time"

	"cim/proto"
)

// MemoryLeases is the part of Offline that says who catches up, for a store
// of a single process.
type MemoryLeases struct {
	now  func() time.Time
	read func(user proto.UserID, after uint64) bool // a user's box has nothing behind a serial; called with mu held

	mu   sync.Mutex
	held map[proto.UserID]heldLease
	last Lease
}

type heldLease struct {
	lease Lease
	until time.Time // from then on somebody else may take it
}

// NewMemoryLeases returns leases that nobody has. read reports whether a user's
// box has no text behind a serial; it must not call the leases. From the moment
// that an Append is answered it must see the text.
func NewMemoryLeases(now func() time.Time, read func(user proto.UserID, after uint64) bool) *MemoryLeases {
	return &MemoryLeases{now: now, read: read, held: make(map[proto.UserID]heldLease)}
}

// Acquire is that of Offline.
func (l *MemoryLeases) Acquire(ctx context.Context, user proto.UserID, ttl time.Duration) (Lease, error) {
	if err := ctx.Err(); err != nil {
		return 0, err
	}
	now := l.now()
	l.mu.Lock()
	defer l.mu.Unlock()
	if held, found := l.held[user]; found && now.Before(held.until) {
		return 0, nil
	}
	l.last++
	l.held[user] = heldLease{lease: l.last, until: now.Add(ttl)}
	return l.last, nil
}

// Extend is that of Offline.
func (l *MemoryLeases) Extend(ctx context.Context, user proto.UserID, lease Lease, ttl time.Duration) (bool, error) {
	if err := ctx.Err(); err != nil {
		return false, err
	}
	until := l.now().Add(ttl)
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.has(user, lease) {
		return false, nil
	}
	l.held[user] = heldLease{lease: lease, until: until}
	return true, nil
}

// ReleaseIfEmpty is that of Offline.
//
// A text is in its box before its sender tries to acquire: a sender that is
// refused came while mu was free and the lease held, so a release after it
// sees the text.
func (l *MemoryLeases) ReleaseIfEmpty(ctx context.Context, user proto.UserID, lease Lease, after uint64) (bool, error) {
	if err := ctx.Err(); err != nil {
		return false, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.has(user, lease) {
		return true, nil
	}
	if !l.read(user, after) {
		return false, nil
	}
	delete(l.held, user)
	return true, nil
}

// Abandon is that of Offline.
func (l *MemoryLeases) Abandon(ctx context.Context, user proto.UserID, lease Lease) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.has(user, lease) {
		delete(l.held, user)
	}
	return nil
}

// has reports whether lease is still user's. mu is held.
func (l *MemoryLeases) has(user proto.UserID, lease Lease) bool {
	held, found := l.held[user]
	return found && held.lease == lease
}
