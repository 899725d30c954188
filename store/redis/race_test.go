package redis

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"

	"cim/proto"
	"cim/store"
)

// sideBySide is a box that the Stores of two routes change at once.
type sideBySide struct {
	t        *testing.T
	ann, bob proto.User

	mu           sync.Mutex
	put, removed map[proto.TextID]bool // each at least once; removed: it was tried
}

const sideBySideTexts = 60

// TestRoutesSideBySide lets two routes put, read and remove texts of one box at
// once: no text is there twice, each that was put and not removed is there, and
// what the box says of its texts is right.
func TestRoutesSideBySide(t *testing.T) {
	const steps = 150
	said(t, shared.Addr, "FLUSHALL")
	routes := [2]*Store{}
	for i := range routes {
		routes[i] = opened(t, Config{URLs: []string{"redis://" + shared.Addr}})
	}
	for box := range 4 {
		b := &sideBySide{
			t: t, ann: registered(t, routes[0], fmt.Sprint("ann", box)), bob: proto.User{ID: 9, Name: "bob"},
			put: map[proto.TextID]bool{}, removed: map[proto.TextID]bool{},
		}
		var all sync.WaitGroup
		for r, s := range routes {
			random := rand.New(rand.NewPCG(uint64(r), uint64(box)))
			all.Go(func() {
				for range steps {
					if err := b.step(s, random, box+1); err != nil {
						t.Error(err)
						return
					}
				}
			})
		}
		all.Wait()
		b.check(routes[0])
		checkBox(t, routes[0], b.ann.ID)
		empty(t, routes[1], b.ann)
		checkBox(t, routes[0], b.ann.ID)
	}
}

// step makes one random step of a route. Of 10 removals rate are done.
func (b *sideBySide) step(s *Store, random *rand.Rand, rate int) error {
	id := proto.TextID(1 + random.IntN(sideBySideTexts-1))
	texts := []string{fmt.Sprint(id), fmt.Sprint(id + 1)}
	var err error
	switch random.IntN(4) {
	case 0:
		err = s.Append(b.t.Context(), b.ann.ID, b.bob, id, 0, texts)
	case 1:
		err = s.Return(b.t.Context(), b.ann.ID, store.TextsOf(b.bob, id, 0, texts))
	default:
		if random.IntN(10) >= rate {
			return nil
		}
		return b.removeSome(s, random)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.put[id], b.put[id+1] = true, true
	return err
}

func (b *sideBySide) removeSome(s *Store, random *rand.Rand) error {
	page, err := s.Page(b.t.Context(), b.ann.ID, 0)
	if err != nil || len(page) == 0 {
		return err
	}
	from := random.IntN(len(page))
	some := page[from:min(len(page), from+4)]
	b.mu.Lock()
	for _, message := range some {
		b.removed[message.ID] = true
	}
	b.mu.Unlock()
	return s.Remove(b.t.Context(), b.ann.ID, keysOf(some))
}

func (b *sideBySide) check(s *Store) {
	b.t.Helper()
	page, err := s.Page(b.t.Context(), b.ann.ID, 0)
	if err != nil {
		b.t.Fatal(err)
	}
	seen := map[proto.TextID]bool{}
	for _, message := range page {
		if seen[message.ID] || message.Text != fmt.Sprint(message.ID) {
			b.t.Errorf("the text %d is %q; there already: %t", message.ID, message.Text, seen[message.ID])
		}
		seen[message.ID] = true
	}
	for id := range b.put {
		if !seen[id] && !b.removed[id] {
			b.t.Errorf("the text %d was put, not removed, and is not there", id)
		}
	}
}
