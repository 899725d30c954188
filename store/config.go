package store

import (
	"fmt"
	"time"
)

// OfflineTTLDefault is the contract's age bound of offline messages.
const OfflineTTLDefault = 72 * time.Hour

// Config is what every store is told.
type Config struct {
	// Now is the clock; any goroutine calls it. nil is time.Now, or the clock
	// of the Redis.
	Now func() time.Time
	// OfflineTTL is the age at which an offline message is gone, from 1 ms.
	// 0 is OfflineTTLDefault.
	OfflineTTL time.Duration
}

// Check reports what is wrong with c, or nil.
func (c Config) Check() error {
	if c.OfflineTTL != 0 && c.OfflineTTL < time.Millisecond {
		return fmt.Errorf("store: offline TTL is %v, want at least 1ms", c.OfflineTTL)
	}
	return nil
}

// Complete returns c with each zero field set to what it stands for.
func (c Config) Complete() Config {
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.OfflineTTL == 0 {
		c.OfflineTTL = OfflineTTLDefault
	}
	return c
}

// Expired reports whether a text stored then is gone now.
func (c Config) Expired(stored, now time.Time) bool {
	return now.Sub(stored) >= c.OfflineTTL
}
