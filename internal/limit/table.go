package limit

import (
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// Table is token buckets by key, of a bounded number. Any goroutine may use it.
//
// There are two generations of buckets. A bucket moves to the young one when it is
// used; when the young one is full, it becomes the old one, and the buckets of the
// old one are dropped. A dropped bucket is full again, so a flood of new keys takes
// no memory, and no tokens of others; a sender with that many addresses is not
// limited.
type Table[K comparable] struct {
	mu         sync.Mutex
	max        int // of each generation
	young, old map[K]*rate.Limiter
}

// NewTable returns a table of at most buckets buckets, some 150 bytes each.
func NewTable[K comparable](buckets int) *Table[K] {
	return &Table[K]{max: max(1, buckets/2), young: map[K]*rate.Limiter{}}
}

// Take takes n tokens from the bucket of key, which fills by perSecond each second
// and holds burst, and reports whether it had enough. perSecond and burst must be
// the same in each call for one key. perSecond None: there is no limit.
func (t *Table[K]) Take(key K, perSecond Rate, burst, n int, now time.Time) bool {
	if perSecond == None {
		return true
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	bucket := t.young[key]
	if bucket == nil {
		if len(t.young) >= t.max {
			t.young, t.old = make(map[K]*rate.Limiter), t.young
		}
		if bucket = t.old[key]; bucket == nil {
			bucket = rate.NewLimiter(rate.Limit(perSecond), burst)
		}
		t.young[key] = bucket
	}
	return bucket.AllowN(now, n)
}

// Len returns the number of buckets.
func (t *Table[K]) Len() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.young) + len(t.old)
}
