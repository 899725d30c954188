package route

import (
	"context"
	"sync"
	"sync/atomic"

	"cim/proto"
	"cim/registry"
)

// servers is what one snapshot of the registry means for this route. It is
// shared: nobody changes it.
type servers struct {
	all     []*server // in the order of their names
	byEpoch map[proto.Epoch]*server
	ring    ring
}

func newServers(all []*server) *servers {
	byEpoch := make(map[proto.Epoch]*server, len(all))
	for _, s := range all {
		byEpoch[s.member.Epoch] = s
	}
	return &servers{all: all, byEpoch: byEpoch, ring: newRing(all)}
}

// which returns those that are so.
func (s *servers) which(so func(*server) bool) []*server {
	found := make([]*server, 0, len(s.all))
	for _, one := range s.all {
		if so(one) {
			found = append(found, one)
		}
	}
	return found
}

// linked returns those whose link is up.
func (s *servers) linked() []*server { return s.which((*server).linked) }

// cluster follows the registry and keeps a link to each live server.
//
// A live server whose link's protocol has another version is one of the live
// servers, which is never linked: routes of its version are.
type cluster struct {
	registry registry.Registry
	dialer   dialer
	present  atomic.Pointer[servers]

	// The follower's only.
	kept  map[proto.Epoch]keptServer
	links sync.WaitGroup
}

type keptServer struct {
	*server
	drop context.CancelFunc
}

func newCluster(r registry.Registry, d dialer) *cluster {
	c := &cluster{registry: r, dialer: d, kept: map[proto.Epoch]keptServer{}}
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
		c.take(ctx, c.registry.Snapshot())
		select {
		case <-changed:
		case <-ctx.Done():
			c.links.Wait()
			return
		}
	}
}

// take links to the members that are new and drops the links to those that
// are not there any more.
func (c *cluster) take(ctx context.Context, snapshot registry.Snapshot) {
	all := make([]*server, 0, len(snapshot.Members))
	var fresh []*server
	live := make(map[proto.Epoch]bool, len(snapshot.Members))
	for _, m := range snapshot.Members {
		if m.Epoch == 0 || live[m.Epoch] {
			continue // the original's servers take no link
		}
		live[m.Epoch] = true
		s := c.kept[m.Epoch].server
		if s == nil {
			s = newServer(m, c.dialer.counters)
			fresh = append(fresh, s)
		}
		all = append(all, s)
	}
	c.present.Store(newServers(all))
	for _, s := range fresh {
		c.link(ctx, s) // behind the store: whoever finds s not live can rely on its link coming up later
	}
	for epoch, k := range c.kept {
		if !live[epoch] {
			k.drop()
			delete(c.kept, epoch)
		}
	}
}

func (c *cluster) link(ctx context.Context, s *server) {
	ctx, drop := context.WithCancel(ctx)
	c.kept[s.member.Epoch] = keptServer{s, drop}
	if s.member.Version != proto.LinkVersion {
		c.dialer.counters.foreign.Inc()
		c.dialer.log.Warn("server not linked: its link has another version",
			"server", s.member.Name(), "version", s.member.Version, "want", proto.LinkVersion)
		return
	}
	c.links.Go(func() { c.dialer.keep(ctx, s) })
}
