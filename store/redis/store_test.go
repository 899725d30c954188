package redis

import (
	"testing"

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
