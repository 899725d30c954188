package redis

import (
	"slices"
	"sync"
	"testing"

	"cim/proto"
	"cim/store"
)

// TestLostRecord loses a record in each way: its session gets it back. Who was
// given back, or has logged in elsewhere, does not.
func TestLostRecord(t *testing.T) {
	s := single(t)
	for name, lose := range map[string]func(user proto.UserID, generation proto.Generation){
		"evicted": func(user proto.UserID, _ proto.Generation) { said(t, shared.Addr, "DEL", routeKey(user)) },
		"all its keys": func(user proto.UserID, _ proto.Generation) {
			said(t, shared.Addr, "DEL", routeKey(user), connectedKey(user), generationKey(user))
		},
		"its mark too": func(user proto.UserID, _ proto.Generation) {
			said(t, shared.Addr, "DEL", routeKey(user), connectedKey(user))
		},
		"its counter too": func(user proto.UserID, _ proto.Generation) {
			said(t, shared.Addr, "DEL", routeKey(user), generationKey(user))
		},
	} {
		user := registered(t, s, "lost "+name)
		generation := loggedIn(t, s, user, 0)
		lose(user.ID, generation)
		sessions := []proto.Session{{User: user.ID, Generation: generation}}
		if got, err := s.Restore(t.Context(), here, sessions); err != nil || !slices.Equal(got.Returned, sessions) || len(got.Superseded) != 0 {
			t.Errorf("%s: %+v, %v; want that it is back", name, got, err)
		}
		if record, found, err := s.Lookup(t.Context(), user.ID, store.Fresh); err != nil || !found || !record.Connected || record.Generation != generation || record.Place != here {
			t.Errorf("%s: %+v, %t, %v", name, record, found, err)
		}
		if got, err := s.Restore(t.Context(), here, sessions); err != nil || len(got.Returned)+len(got.Superseded) != 0 {
			t.Errorf("%s, once more: %+v, %v", name, got, err)
		}
	}
}

// TestLostRecordOfAnother lets a session tell of itself that may not have the
// record any more.
func TestLostRecordOfAnother(t *testing.T) {
	s := single(t)
	for name, end := range map[string]func(t *testing.T, user proto.UserID, generation proto.Generation){
		"left": func(t *testing.T, user proto.UserID, generation proto.Generation) {
			if ok, err := s.Release(t.Context(), user, generation); !ok || err != nil {
				t.Fatal(ok, err)
			}
		},
		"left when it was lost": func(t *testing.T, user proto.UserID, generation proto.Generation) {
			said(t, shared.Addr, "DEL", routeKey(user))
			if ok, err := s.Release(t.Context(), user, generation); ok || err != nil {
				t.Fatal(ok, err)
			}
		},
		"newer login": func(t *testing.T, user proto.UserID, generation proto.Generation) {
			if _, err := s.Claim(t.Context(), user, here, generation); err != nil {
				t.Fatal(err)
			}
		},
		"newer login that was lost": func(t *testing.T, user proto.UserID, generation proto.Generation) {
			if _, err := s.Claim(t.Context(), user, here, generation); err != nil {
				t.Fatal(err)
			}
			said(t, shared.Addr, "DEL", routeKey(user))
		},
		"login at another system's route": func(t *testing.T, user proto.UserID, _ proto.Generation) {
			said(t, shared.Addr, "SET", routeKey(user), "10.0.0.9:11211:8081")
		},
	} {
		user := registered(t, s, "gone "+name)
		generation := loggedIn(t, s, user, 0)
		end(t, user.ID, generation)
		before := said(t, shared.Addr, "GET", routeKey(user.ID))
		sessions := []proto.Session{{User: user.ID, Generation: generation}}
		if got, err := s.Restore(t.Context(), here, sessions); err != nil || !slices.Equal(got.Superseded, sessions) {
			t.Errorf("%s: %+v, %v; want that it is superseded", name, got, err)
		}
		if after := said(t, shared.Addr, "GET", routeKey(user.ID)); after != before {
			t.Errorf("%s: the record was %q and is %q", name, before, after)
		}
	}
}

// TestLostAndLeft loses records while routes restore them and their sessions
// end: in the end none is there.
func TestLostAndLeft(t *testing.T) {
	s := single(t)
	for i := range 30 {
		user := registered(t, s, "ann")
		generation := loggedIn(t, s, user, proto.Generation(1000*i))
		said(t, shared.Addr, "DEL", routeKey(user.ID))
		var all sync.WaitGroup
		for range 3 {
			all.Go(func() {
				if _, err := s.Restore(t.Context(), here, []proto.Session{{User: user.ID, Generation: generation}}); err != nil {
					t.Error(err)
				}
			})
		}
		all.Go(func() {
			if _, err := s.Release(t.Context(), user.ID, generation); err != nil {
				t.Error(err)
			}
		})
		all.Wait()
		if record := said(t, shared.Addr, "GET", routeKey(user.ID)); record != "$-1\r\n" {
			t.Fatalf("the session has ended, and the record is %q", record)
		}
	}
}
