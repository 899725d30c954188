package zk

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/go-zookeeper/zk"

	"cim/proto"
)

const (
	// fightPauseMin and fightPauseMax bound the pause before a name is taken
	// back from another process that takes it too.
	fightPauseMin = 250 * time.Millisecond
	fightPauseMax = 5 * time.Second
	// fightOver is how long a node stands undisturbed until the next loss
	// counts as the first again.
	fightOver = 30 * time.Second
)

// claim is a member that was registered here.
type claim struct {
	// Fixed.
	member   proto.Member
	data     []byte
	stands   chan struct{} // closed by the watcher once the node stands
	gone     chan struct{} // closed by the watcher once it is gone for good
	replaced chan struct{} // closed once another claim has its name

	// Behind the registry's mu.
	leaving bool  // Deregister was called
	last    error // why the node does not stand, or is not gone

	// The watcher's only.
	took  time.Time     // when it was last taken from another process
	pause time.Duration // how long after that it may be taken again
}

func newClaim(m proto.Member, data []byte) *claim {
	return &claim{
		member: m, data: data,
		stands: make(chan struct{}), gone: make(chan struct{}), replaced: make(chan struct{}),
	}
}

// settle makes the nodes what the claims want, and returns when to look again.
func (r *Registry) settle(s *session, found map[string]node) time.Duration {
	wait := r.every
	for _, c := range r.claimed() {
		n, there := found[c.member.Name()]
		var err error
		var again time.Duration
		if r.isLeaving(c) {
			again, err = r.release(s, c, n, there)
		} else {
			again, err = r.hold(s, c, n, there)
		}
		r.note(s, c, err)
		wait = min(wait, again)
	}
	return wait
}

func (r *Registry) claimed() []*claim {
	r.mu.Lock()
	defer r.mu.Unlock()
	claims := make([]*claim, 0, len(r.claims))
	for _, c := range r.claims {
		claims = append(claims, c)
	}
	slices.SortFunc(claims, func(a, b *claim) int { return strings.Compare(a.member.Name(), b.member.Name()) })
	return claims
}

func (r *Registry) isLeaving(c *claim) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return c.leaving
}

// note remembers why c is not as it should be, for who waits.
func (r *Registry) note(s *session, c *claim, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err != nil && s.up.Load() && s.ctx.Err() == nil && !sameText(err, c.last) {
		r.config.Log.Warn("a member's node is not as it should be", "node", c.member.Name(), "error", err)
	}
	c.last = err
}

// confirmed reads the nodes of our own that stand, and reports whether all of
// them are as they should be. Of the others nothing is said.
func (r *Registry) confirmed(s *session) bool {
	well := true
	for _, c := range r.claimed() {
		if r.isLeaving(c) || !closed(c.stands) {
			continue
		}
		n, err := s.node(c.member.Name())
		if err != nil || n == nil || !s.owns(c, *n) {
			well = false
			continue
		}
		r.config.Confirmed(c.member)
	}
	return well
}

// owns reports whether n is c's node, made by this session.
func (s *session) owns(c *claim, n node) bool {
	return n.owner == s.conn.SessionID() && bytes.Equal(n.data, c.data)
}

// hold makes c's node stand.
func (r *Registry) hold(s *session, c *claim, n node, there bool) (time.Duration, error) {
	switch {
	case !there:
		return r.stood(c, s.create(c))
	case s.owns(c, n):
		return r.stood(c, nil)
	case n.owner == s.conn.SessionID() || bytes.Equal(n.data, c.data):
		// Our own, with other data or from an earlier session.
		return r.stood(c, s.replace(c, n))
	}
	return r.takeOver(s, c, n)
}

