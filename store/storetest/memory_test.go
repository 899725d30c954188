package storetest

import (
	"testing"

	"cim/store"
)

// TestMemory runs the suite on the store in memory.
func TestMemory(t *testing.T) {
	Run(t, func(_ *testing.T, config store.Config) store.Store { return store.NewMemory(config) })
}
