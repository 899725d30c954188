package terminal

import (
	"maps"
	"slices"
	"strings"
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
	// ids come from a route only, never from a message, whose sender an original route does not
	// check. So no user can take another user's mail.
	ids map[string]proto.UserID
}

func newPeople() *people {
	return &people{names: map[string]bool{}, ids: map[string]proto.UserID{}}
}

// seen remembers a name for completion, if it can be shown unchanged.
func (p *people) seen(name string) {
	if name == "" || HarmlessName(name) != name {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	makeRoom(p.names, name)
	p.names[name] = true
}

// add remembers a user that a route has named.
func (p *people) add(u proto.User) {
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

// similarMin is the shortest name that may be mistyped; similarMax is how many
// characters of one of at least similarLong it may have changed, lost or got, of a
// shorter one half as many.
const (
	similarMin  = 3
	similarLong = 6
	similarMax  = 2
)

// similar is a known name that is nearly this one, "" if there is none.
func (p *people) similar(name string) string {
	typed := []rune(strings.ToLower(proto.NormalName(name)))
	for _, known := range p.list() {
		if nearly(typed, []rune(strings.ToLower(proto.NormalName(known)))) {
			return known
		}
	}
	return ""
}

// nearly reports whether b is a, but for few characters.
func nearly(a, b []rune) bool {
	most := similarMax
	if len(b) < similarLong {
		most /= 2
	}
	if len(b) < similarMin || max(len(a)-len(b), len(b)-len(a)) > most {
		return false
	}
	row := make([]int, len(b)+1) // the changes from a's beginning to each of b's
	for j := range row {
		row[j] = j
	}
	for i, r := range a {
		corner := row[0]
		row[0] = i + 1
		for j, s := range b {
			changed := corner
			if r != s {
				changed++
			}
			corner = row[j+1]
			row[j+1] = min(changed, row[j]+1, corner+1)
		}
	}
	return row[len(b)] <= most
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
