package registry

import (
	"cmp"
	"context"
	"slices"
	"sync"

	"cim/proto"
)

// Memory is the registry of a single process. It never finds a member dead:
// a member of the same process ends with it, or deregisters.
type Memory struct {
	mu       sync.Mutex
	snapshot Snapshot      // replaced, never changed: callers share its members
	changed  chan struct{} // closed and replaced with the snapshot
}

var _ Registry = (*Memory)(nil)

// NewMemory returns a registry without members.
func NewMemory() *Memory { return &Memory{changed: make(chan struct{})} }

// Register is that of Registry.
func (m *Memory) Register(ctx context.Context, member proto.Member) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	members := slices.Clone(m.snapshot.Members)
	at, found := find(members, member)
	switch {
	case !found:
		members = slices.Insert(members, at, member)
	case members[at] == member:
		return nil
	default:
		members[at] = member
	}
	m.replace(members)
	return nil
}

// Deregister is that of Registry.
func (m *Memory) Deregister(ctx context.Context, member proto.Member) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	members := slices.Clone(m.snapshot.Members)
	at, found := find(members, member)
	if !found || members[at].Epoch != member.Epoch {
		return nil
	}
	m.replace(slices.Delete(members, at, at+1))
	return nil
}

// Snapshot is that of Registry.
func (m *Memory) Snapshot() Snapshot {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.snapshot
}

// Changed is that of Registry.
func (m *Memory) Changed() <-chan struct{} {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.changed
}

// Ready is that of Registry: what is in memory is never out of date.
func (m *Memory) Ready() error { return nil }

// replace makes members the snapshot and tells who waits. mu is held.
func (m *Memory) replace(members []proto.Member) {
	m.snapshot = Snapshot{Members: members}
	close(m.changed)
	m.changed = make(chan struct{})
}

// find returns the place that member has by its name, or would have.
func find(members []proto.Member, member proto.Member) (at int, found bool) {
	return slices.BinarySearchFunc(members, member.Name(), func(m proto.Member, name string) int {
		return cmp.Compare(m.Name(), name)
	})
}
