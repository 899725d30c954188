package zk

import (
	"context"
	"fmt"
	"sync"
	"time"

	"cim/proto"
	"cim/registry"
)

// Registry is the live servers as ZooKeeper has them.
type Registry struct {
	config  Config
	every   time.Duration // between two reads that nothing asked for
	confirm time.Duration // between two reads of a node of our own

	ctx  context.Context // ends with Close
	quit context.CancelFunc
	done chan struct{} // closed when the watcher has ended
	asks chan struct{} // one place: a claim has changed

	// Shared, behind mu.
	mu       sync.Mutex
	snapshot registry.Snapshot // replaced, never changed: callers share its members
	changed  chan struct{}     // closed and replaced with the snapshot
	claims   map[string]*claim // by the member's name
	stale    time.Time         // since when the snapshot may be out of date; zero: it is not
	why      error             // that it is

	// The watcher's only.
	sessions  int             // that have begun
	keepUntil time.Time       // until then members that have vanished stay
	warned    bool            // of a root that everybody may change
	junk      map[string]bool // what the last read could not understand, by name
}

var _ registry.Registry = (*Registry)(nil)

// Open starts to watch the members. It does not wait for ZooKeeper: Ready says
// when the snapshot holds.
func Open(c Config) (*Registry, error) {
	if err := c.Check(); err != nil {
		return nil, err
	}
	return start(c, lookEvery, confirmEvery), nil
}

func start(c Config, lookEvery, confirmEvery time.Duration) *Registry {
	r := &Registry{
		config:  c.withDefaults(),
		every:   lookEvery,
		confirm: confirmEvery,
		done:    make(chan struct{}),
		asks:    make(chan struct{}, 1),
		changed: make(chan struct{}),
		claims:  make(map[string]*claim),
		stale:   time.Now(),
		why:     errNoSession,
	}
	r.ctx, r.quit = context.WithCancel(context.Background())
	go r.watch()
	return r
}

// Close ends the session, and with it the members that were registered here. It
// takes two seconds at most.
func (r *Registry) Close() {
	r.quit()
	<-r.done
}

// Register is that of registry.Registry. It waits until m's node stands. If ctx
// ends before, m is registered as soon as it can be: only Deregister and Close
// end that.
func (r *Registry) Register(ctx context.Context, m proto.Member) error {
	data, err := proto.AppendMemberData(nil, m)
	if err != nil {
		return fmt.Errorf("registry/zk: register: %w", err)
	}
	if err := proto.CheckHost(m.Host); err != nil {
		return fmt.Errorf("registry/zk: register: %w", err)
	}
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("registry/zk: register %s: %w", m.Name(), err)
	}
	r.mu.Lock()
	c := r.claims[m.Name()]
	if c == nil || c.member != m || c.leaving {
		if c != nil {
			close(c.replaced)
		}
		c = newClaim(m, data)
		r.claims[m.Name()] = c
	}
	r.mu.Unlock()
	return r.await(ctx, "register", c, c.stands)
}

// Deregister is that of registry.Registry. It waits until m's node is gone. If
// ctx ends before, the node goes as soon as it can be removed, at the latest
// with the session.
func (r *Registry) Deregister(ctx context.Context, m proto.Member) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("registry/zk: deregister %s: %w", m.Name(), err)
	}
	r.mu.Lock()
	c := r.claims[m.Name()]
	if c == nil || c.member.Epoch != m.Epoch {
		r.mu.Unlock()
		return nil
	}
	c.leaving = true
	r.mu.Unlock()
	return r.await(ctx, "deregister", c, c.gone)
}

// await has the watcher look at c and waits for settled.
func (r *Registry) await(ctx context.Context, what string, c *claim, settled <-chan struct{}) error {
	select {
	case r.asks <- struct{}{}:
	default: // it will look
	}
	var err error
	select {
	case <-settled:
		return nil
	case <-c.replaced:
		err = errReplaced
	case <-r.done:
		err = errClosed
	case <-ctx.Done():
		err = ctx.Err()
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	last := c.last
	if last == nil {
		last = r.why
	}
	if last != nil {
		return fmt.Errorf("registry/zk: %s %s: %w; last: %w", what, c.member.Name(), err, last)
	}
	return fmt.Errorf("registry/zk: %s %s: %w", what, c.member.Name(), err)
}

// Unregistered returns why m's node does not stand yet, or nil if it does, or if
// nothing is known.
func (r *Registry) Unregistered(m proto.Member) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if c := r.claims[m.Name()]; c != nil {
		return c.last
	}
	return nil
}

// Snapshot is that of registry.Registry.
func (r *Registry) Snapshot() registry.Snapshot {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.snapshot
}

// Changed is that of registry.Registry.
func (r *Registry) Changed() <-chan struct{} {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.changed
}

// Ready is that of registry.Registry. It says for how long the snapshot may
// have been out of date, and why.
func (r *Registry) Ready() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.stale.IsZero() {
		return nil
	}
	return fmt.Errorf("registry/zk: the members may be out of date for %v: %w",
		time.Since(r.stale).Round(time.Millisecond), r.why)
}
