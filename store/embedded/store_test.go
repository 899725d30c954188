package embedded

import (
	"path/filepath"
	"testing"

	"cim/store"
	"cim/store/storetest"
)

// TestConformance runs the suite on a file.
func TestConformance(t *testing.T) {
	storetest.Run(t, func(t *testing.T, config store.Config) store.Store {
		return opened(t, filepath.Join(t.TempDir(), "cim.db"), config)
	})
}

// opened opens the file at path until the end of t.
func opened(t testing.TB, path string, config store.Config) *Store {
	t.Helper()
	s, err := Open(path, config)
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
