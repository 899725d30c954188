package route

import (
	"cmp"
	"context"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"cim/proto"
	"cim/registry"
)

// servers is what one snapshot of the registry means for this route. It is shared and immutable.
type servers struct {
	ours       []*server // the live ones of ours, in the order of their names
	guests     []*server // the live ones of another system
	candidates []*server // ours and guests, in the order of their names
	byEpoch    map[proto.Epoch]*server
	ring       ring // of the choices
	olderLinks bool // some member has a link of an older version, so there are routes of that version too
}

// newServers returns what choices, in the order of their names, are together.
func newServers(choices []*server) *servers {
	present := &servers{candidates: choices, ring: newRing(choices), byEpoch: make(map[proto.Epoch]*server, len(choices))}
	for _, s := range choices {
		present.byEpoch[s.member.Epoch] = s
		if s.guest() {
			present.guests = append(present.guests, s)
			continue
		}
		present.ours = append(present.ours, s)
		present.olderLinks = present.olderLinks || s.member.Version < proto.LinkVersion
	}
	return present
}

func byName(a, b *server) int { return cmp.Compare(a.member.Name(), b.member.Name()) }

// filter returns the servers of ours for which so is true.
func (s *servers) filter(so func(*server) bool) []*server { return filterServers(s.ours, so) }

func filterServers(some []*server, so func(*server) bool) []*server {
	found := make([]*server, 0, len(some))
	for _, one := range some {
		if so(one) {
			found = append(found, one)
		}
	}
	return found
}

// linked returns the servers of ours whose link is up.
func (s *servers) linked() []*server { return s.filter((*server).linked) }

// open returns the servers that accept logins.
func (s *servers) open() []*server { return filterServers(s.candidates, (*server).open) }

// cluster follows the registry and keeps a link to each live server.
//
// A live server whose link has another version is never linked: routes of its own version are
// linked to it.
type cluster struct {
	registry registry.Registry
	dialer   dialer
	current  atomic.Pointer[servers]
	skipped  atomic.Int64 // members without an epoch, which no link can name

	guestLinks context.Context // ends the links to guests
	endGuests  context.CancelFunc

	// The follower's only.
	tracked map[proto.Epoch]trackedServer
	links   sync.WaitGroup
}

type trackedServer struct {
	*server
	drop  context.CancelFunc
	until time.Time // when it is dropped; zero: it is in the registry
}

func newCluster(ctx context.Context, r registry.Registry, d dialer) *cluster {
	c := &cluster{registry: r, dialer: d, tracked: map[proto.Epoch]trackedServer{}}
	c.guestLinks, c.endGuests = context.WithCancel(ctx)
	c.current.Store(newServers(nil))
	return c
}

// servers returns the live servers.
func (c *cluster) servers() *servers { return c.current.Load() }

// server returns the live server of this epoch, or nil: its sessions are gone.
func (c *cluster) server(epoch proto.Epoch) *server { return c.servers().byEpoch[epoch] }

// follow keeps the servers as the registry has them, until ctx ends and all
// links are closed.
func (c *cluster) follow(ctx context.Context) {
	for {
		changed := c.registry.Changed()
		var again <-chan time.Time
		if c.update(ctx, c.registry.Snapshot().Members) {
			again = time.After(vanishedPause)
		}
		select {
		case <-changed:
		case <-again:
		case <-ctx.Done():
			c.links.Wait()
			return
		}
	}
}

// update links to new members and drops the links of members that have vanished. vanished reports
// that it must be called again, since some vanished members are still kept.
func (c *cluster) update(ctx context.Context, members []proto.Member) (vanished bool) {
	all, fresh := c.admit(members)
	gone, late := c.findVanished(all, time.Now())
	all = append(all, late...)
	slices.SortStableFunc(all, byName)
	c.current.Store(newServers(all))
	for _, s := range fresh {
		c.link(ctx, s) // after the store: a caller that finds s not live can rely on its link coming up later
	}
	for _, epoch := range gone {
		c.tracked[epoch].drop()
		delete(c.tracked, epoch)
	}
	return len(late) > 0
}

// admit returns the servers of the members; fresh are the ones without a link so far.
func (c *cluster) admit(members []proto.Member) (all, fresh []*server) {
	met := make(map[proto.Epoch]bool, len(members))
	passedBy := int64(0)
	for _, m := range members {
		if m.Epoch == 0 {
			passedBy++
		}
		if m.Epoch == 0 || met[m.Epoch] {
			continue
		}
		met[m.Epoch] = true
		k, found := c.tracked[m.Epoch]
		if !found {
			k.server = newServer(m, c.dialer.counters)
			fresh = append(fresh, k.server)
		} else if !k.until.IsZero() {
			k.until = time.Time{}
			k.vanished.Store(false)
			c.tracked[m.Epoch] = k
		}
		all = append(all, k.server)
	}
	c.skipped.Store(passedBy)
	return all, fresh
}

const (
	// vanishedTime is how long a member that has vanished from the registry stays live while its
	// link is up. Its session with the registry may have expired through no fault of its own, and
	// it registers again within a second or two. A member that has said that it leaves stays live
	// for this long after its last sign of life.
	vanishedTime = 5 * time.Second
	// vanishedPause is the time between two checks of vanished members.
	vanishedPause = 200 * time.Millisecond
)

// findVanished looks at tracked servers that are not among the members. gone are the epochs to
// drop, guests at once; late are the servers that stay live for now.
func (c *cluster) findVanished(members []*server, now time.Time) (gone []proto.Epoch, late []*server) {
	names := make(map[string]bool, len(members))
	live := make(map[proto.Epoch]bool, len(members))
	for _, s := range members {
		names[s.member.Name()] = true
		live[s.member.Epoch] = true
	}
	for epoch, k := range c.tracked {
		if live[epoch] {
			continue
		}
		if k.until.IsZero() || k.leaving.Load() && k.responsive() {
			k.until = now.Add(vanishedTime)
			k.vanished.Store(true)
			c.tracked[epoch] = k
		}
		if k.guest() || names[k.member.Name()] || !k.linked() || !now.Before(k.until) {
			gone = append(gone, epoch)
		} else {
			late = append(late, k.server)
		}
	}
	return gone, late
}

func (c *cluster) link(ctx context.Context, s *server) {
	if s.guest() {
		ctx = c.guestLinks
	}
	ctx, drop := context.WithCancel(ctx)
	c.tracked[s.member.Epoch] = trackedServer{server: s, drop: drop}
	if s.member.Version != proto.LinkVersion {
		c.dialer.counters.foreign.Inc()
		c.dialer.log.Warn("server not linked: its link has another version",
			"server", s.member.Name(), "version", s.member.Version, "want", proto.LinkVersion)
		return
	}
	c.links.Go(func() { c.dialer.keep(ctx, s) })
}
