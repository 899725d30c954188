package store

import (
	"strings"
	"testing"
	"time"
)

// TestConfig walks the age bound to its edge and one past it, and completes
// what is not set.
func TestConfig(t *testing.T) {
	for _, ttl := range []time.Duration{0, time.Millisecond} {
		if err := (Config{OfflineTTL: ttl}).Check(); err != nil {
			t.Errorf("TTL %v: %v", ttl, err)
		}
	}
	for _, ttl := range []time.Duration{-time.Hour, time.Millisecond - 1} {
		if err := (Config{OfflineTTL: ttl}).Check(); err == nil || !strings.Contains(err.Error(), ttl.String()) {
			t.Errorf("TTL %v: %v, want a refusal", ttl, err)
		}
	}
	complete := Config{}.Complete()
	if complete.OfflineTTL != 72*time.Hour {
		t.Errorf("the TTL is %v by default, want 72h", complete.OfflineTTL)
	}
	if off := time.Since(complete.Now()); off < 0 || off > time.Minute {
		t.Errorf("the clock is %v off by default", off)
	}
}
