package terminal

import (
	"maps"
	"slices"
	"sync"

	"cim/proto"
)

// namesMax bounds the names that a chat remembers. Beyond them some other one
// is forgotten.
const namesMax = 4096

// people are the users that a chat has had to do with.
type people struct {
	mu    sync.Mutex
	names map[string]bool // for completion
	// ids are what a route said, never what a message said of its sender, which
	// an original route does not check: so nobody takes another one's mail.
	ids map[string]proto.UserID
}

func newPeople() *people {
	return &people{names: map[string]bool{}, ids: map[string]proto.UserID{}}
}

// seen remembers a name for completion, if it can be shown as it is.
func (p *people) seen(name string) {
	if name == "" || HarmlessName(name) != name {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	makeRoom(p.names, name)
	p.names[name] = true
}

// known remembers a user that a route has told of.
func (p *people) known(u proto.User) {
	p.seen(u.Name)
	p.mu.Lock()
	defer p.mu.Unlock()
	makeRoom(p.ids, u.Name)
	p.ids[u.Name] = u.ID
}

func (p *people) id(name string) (proto.UserID, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	id, known := p.ids[name]
	return id, known
}

// list has all names in their order.
func (p *people) list() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Sorted(maps.Keys(p.names))
}

// makeRoom forgets something if m is full and does not have key.
func makeRoom[V any](m map[string]V, key string) {
	if _, has := m[key]; has || len(m) < namesMax {
		return
	}
	for other := range m {
		delete(m, other)
		return
	}
}