// takeOver replaces another process's node. It may be what a former run left
// behind. If it comes back somebody else claims the name, and each further time
// takes longer.
func (r *Registry) takeOver(s *session, c *claim, n node) (time.Duration, error) {
	if wait := time.Until(c.took.Add(c.pause)); wait > 0 {
		return wait, fmt.Errorf("the name is taken by epoch %d, link %q, of session %#x", n.member.Epoch, n.member.Link, n.owner)
	}
	if time.Since(c.took) > c.pause+fightOver {
		c.pause = 0
	}
	r.config.Log.Warn("a node under our name is another process's: it is replaced; if that lives, two servers have one address",
		"node", c.member.Name(), "epoch", n.member.Epoch, "link", n.member.Link, "session", n.owner)
	c.pause = min(fightPauseMax, max(fightPauseMin, 2*c.pause))
	c.pause -= time.Duration(rand.Int64N(int64(c.pause / 4)))
	c.took = time.Now()
	return r.stood(c, s.replace(c, n))
}

// stood tells that c's node stands, or that it is looked at again.
func (r *Registry) stood(c *claim, err error) (time.Duration, error) {
	if err != nil {
		return retryAfter, err
	}
	closeOnce(c.stands)
	r.config.Confirmed(c.member)
	return r.every, nil
}

// release removes c's node if it is ours, and forgets c.
func (r *Registry) release(s *session, c *claim, n node, there bool) (time.Duration, error) {
	if there && (n.owner == s.conn.SessionID() || bytes.Equal(n.data, c.data)) {
		if err := s.remove(c, n); err != nil {
			return retryAfter, err
		}
	}
	r.mu.Lock()
	if r.claims[c.member.Name()] == c {
		delete(r.claims, c.member.Name())
	}
	r.mu.Unlock()
	closeOnce(c.gone)
	return r.every, nil
}

// closeOnce is for the watcher, which alone closes these.
func closeOnce(c chan struct{}) {
	if !closed(c) {
		close(c)
	}
}

func closed(c chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// sameText reports whether b has said what a says. What repeats is logged once.
func sameText(a, b error) bool { return b != nil && a.Error() == b.Error() }

// create makes c's node, and the root if need be. A node that has come
// meanwhile is looked at again when the watch tells of it.
func (s *session) create(c *claim) error {
	err := s.createNode(c)
	if errors.Is(err, zk.ErrNoNode) {
		if err = s.createRoot(); err == nil {
			err = s.createNode(c)
		}
	}
	return err
}

func (s *session) createNode(c *claim) error {
	return s.do("create "+c.member.Name(), func() error {
		_, err := s.conn.Create(s.path(c), c.data, zk.FlagEphemeral, s.nodeACL)
		return err
	})
}

// createRoot makes the root and what is above it.
func (s *session) createRoot() error {
	var above []string
	for p := s.root; p != "/"; p = path.Dir(p) {
		above = append(above, p)
	}
	for _, p := range slices.Backward(above) {
		err := s.do("create "+p, func() error {
			_, err := s.conn.Create(p, nil, zk.FlagPersistent, s.rootACL)
			return err
		})
		if err != nil && !errors.Is(err, zk.ErrNodeExists) {
			return err
		}
	}
	return nil
}

// replace puts c's node in n's place in one step, so that no reader finds it
// missing.
func (s *session) replace(c *claim, n node) error {
	return s.do("replace "+c.member.Name(), func() error {
		_, err := s.conn.Multi(
			&zk.DeleteRequest{Path: s.path(c), Version: n.version},
			&zk.CreateRequest{Path: s.path(c), Data: c.data, Acl: s.nodeACL, Flags: zk.FlagEphemeral})
		return err
	})
}

// remove removes the node that was read as n. If it has been removed by
// somebody else that is as well.
func (s *session) remove(c *claim, n node) error {
	err := s.do("remove "+c.member.Name(), func() error { return s.conn.Delete(s.path(c), n.version) })
	if errors.Is(err, zk.ErrNoNode) {
		return nil
	}
	return err
}

// do is call for a request without a value.
func (s *session) do(what string, request func() error) error {
	_, err := call(s, what, func() (struct{}, error) { return struct{}{}, request() })
	return err
}

func (s *session) path(c *claim) string { return s.root + "/" + c.member.Name() }
