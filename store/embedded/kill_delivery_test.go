package embedded

import (
	"context"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"testing"

	"cim/proto"
	"cim/store"
)

// victimDeliver gives a new user texts with ids that count up, by appends and by
// returns that also bring one back that is there, and removes some by their keys.
// Before each change it prints what it begins, and what is done when it is.
func victimDeliver(s *Store, name string) error {
	user, err := s.Register(context.Background(), name)
	if err != nil {
		return err
	}
	seed := fnv.New64a()
	seed.Write([]byte(name))
	v := &deliveryVictim{store: s, user: user, next: 1, random: rand.New(rand.NewPCG(seed.Sum64(), 0))}
	for range 30 {
		if err := v.step(); err != nil {
			return err
		}
	}
	return nil
}

// deliveryVictim is one user of a process that is killed.
type deliveryVictim struct {
	store  *Store
	user   proto.User
	random *rand.Rand
	next   proto.TextID
	box    []proto.TextID
}

func (v *deliveryVictim) step() error {
	ctx, n := context.Background(), 1+v.random.IntN(3)
	if v.random.IntN(3) == 0 && len(v.box) > 0 {
		return v.remove(ctx, min(n, len(v.box)))
	}
	texts := store.TextsOf(v.user, v.next, 0, make([]string, n))
	fmt.Println("putting", v.user.ID, v.next, n)
	var err error
	if v.random.IntN(2) == 0 {
		err = v.store.Append(ctx, v.user.ID, v.user, v.next, 0, make([]string, n))
	} else {
		if len(v.box) > 0 {
			texts = append(texts, store.Returned{Sender: v.user, ID: v.box[v.random.IntN(len(v.box))]})
		}
		err = v.store.Return(ctx, v.user.ID, texts)
	}
	if err != nil {
		return err
	}
	fmt.Println("put", v.user.ID, v.next, n)
	for range n {
		v.box, v.next = append(v.box, v.next), v.next+1
	}
	return nil
}

func (v *deliveryVictim) remove(ctx context.Context, n int) error {
	from := v.random.IntN(len(v.box) - n + 1)
	ids := slices.Clone(v.box[from : from+n])
	v.box = slices.Delete(v.box, from, from+n)
	keys := make([]store.TextKey, n)
	for i, id := range ids {
		keys[i] = store.TextKey{Sender: v.user.ID, ID: id}
	}
	fmt.Println("taking", v.user.ID, ids[0], ids[n-1])
	if err := v.store.Remove(ctx, v.user.ID, keys); err != nil {
		return err
	}
	fmt.Println("taken", v.user.ID, ids[0], ids[n-1])
	return nil
}

// delivery is what a victim said of one user's box.
type delivery struct {
	put     map[proto.TextID]bool // answered: they are there
	putting [2]proto.TextID       // from and to: all are there or none
	taking  [2]proto.TextID       // from and to, of those that were put: all are there or none
}

// TestKillDelivery kills a process in the midst of its commits, again and again on
// the same file: each text that was put and not removed is there once, in order,
// and none that was removed.
func TestKillDelivery(t *testing.T) {
	const seed = 2
	random := rand.New(rand.NewPCG(seed, seed))
	path := filepath.Join(t.TempDir(), "cim.db")
	users := make(map[proto.UserID]*delivery)
	for range 3 {
		for _, line := range linesOfVictim(t, path, "delivery", 200+random.IntN(500)) {
			noteDelivery(t, users, line)
		}
		s := opened(t, path, store.Config{})
		for id, want := range users {
			want.check(t, s, id)
		}
		closed(t, s)
	}
}

func noteDelivery(t *testing.T, users map[proto.UserID]*delivery, line string) {
	t.Helper()
	var what string
	var user proto.UserID
	var first, second proto.TextID
	if _, err := fmt.Sscan(line, &what, &user, &first, &second); err != nil {
		t.Fatalf("line %q: %v", line, err)
	}
	d := users[user]
	if d == nil {
		d = &delivery{put: make(map[proto.TextID]bool)}
		users[user] = d
	}
	switch what {
	case "putting":
		d.putting = [2]proto.TextID{first, first + second - 1}
	case "put":
		d.putting = [2]proto.TextID{}
		for id := first; id < first+second; id++ {
			d.put[id] = true
		}
	case "taking":
		d.taking = [2]proto.TextID{first, second}
	case "taken":
		d.taking = [2]proto.TextID{}
		for id := first; id <= second; id++ {
			delete(d.put, id)
		}
	}
}

// check looks for all texts of a user, and settles what was not answered.
func (d *delivery) check(t *testing.T, s *Store, user proto.UserID) {
	t.Helper()
	page, err := s.Page(t.Context(), user, 0)
	if err != nil {
		t.Fatal(err)
	}
	there, last := make(map[proto.TextID]bool), proto.TextID(0)
	for _, message := range page {
		if message.ID <= last {
			t.Errorf("user %d: the text %d comes after %d", user, message.ID, last)
		}
		there[message.ID], last = true, message.ID
	}
	if from, to := d.putting[0], d.putting[1]; from != 0 && there[from] {
		for id := from; id <= to; id++ {
			d.put[id] = true
		}
	}
	if from, to := d.taking[0], d.taking[1]; from != 0 && !there[from] {
		for id := from; id <= to; id++ {
			delete(d.put, id)
		}
	}
	d.putting, d.taking = [2]proto.TextID{}, [2]proto.TextID{}
	for id := range d.put {
		if !there[id] {
			t.Errorf("user %d: the text %d is lost", user, id)
		}
	}
	if len(there) != len(d.put) {
		t.Errorf("user %d: %d texts, want %d", user, len(there), len(d.put))
	}
}
