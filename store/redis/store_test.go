package redis

import (
	"testing"

	"cim/proto"
	"cim/store"
	"cim/store/storetest"
)

// TestConformance runs the suite on a single Redis.
func TestConformance(t *testing.T) {
	storetest.Run(t, func(t *testing.T, config store.Config) store.Store {
		said(t, shared.Addr, "FLUSHALL")
		return opened(t, Config{URLs: []string{"redis://" + shared.Addr}, Store: config})
	})
}

// empty removes all that user's box has.
func empty(t testing.TB, s *Store, user proto.User) {
	t.Helper()
	for {
		page, err := s.Page(t.Context(), user.ID, 0)
		if err == nil && len(page) > 0 {
			err = s.Remove(t.Context(), user.ID, keysOf(page))
		}
		if err != nil {
			t.Fatal(err)
		}
		if len(page) == 0 {
			return
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

// opened opens a store until the end of t.
func opened(t testing.TB, config Config) *Store {
	t.Helper()
	s, err := Open(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}
