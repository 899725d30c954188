package compat

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"cim/proto"
	"cim/registry"
	"cim/store"
)

// members is who was in the last snapshot.
type members struct {
	now atomic.Pointer[memberView]

	mu sync.Mutex // held while a view is made
}

// memberView is what one snapshot says. It is shared: no goroutine changes it.
type memberView struct {
	guests   int
	original bool // processes of the original are there
	passedBy map[string]bool
	left     int                    // members that are not passed by
	epochs   map[string]proto.Epoch // by name, and of those that have left since goneTime
	gone     map[string]time.Time   // when those have left
	theirs   map[proto.Epoch]proto.Member
}

// goneTime is how long a member's name is known that has left the registry: longer
// than a route keeps its link for it.
const goneTime = time.Minute

func (m *members) seen() *memberView {
	if now := m.now.Load(); now != nil {
		return now
	}
	return &memberView{}
}

// Register is that of the registry.
func (a *Adapter) Register(ctx context.Context, m proto.Member) error {
	return a.registry.Register(ctx, m)
}

// Deregister is that of the registry.
func (a *Adapter) Deregister(ctx context.Context, m proto.Member) error {
	return a.registry.Deregister(ctx, m)
}

// Changed is that of the registry.
func (a *Adapter) Changed() <-chan struct{} { return a.registry.Changed() }

// Snapshot is that of the registry, in which servers of the original are guests.
func (a *Adapter) Snapshot() registry.Snapshot {
	snapshot := registry.Snapshot{Members: slices.Clone(a.registry.Snapshot().Members)}
	a.members.mu.Lock()
	defer a.members.mu.Unlock()
	before := a.members.seen()
	view := &memberView{passedBy: map[string]bool{}, epochs: map[string]proto.Epoch{}, theirs: map[proto.Epoch]proto.Member{}}
	for i := range snapshot.Members {
		m := &snapshot.Members[i]
		switch {
		case m.Epoch != 0:
		case !a.config.Servers || isOldest(*m):
			view.passedBy[m.Name()] = true
			if !before.passedBy[m.Name()] {
				a.logPassedBy(*m)
			}
			continue
		default:
			m.Epoch, m.Version, m.Guest = localEpoch(m.Name()), proto.LinkVersion, Guest
			view.theirs[m.Epoch] = *m
			view.guests++
		}
		view.left++
		view.original = view.original || m.Original || m.Guest != ""
		view.epochs[m.Name()] = m.Epoch
	}
	view.keepGone(before, time.Now())
	a.members.now.Store(view)
	return snapshot
}

// keepGone keeps the epochs of members of before that have left.
func (v *memberView) keepGone(before *memberView, now time.Time) {
	v.gone = map[string]time.Time{}
	for name, epoch := range before.epochs {
		if _, there := v.epochs[name]; there {
			continue
		}
		since, found := before.gone[name]
		if !found {
			since = now
		}
		if now.Sub(since) < goneTime {
			v.epochs[name], v.gone[name] = epoch, since
		}
	}
}

// Ready is that of the registry. Where all members are passed by it says what that
// may mean.
func (a *Adapter) Ready() error {
	err := a.registry.Ready()
	if view := a.members.seen(); len(view.passedBy) > 0 && view.left == 0 && !a.config.Servers {
		err = errors.Join(err, fmt.Errorf("%d members have no data of cim: if they are servers of the original, start with --original", len(view.passedBy)))
	}
	return err
}

// isOldest reports whether m is a server of the original's 1.0.0, whose nodes are
// ip-IP:cimPort:httpPort. It takes texts without their senders, and no batches.
func isOldest(m proto.Member) bool {
	ip, found := strings.CutPrefix(m.Host, "ip-")
	return found && net.ParseIP(ip) != nil
}

// logPassedBy logs a member that gets nothing of its route.
func (a *Adapter) logPassedBy(m proto.Member) {
	if isOldest(m) {
		a.log.Warn("a server of the original's version 1.0.0 gets no logins and no messages from this route: docs/original.md has the versions that do",
			"member", m.Name())
		return
	}
	a.log.Warn("a member without data of cim gets no logins and no messages; if it is a server of the original, start this route with --original",
		"member", m.Name())
}

// localEpoch stands for a server of the original in this process.
func localEpoch(name string) proto.Epoch {
	sum := fnv.New64a()
	sum.Write([]byte(name)) // never fails
	return proto.Epoch(max(sum.Sum64(), 1))
}

// resolved is record with the epoch of its server, if it has none and that is
// there: one of the original, or one of ours at which a route of the original has
// logged the user in.
func (a *Adapter) resolved(record store.Record) store.Record {
	if record.Place.Epoch == 0 && record.Generation == 0 {
		record.Place.Epoch = a.members.seen().epochs[placeName(record.Place)]
	}
	return record
}

// unresolved is record as the store has it.
func unresolved(record store.Record) store.Record {
	if record.Generation == 0 {
		record.Place.Epoch = 0
	}
	return record
}

func placeName(p store.Place) string {
	return proto.Member{Host: p.Host, CIMPort: p.CIMPort, HTTPPort: p.HTTPPort}.Name()
}

// guest returns the server of the original at place, if one is there.
func (a *Adapter) guest(place store.Place) (proto.Member, bool) {
	view := a.members.seen()
	m, found := view.theirs[view.epochs[placeName(place)]]
	return m, found
}

// place returns the place of the server of an epoch.
func (a *Adapter) place(epoch proto.Epoch) (place store.Place, found bool) {
	for name, of := range a.members.seen().epochs {
		if of == epoch {
			m, err := proto.ParseMemberName(name)
			return store.Place{Host: m.Host, CIMPort: m.CIMPort, HTTPPort: m.HTTPPort}, err == nil
		}
	}
	return store.Place{}, false
}
