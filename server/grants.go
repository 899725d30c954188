package server

import (
	"container/list"
	"sync"

	"cim/proto"
	"cim/server/shard"
)

// grantsMax bounds the grants that no client has used yet: those of 30 s at
// 4,000 logins a second. For one more the oldest is given up.
const grantsMax = 1 << 17

// grantTicks is how long a grant waits for its client: 30 s.
const grantTicks shard.Tick = 30_000 / shard.TickMillis

// grants are the grants that no client has used yet, at most one a user, oldest
// first. Any goroutine may call its methods; it calls nothing.
type grants struct {
	mu     sync.Mutex
	order  list.List // of grantDue; oldest first, as all grants last equally long
	byUser map[proto.UserID]*list.Element
}

type grantDue struct {
	user       proto.UserID
	generation proto.Generation
	at         shard.Tick // when it runs out
}

// put adds a grant of user, in the place of an older one.
func (g *grants) put(user proto.UserID, generation proto.Generation, now shard.Tick) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.remove(user)
	g.byUser[user] = g.order.PushBack(grantDue{user, generation, now + grantTicks})
}

// drop forgets user's grant, if there is one: it was used, or revoked.
func (g *grants) drop(user proto.UserID) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.remove(user)
}

func (g *grants) remove(user proto.UserID) {
	if e := g.byUser[user]; e != nil {
		g.order.Remove(e)
		delete(g.byUser, user)
	}
}

// takeDue removes the oldest grant whose time is over by now.
func (g *grants) takeDue(now shard.Tick) (due grantDue, some bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	oldest := g.order.Front()
	if oldest == nil || oldest.Value.(grantDue).at > now {
		return grantDue{}, false
	}
	due = oldest.Value.(grantDue)
	g.remove(due.user)
	return due, true
}

// isFull reports whether a grant of user has no room.
func (g *grants) isFull(user proto.UserID) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return len(g.byUser) >= grantsMax && g.byUser[user] == nil
}
