package store

import (
	"testing"
	"time"

	"cim/proto"
)

// TestReleaseIsOneStep looks at the lock while a release asks whether the box
// was read: nobody can be refused the lease between that and the release.
func TestReleaseIsOneStep(t *testing.T) {
	var leases *MemoryLeases
	asked := false
	leases = NewMemoryLeases(time.Now, func(proto.UserID, uint64) bool {
		asked = true
		if leases.mu.TryLock() {
			leases.mu.Unlock()
			t.Error("the leases are not locked while a release looks at the box")
		}
		return true
	})
	lease, err := leases.Acquire(t.Context(), 1, time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	if released, err := leases.ReleaseIfEmpty(t.Context(), 1, lease, 0); !released || !asked || err != nil {
		t.Errorf("released %t, asked %t, %v", released, asked, err)
	}
}
