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

// servers is what one snapshot of the registry means for this route. It is
// shared: nobody changes it.
type servers struct {
	all     []*server // the live ones of ours, in the order of their names
	guests  []*server // the live ones of another system
	choices []*server // all of them, in the order of their names
	byEpoch map[proto.Epoch]*server
	ring    ring // of the choices
	older   bool // members whose link has an older version are there, and so routes that link to them
}

// newServers returns what choices, in the order of their names, are together.
func newServers(choices []*server) *servers {
	present := &servers{choices: choices, ring: newRing(choices), byEpoch: make(map[proto.Epoch]*server, len(choices))}
	for _, s := range choices {
		present.byEpoch[s.member.Epoch] = s
		if s.guest() {
			present.guests = append(present.guests, s)
			continue
		}
		present.all = append(present.all, s)
		present.older = present.older || s.member.Version < proto.LinkVersion
	}
	return present
}

func byName(a, b *server) int { return cmp.Compare(a.member.Name(), b.member.Name()) }

// which returns those of ours that are so.
func (s *servers) which(so func(*server) bool) []*server { return which(s.all, so) }

func which(some []*server, so func(*server) bool) []*server {
	found := make([]*server, 0, len(some))
	for _, one := range some {
		if so(one) {
			found = append(found, one)
		}
	}
	return found
}

// linked returns those of ours whose link is up.
func (s *servers) linked() []*server { return s.which((*server).linked) }

// open returns those that are open to logins.
func (s *servers) open() []*server { return which(s.choices, (*server).open) }

// cluster follows the registry and keeps a link to each live server.
//
// A live server whose link's protocol has another version is one of the live
// servers, which is never linked: routes of its version are.
type cluster struct {
	registry registry.Registry
	dialer   dialer
	present  atomic.Pointer[servers]
	passedBy atomic.Int64 // members without an epoch, which no link can name

	guestLinks context.Context // ends the links to guests
	endGuests  context.CancelFunc

	// The follower's only.
	kept  map[proto.Epoch]keptServer
	links sync.WaitGroup
}

type keptServer struct {
	*server
	drop  context.CancelFunc
	until time.Time // when it is dropped; zero: it is in the registry
}

func newCluster(ctx context.Context, r registry.Registry, d dialer) *cluster {
	c := &cluster{registry: r, dialer: d, kept: map[proto.Epoch]keptServer{}}
	c.guestLinks, c.endGuests = context.WithCancel(ctx)
	c.present.Store(newServers(nil))
	return c
}

// servers returns the live servers.
func (c *cluster) servers() *servers { return c.present.Load() }

// server returns the live server of this epoch, or nil: its sessions are gone.
func (c *cluster) server(epoch proto.Epoch) *server { return c.servers().byEpoch[epoch] }

// follow keeps the servers as the registry has them, until ctx ends and all
// links are closed.
func (c *cluster) follow(ctx context.Context) {
	for {
		changed := c.registry.Changed()
		var again <-chan time.Time
		if c.take(ctx, c.registry.Snapshot().Members) {
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

// take links to the members that are new and drops the links to those that
// are not there any more, or reports that it is to be called again for some.
func (c *cluster) take(ctx context.Context, members []proto.Member) (vanished bool) {
	all, fresh := c.admit(members)
	gone, late := c.absent(all, time.Now())
	all = append(all, late...)
	slices.SortStableFunc(all, byName)
	c.present.Store(newServers(all))
	for _, s := range fresh {
		c.link(ctx, s) // behind the store: whoever finds s not live can rely on its link coming up later
	}
	for _, epoch := range gone {
		c.kept[epoch].drop()
		delete(c.kept, epoch)
	}
	return len(late) > 0
}

// admit returns the servers of the members, of which fresh are not linked yet.
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
		k, found := c.kept[m.Epoch]
		if !found {
			k.server = newServer(m, c.dialer.counters)
			fresh = append(fresh, k.server)
		} else if !k.until.IsZero() {
			k.until = time.Time{}
			k.vanished.Store(false)
			c.kept[m.Epoch] = k
		}
		all = append(all, k.server)
	}
	c.passedBy.Store(passedBy)
	return all, fresh
}

const (
	// vanishedTime is how long a member that has vanished from the registry
	// while its link stands is live all the same: its session with the registry
	// may have ended for no fault of its own, and it registers again within a
	// second or two. One that has said that it goes down stays live for as long
	// after it was last heard.
	vanishedTime = 5 * time.Second
	// vanishedPause is between two looks at those that have vanished.
	vanishedPause = 200 * time.Millisecond
)

// absent returns those that are kept and not among the members: the epochs of
// those that are to be dropped, guests at once, and those that stay live for now.
func (c *cluster) absent(members []*server, now time.Time) (gone []proto.Epoch, late []*server) {
	names := make(map[string]bool, len(members))
	live := make(map[proto.Epoch]bool, len(members))
	for _, s := range members {
		names[s.member.Name()] = true
		live[s.member.Epoch] = true
	}
	for epoch, k := range c.kept {
		if live[epoch] {
			continue
		}
		if k.until.IsZero() || k.leaving.Load() && k.answers() {
			k.until = now.Add(vanishedTime)
			k.vanished.Store(true)
			c.kept[epoch] = k
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
	c.kept[s.member.Epoch] = keptServer{server: s, drop: drop}
	if s.member.Version != proto.LinkVersion {
		c.dialer.counters.foreign.Inc()
		c.dialer.log.Warn("server not linked: its link has another version",
			"server", s.member.Name(), "version", s.member.Version, "want", proto.LinkVersion)
		return
	}
	c.links.Go(func() { c.dialer.keep(ctx, s) })
}
