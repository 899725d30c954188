package zk

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-zookeeper/zk"

	"cim/proto"
	"cim/registry"
)

const (
	// membersMax bounds the children that are read. With more the read fails.
	membersMax = 4096
	// readsAtOnce bounds the reads of nodes under way. The library's queue
	// holds them all, so none waits to be queued.
	readsAtOnce = 8
)

// node is one child of the root as it was read.
type node struct {
	member  proto.Member
	data    []byte
	owner   int64 // the session that it ends with; 0: a persistent node
	version int32
}

// read reads all members' nodes, by name. It fails as a whole: a part of the
// members is no answer.
func (r *Registry) read(s *session) (map[string]node, error) {
	names, err := s.children()
	if err != nil {
		return nil, err
	}
	if len(names) > membersMax {
		return nil, fmt.Errorf("%s has %d children, want at most %d", r.config.Root, len(names), membersMax)
	}
	members := r.understood(names)
	nodes := make([]*node, len(members))
	err = inParallel(len(members), func(i int) (err error) {
		nodes[i], err = s.node(members[i].Name())
		return err
	})
	if err != nil {
		return nil, err
	}
	return r.assemble(members, nodes), nil
}

// assemble joins names and data; a node that vanished between the two reads is
// left out, and the watch tells of it.
func (r *Registry) assemble(members []proto.Member, nodes []*node) map[string]node {
	found := make(map[string]node, len(members))
	for i, n := range nodes {
		if n == nil {
			continue
		}
		name := members[i].Name()
		var err error
		if n.member, err = proto.ParseMemberData(members[i], n.data); err != nil {
			r.complain(name, err)
		} else {
			delete(r.junk, name)
		}
		found[name] = *n
	}
	return found
}

// understood keeps the names that are members'.
func (r *Registry) understood(names []string) []proto.Member {
	present := make(map[string]bool, len(names))
	members := make([]proto.Member, 0, len(names))
	for _, name := range names {
		present[name] = true
		m, err := proto.ParseMemberName(name)
		if err == nil && m.Name() != name {
			err = fmt.Errorf("member %q would be %q", name, m.Name())
		}
		if err != nil {
			r.complain(name, err)
			continue
		}
		members = append(members, m)
	}
	maps.DeleteFunc(r.junk, func(name string, _ bool) bool { return !present[name] })
	return members
}

// complain logs once that a node cannot be understood, as long as it is there.
func (r *Registry) complain(name string, err error) {
	if r.junk[name] {
		return
	}
	if r.junk == nil {
		r.junk = make(map[string]bool)
	}
	r.junk[name] = true
	r.config.Log.Warn("a node of ZooKeeper is not as a member's", "node", name, "error", err)
}

// adopt publishes what was read, if it differs from what is published. Until
// keepUntil the members that have vanished stay: after an outage all sessions
// may have ended, and nobody is dead for that.
func (r *Registry) adopt(found map[string]node) {
	r.mu.Lock()
	defer r.mu.Unlock()
	var members []proto.Member
	for _, n := range found {
		members = append(members, n.member)
	}
	if time.Now().Before(r.keepUntil) {
		for _, m := range r.snapshot.Members {
			if _, ok := found[m.Name()]; !ok {
				members = append(members, m)
			}
		}
	}
	slices.SortFunc(members, byName)
	r.stale, r.why = time.Time{}, nil
	if slices.Equal(members, r.snapshot.Members) {
		return
	}
	r.config.Log.Info("the members have changed", "before", len(r.snapshot.Members), "now", len(members))
	r.snapshot = registry.Snapshot{Members: members}
	close(r.changed)
	r.changed = make(chan struct{})
}

// children reads the names under the root and has ZooKeeper tell of the next
// change, of a root that is not there too. The library keeps each watch until
// it fires, so none is set beside one that stands.
func (s *session) children() ([]string, error) {
	if s.watched.Swap(true) {
		names, err := call(s, "list "+s.root, func() ([]string, error) {
			names, _, err := s.conn.Children(s.root)
			return names, err
		})
		if errors.Is(err, zk.ErrNoNode) {
			return nil, nil
		}
		return names, err
	}
	names, err := s.watchChildren()
	if err != nil {
		s.watched.Store(false)
	}
	return names, err
}

// watchChildren sets a watch on the root's children, or on its coming.
func (s *session) watchChildren() ([]string, error) {
	for {
		names, err := call(s, "list "+s.root, func() ([]string, error) {
			names, _, _, err := s.conn.ChildrenW(s.root)
			return names, err
		})
		if !errors.Is(err, zk.ErrNoNode) {
			return names, err
		}
		there, err := call(s, "watch "+s.root, func() (bool, error) {
			there, _, _, err := s.conn.ExistsW(s.root)
			return there, err
		})
		if err != nil || !there {
			return nil, err
		}
	}
}

// node reads one child of the root, nil if it is not there.
func (s *session) node(name string) (*node, error) {
	n, err := call(s, "read "+name, func() (*node, error) {
		data, stat, err := s.conn.Get(s.root + "/" + name)
		if err != nil {
			return nil, err
		}
		return &node{data: data, owner: stat.EphemeralOwner, version: stat.Version}, nil
	})
	if errors.Is(err, zk.ErrNoNode) {
		return nil, nil
	}
	return n, err
}

// inParallel does 0 to n-1, a few at a time, and starts no more after a
// failure.
func inParallel(n int, do func(i int) error) error {
	var next atomic.Int64
	var all sync.WaitGroup
	var first error
	var once sync.Once
	for range min(n, readsAtOnce) {
		all.Go(func() {
			for i := int(next.Add(1)) - 1; i < n; i = int(next.Add(1)) - 1 {
				if err := do(i); err != nil {
					once.Do(func() { first = err })
					next.Add(int64(n))
				}
			}
		})
	}
	all.Wait()
	return first
}

func byName(a, b proto.Member) int { return cmp.Compare(a.Name(), b.Name()) }
