// Package registry is who is a live server: snapshots and changes. It has the
// interface and a registry in memory, which is all that a single process
// needs; other registries keep the members where other processes see them.
package registry

import (
	"context"

	"cim/proto"
)

// Snapshot is the members that were live at one moment, in the order of their
// names. It is shared: nobody changes it.
type Snapshot struct {
	Members []proto.Member
}

// Registry holds the live members. Every method may be called by any
// goroutine.
type Registry interface {
	// Register makes m live until Deregister, or until the registry finds it
	// dead. A member of the same name is replaced.
	Register(ctx context.Context, m proto.Member) error
	// Deregister ends m if it is still the member of its name and epoch.
	Deregister(ctx context.Context, m proto.Member) error
	// Snapshot returns the present members, without waiting.
	Snapshot() Snapshot
	// Changed returns a channel that is closed when the next snapshot differs
	// from the one present at the call. So: take the channel, then the snapshot.
	Changed() <-chan struct{}
	// Ready reports why the members may be out of date, or nil.
	Ready() error
}
