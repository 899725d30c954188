package loadgen

import (
	"testing"
	"time"
)

// TestClockPutAside: a process that is descheduled while it reads the clocks still has the kernel's
// time, to some µs.
func TestClockPutAside(t *testing.T) {
	readings := 0
	aside := func() (int64, error) {
		now, err := monotonic()
		if readings++; readings <= 3 {
			<-time.After(20 * time.Millisecond)
		}
		return now, err
	}
	c, err := newClockBy(aside)
	if err != nil {
		t.Fatal(err)
	}
	before, err1 := monotonic()
	now := c.now()
	after, err2 := monotonic()
	const off = int64(time.Millisecond)
	if err1 != nil || err2 != nil || now < before-off || now > after+off {
		t.Errorf("%d ns past the one reading, %d before the other: %v, %v", now-before, after-now, err1, err2)
	}
}
