package server

import (
	"net/netip"
	"sync"

	"cim/internal/admission"
	"cim/proto"
	"cim/server/shard"
)

// grantsMax bounds the grants that no client has used yet: those of 30 s at
// 4,000 logins a second.
const grantsMax = 1 << 17

// grantTicks is how long a grant waits for its client: 30 s.
const grantTicks shard.Tick = 30_000 / shard.TickMillis

// grants are the grants that no client has used yet, at most one for each user.
// When the table is full, an older grant is evicted: first one of the address that
// has logged in most users, if it exceeds its share. Any goroutine may call the
// methods, which call no code outside.
type grants struct {
	mu     sync.Mutex
	table  *admission.Table[grantDue] // oldest first, as all grants last equally long
	byUser map[proto.UserID]*admission.Place[grantDue]
}

type grantDue struct {
	user       proto.UserID
	generation proto.Generation
	at         shard.Tick // when it expires
	from       netip.Addr // the address that it counts for; not valid: unknown
}

func newGrants(policy admission.Policy) grants {
	return grants{
		// The table itself never evicts: makeRoom does so before each grant, and at
		// most one grant of each link is between the two calls.
		table:  admission.New[grantDue](admission.Limits{Max: grantsMax + 2*linksMax, ClosingMax: 1, Policy: policy, Shrinks: true}),
		byUser: make(map[proto.UserID]*admission.Place[grantDue]),
	}
}

// put adds a grant of user for a login from an address, and replaces an older one.
func (g *grants) put(user proto.UserID, generation proto.Generation, from netip.Addr, now shard.Tick) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.remove(user)
	place, _, _ := g.table.Enter(from, grantDue{user, generation, now + grantTicks, from})
	g.byUser[user] = place
}

// join renews the grant of user for one more login from an address. From then on it
// counts for the address of the two that has fewer grants, so that an address that
// logs in many users cannot take over the grants of other addresses and have them
// evicted.
func (g *grants) join(user proto.UserID, from netip.Addr, now shard.Tick) {
	g.mu.Lock()
	defer g.mu.Unlock()
	place := g.byUser[user]
	if place == nil {
		return // it makes way just now
	}
	due := place.Conn
	due.at = now + grantTicks
	g.remove(user)
	if g.table.Held(from) < g.table.Held(due.from) {
		due.from = from
	}
	g.byUser[user], _, _ = g.table.Enter(due.from, due)
}

// drop removes user's grant, if there is one: it was used, or revoked.
func (g *grants) drop(user proto.UserID) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.remove(user)
}

func (g *grants) remove(user proto.UserID) {
	if place := g.byUser[user]; place != nil {
		g.table.Leave(place)
		delete(g.byUser, user)
	}
}

// takeDue removes the oldest grant that has expired by now.
func (g *grants) takeDue(now shard.Tick) (due grantDue, some bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	oldest := g.table.Oldest()
	if oldest == nil || oldest.Conn.at > now {
		return grantDue{}, false
	}
	g.remove(oldest.Conn.user)
	return oldest.Conn, true
}

// evict removes the grant to be evicted if there is room for only that many.
func (g *grants) evict(room int) (due grantDue, some bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	victim := g.table.Evict(min(room, grantsMax))
	if victim == nil {
		return grantDue{}, false
	}
	delete(g.byUser, victim.Conn.user)
	return victim.Conn, true
}

// len is the number of grants.
func (g *grants) len() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.table.Len()
}

// isFull reports whether there is no room for a grant of user.
func (g *grants) isFull(user proto.UserID) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.table.Len() >= grantsMax && g.byUser[user] == nil
}
