package embedded

import (
	"context"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"sync/atomic"
	"testing"

	"cim/proto"
	"cim/store"
)

// TestHotPathsAllocateNothing has what a private message and a login ask.
func TestHotPathsAllocateNothing(t *testing.T) {
	s := opened(t, filepath.Join(t.TempDir(), "cim.db"), store.Config{})
	ctx, ann := t.Context(), registered(t, s, "ann")
	if _, err := s.Claim(ctx, ann.ID, store.Place{Host: "h"}, 0); err != nil {
		t.Fatal(err)
	}
	bob := registered(t, s, "bob")
	if err := s.Append(ctx, bob.ID, ann, 0, 0, []string{"text"}); err != nil {
		t.Fatal(err)
	}
	last, err := s.Page(ctx, bob.ID, 0)
	if err != nil || len(last) != 1 {
		t.Fatalf("%d texts, %v; want 1", len(last), err)
	}
	for name, ask := range map[string]func() bool{
		"Account": func() bool { name, _, err := s.Account(ctx, ann.ID); return name == "ann" && err == nil },
		"Lookup":  func() bool { _, found, err := s.Lookup(ctx, ann.ID, store.Fresh); return found && err == nil },
		"Page":    func() bool { page, err := s.Page(ctx, ann.ID, 0); return page == nil && err == nil },
		"Page behind the last text": func() bool {
			page, err := s.Page(ctx, bob.ID, last[0].Serial)
			return page == nil && err == nil
		},
	} {
		if !ask() {
			t.Errorf("%s: a wrong answer", name)
		}
		if n := testing.AllocsPerRun(100, func() { ask() }); n != 0 {
			t.Errorf("%s allocates %v times, want 0", name, n)
		}
	}
}

func BenchmarkAccount(b *testing.B) {
	s := opened(b, filepath.Join(b.TempDir(), "cim.db"), store.Config{})
	ann := registered(b, s, "ann")
	b.Run("cached", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, found, _ := s.Account(b.Context(), ann.ID); !found {
				b.Fatal("not found")
			}
		}
	})
	b.Run("file", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if name, _ := s.readName(ann.ID); name == "" {
				b.Fatal("not found")
			}
		}
	})
	b.Run("register known", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if user, _ := s.Register(b.Context(), "ann"); user != ann {
				b.Fatal("not found")
			}
		}
	})
}

func BenchmarkLookup(b *testing.B) {
	s := opened(b, filepath.Join(b.TempDir(), "cim.db"), store.Config{})
	const users = 10_000
	for user := range proto.UserID(users) {
		if _, err := s.Claim(b.Context(), user, store.Place{Host: "h"}, 0); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportAllocs()
	user := proto.UserID(0)
	for b.Loop() {
		if _, found, _ := s.Lookup(b.Context(), user, store.Fresh); !found {
			b.Fatal("not found")
		}
		user = (user + 1) % users
	}
}

func BenchmarkEmptyPage(b *testing.B) {
	s := opened(b, filepath.Join(b.TempDir(), "cim.db"), store.Config{})
	b.ReportAllocs()
	for b.Loop() {
		if page, _ := s.Page(b.Context(), 1, 0); page != nil {
			b.Fatal("not empty")
		}
	}
}

// empty removes all that user's box has.
func empty(ctx context.Context, s *Store, user proto.UserID) error {
	for {
		page, err := s.Page(ctx, user, 0)
		if err != nil || len(page) == 0 {
			return err
		}
		if err := s.Remove(ctx, user, keysOf(page)); err != nil {
			return err
		}
	}
}

func keysOf(texts []store.OfflineMessage) []store.TextKey {
	keys := make([]store.TextKey, len(texts))
	for i, text := range texts {
		keys[i] = text.Key()
	}
	return keys
}

// benchBox is how many texts a box has before it is emptied.
const benchBox = 1000

// BenchmarkAppend has one text of 128 bytes an append, with an id, from 1 and 64
// callers at a time; each box is emptied when it has benchBox.
func BenchmarkAppend(b *testing.B) {
	text := []string{string(make([]byte, 128))}
	for _, callers := range []int{1, 64} {
		b.Run(fmt.Sprint(callers, " callers"), func(b *testing.B) {
			s := opened(b, filepath.Join(b.TempDir(), "cim.db"), store.Config{})
			var users atomic.Int64
			b.SetParallelism(callers)
			b.ReportAllocs()
			b.RunParallel(func(pb *testing.PB) {
				user := proto.User{ID: proto.UserID(users.Add(1)), Name: "sender"}
				for n := 1; pb.Next(); n++ {
					err := s.Append(b.Context(), user.ID, user, proto.TextID(rand.Uint64()), 0, text)
					if err == nil && n%benchBox == 0 {
						err = empty(b.Context(), s, user.ID)
					}
					if err != nil {
						b.Error(err)
					}
				}
			})
		})
	}
}
