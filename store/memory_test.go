package store_test

import (
	"testing"

	"cim/store"
	"cim/store/storetest"
)

// TestMemory runs the conformance suite on the store in memory.
func TestMemory(t *testing.T) {
	storetest.Run(t, func(_ *testing.T, config store.Config) store.Store { return store.NewMemory(config) })
}
