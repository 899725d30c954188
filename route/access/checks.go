package access

import (
	"net/netip"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"cim/internal/admission"
)

const (
	// checksPerSecond and checksBurst are how many Ed25519 signatures of one
	// address are checked: at 85 µs each, 2 % of a core.
	checksPerSecond = 200
	checksBurst     = 400
	// addressesMax bounds the addresses whose checks are counted, some 100
	// bytes each. Past it the count begins anew, so that a flood from many
	// addresses costs no memory.
	addressesMax = 16_384
)

// checks counts the signatures that each address has had checked. Any
// goroutine may use it.
type checks struct {
	mu sync.Mutex
	of map[netip.Addr]*rate.Limiter
}

func newChecks() *checks { return &checks{of: map[netip.Addr]*rate.Limiter{}} }

// pay takes one check from the bucket of an address, and reports whether there
// was one left.
func (c *checks) pay(from netip.Addr, now time.Time) bool {
	from = admission.Source(from)
	c.mu.Lock()
	defer c.mu.Unlock()
	bucket := c.of[from]
	if bucket == nil {
		if len(c.of) >= addressesMax {
			clear(c.of)
		}
		bucket = rate.NewLimiter(checksPerSecond, checksBurst)
		c.of[from] = bucket
	}
	return bucket.AllowN(now, 1)
}
