package shard

import (
	"testing"

	"cim/proto"
)

// pages lists all sessions in steps of at most most, and checks the bounds.
func (s *stand) pages(most int) (users []proto.UserID, visits int) {
	s.t.Helper()
	for from, more := uint32(0), true; more; visits++ {
		seen := 0
		var next uint32
		next, more = s.List(from, most, func(c SessionInfo) {
			seen++
			users = append(users, c.User)
		})
		if seen > most || next-from > ListSlots {
			s.t.Fatalf("a page of %d sessions and %d slots", seen, next-from)
		}
		if more && next <= from {
			s.t.Fatalf("the page from slot %d leads to %d", from, next)
		}
		from = next
	}
	return users, visits
}

// TestList lists each session once, in steps of all sizes around the chunk's, with
// the last one full to the last slot or not.
func TestList(t *testing.T) {
	for _, n := range []int{0, 1, ListSlots - 1, ListSlots, ListSlots + 1, 2 * ListSlots} {
		s := newStand(t)
		for i := range n {
			s.live(proto.UserID(i+1), proto.DialectCIM)
		}
		s.Open() // not logged in: not listed
		for _, most := range []int{1, 7, ListSlots - 1, ListSlots, ListSlots + 1} {
			users, _ := s.pages(most)
			for i, user := range users {
				if user != proto.UserID(i+1) {
					t.Fatalf("%d sessions, pages of %d: user %d at place %d", n, most, user, i)
				}
			}
			if len(users) != n {
				t.Errorf("%d sessions, pages of %d: saw %d", n, most, len(users))
			}
		}
		if next, more := s.List(^uint32(0), 1, func(SessionInfo) { t.Error("a session beyond all slots") }); more || next != 0 {
			t.Errorf("a page beyond all slots: next %d, more %t", next, more)
		}
	}
}

// TestListWhileSessionsGo lists each session that stays once, whatever sessions
// come and go between two steps.
func TestListWhileSessionsGo(t *testing.T) {
	s := newStand(t)
	const n = 3 * ListSlots
	refs := make([]Ref, n)
	for i := range n {
		refs[i] = s.live(proto.UserID(i+1), proto.DialectCIM)
	}
	var users []proto.UserID
	from, more := uint32(0), true
	for i := 0; more; i++ {
		from, more = s.List(from, 100, func(c SessionInfo) { users = append(users, c.User) })
		s.Closed(refs[2*i].Slot) // it was listed; another session takes its slot
		s.live(proto.UserID(10_000+i), proto.DialectCIM)
	}
	for i := range n {
		count := 0
		for _, user := range users {
			if user == proto.UserID(i+1) {
				count++
			}
		}
		if stayed := i%2 == 1; stayed && count != 1 || count > 1 {
			t.Fatalf("user %d was seen %d times", i+1, count)
		}
	}
}

// TestInfo describes a session until it ends.
func TestInfo(t *testing.T) {
	s := newStand(t)
	s.Advance(1500)
	ref := s.login(7, proto.DialectCIM)
	s.unsent[ref.Slot] = 11
	s.push(ref, []byte("x"), true)
	s.run()
	want := SessionInfo{Ref: ref, User: 7, Generation: 1, Name: "u7", Dialect: proto.DialectCIM, Since: 1500, Unsent: 11, Held: true}
	if seen, live := s.Info(ref); !live || seen != want {
		t.Errorf("saw %+v, %t, want %+v", seen, live, want)
	}
	other := ref
	other.Reuse++
	if _, live := s.Info(other); live {
		t.Error("saw a session that is not there")
	}
	s.End(ref, proto.ReasonKicked)
	if _, live := s.Info(ref); live {
		t.Error("saw a session that has ended")
	}
	s.List(0, 1, func(c SessionInfo) { t.Errorf("the page has %+v", c) })
}
