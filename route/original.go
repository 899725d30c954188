package route

import (
	"context"
	"hash/fnv"
	"net"
	"strings"

	"cim/proto"
	"cim/store"
)

// Servers of the original take no link. They are servers of this route all the
// same: of an epoch that only this route knows, which never leaves it, with a
// pusher instead of a stream. A login of theirs has generation 0, and its
// record three parts, from which resolved finds the server by its name.

// newOriginalServer returns the server of a member that has no epoch.
func newOriginalServer(m proto.Member, c *counters) *server {
	m.Epoch = localEpoch(m.Name())
	s := newServer(m, c)
	s.place.Epoch = 0
	s.pusher = newPusher(m, c)
	return s
}

// admitOriginals returns the servers of the members that have no epoch: none
// unless this route was told that there are servers of the original.
func (c *cluster) admitOriginals(members []proto.Member) []*server {
	there := make(map[string]*server)
	passedBy := make(map[string]bool)
	var all []*server
	for _, m := range members {
		if m.Epoch != 0 {
			continue
		}
		if !c.original || isOldest(m) {
			c.passBy(m, passedBy)
			continue
		}
		s := c.originals[m.Name()]
		if s == nil {
			s = newOriginalServer(m, c.dialer.counters)
			c.dialer.log.Info("server of the original", "server", m.Name())
		}
		there[m.Name()] = s
		all = append(all, s)
	}
	for name, s := range c.originals {
		if there[name] == nil {
			s.pusher.close()
			c.dialer.log.Info("server of the original is gone", "server", name)
		}
	}
	c.originals = there
	c.passedBy.Store(&passedBy)
	return all
}

// isOldest reports whether m is a server of the original's 1.0.0, whose nodes are
// ip-IP:cimPort:httpPort. It takes texts without their senders, and no batches.
func isOldest(m proto.Member) bool {
	ip, found := strings.CutPrefix(m.Host, "ip-")
	return found && net.ParseIP(ip) != nil
}

// passBy notes a member without data of ours, and logs it once while it is there.
func (c *cluster) passBy(m proto.Member, now map[string]bool) {
	now[m.Name()] = true
	if before := c.passedBy.Load(); before != nil && (*before)[m.Name()] {
		return
	}
	if isOldest(m) {
		c.dialer.log.Warn("a server of the original's version 1.0.0 gets no logins and no messages from this route: docs/original.md has the versions that do",
			"member", m.Name())
		return
	}
	c.dialer.log.Warn("a member without data of cim gets no logins and no messages; if it is a server of the original, start this route with --original",
		"member", m.Name())
}

// passedBys is how many members are passed by.
func (c *cluster) passedBys() int {
	if now := c.passedBy.Load(); now != nil {
		return len(*now)
	}
	return 0
}

// localEpoch stands for a server of the original in this route.
func localEpoch(name string) proto.Epoch {
	sum := fnv.New64a()
	sum.Write([]byte(name)) // never fails
	return proto.Epoch(max(sum.Sum64(), 1))
}

// resolved is record with the epoch of its server, if it has none and that is
// live: one of the original, or one of ours at which a route of the original
// has logged the user in.
func (r *Route) resolved(record store.Record) store.Record {
	if record.Place.Epoch == 0 && record.Generation == 0 {
		record.Place.Epoch = r.cluster.servers().epochs[recordName(record.Place)]
	}
	return record
}

func recordName(p store.Place) string {
	return proto.Member{Host: p.Host, CIMPort: p.CIMPort, HTTPPort: p.HTTPPort}.Name()
}

// unresolved is record as the store has it.
func unresolved(record store.Record) store.Record {
	if record.Generation == 0 {
		record.Place.Epoch = 0
	}
	return record
}

// beside returns what the store does for the original, or nil if no process of
// it is there.
func (r *Route) beside() store.Original {
	if !r.cluster.servers().beside {
		return nil
	}
	return r.original
}

// storeTexts stores m in the form that all who may have to bring it can read.
func (r *Route) storeTexts(ctx context.Context, receiver proto.UserID, m message) error {
	if beside := r.beside(); beside != nil {
		return beside.AppendOriginal(ctx, receiver, m.sender, m.id, m.at, m.texts)
	}
	return r.store.Append(ctx, receiver, m.sender, m.id, m.at, m.texts)
}

// releaseUngranted removes the record of a login without a grant at place.
func (r *Route) releaseUngranted(ctx context.Context, user proto.UserID, place store.Place) error {
	if r.original == nil {
		return nil // there is none in this store
	}
	place.Epoch = 0
	_, err := r.original.ReleaseOriginal(ctx, user, place)
	return err
}
