package embedded

import (
	"sync"

	"cim/proto"
)

// namesMax bounds the accounts whose names are in memory, about 100 bytes each.
const namesMax = 100_000

// names are the names of the accounts asked for lately. Accounts never change,
// so no entry is ever wrong.
type names struct {
	mu sync.RWMutex
	of map[proto.UserID]string // at most namesMax
}

func (n *names) get(id proto.UserID) (string, bool) {
	n.mu.RLock()
	defer n.mu.RUnlock()
	name, found := n.of[id]
	return name, found
}

// put keeps the names of users, in place of any others once there are too many.
func (n *names) put(users ...proto.User) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, user := range users {
		n.of[user.ID] = user.Name
		n.bound()
	}
}

// bound forgets one name if there is one too many. mu is held.
func (n *names) bound() {
	if len(n.of) <= namesMax {
		return
	}
	for id := range n.of {
		delete(n.of, id)
		return
	}
}
