package budget

import (
	"runtime/debug"
	"runtime/metrics"
	"time"
)

const (
	// quietBytes is what an idle process allocates in a second, at most.
	quietBytes = 256 << 10
	// quietTime is how long the process must be idle until memory is given back.
	quietTime = 3 * time.Second
	// spareBytes is how much must have been allocated since memory was last given
	// back: less is not worth a collection.
	spareBytes = 4 << 20
	// spareEvery is the least time between two returns of memory.
	spareEvery = time.Minute
)

// quiet finds the moment at which a busy process has become idle: after ten
// thousand logins, for example. Until the next collection, which the runtime may
// delay for minutes, the garbage of that work stays resident, and with it as much
// free memory as the collector expects to need again: with idle clients that is a
// quarter of their memory.
type quiet struct {
	looked   time.Time
	total    uint64    // bytes allocated in all, at the last check
	since    time.Time // start of the idle time
	given    time.Time // when memory was last given back; zero: never
	givenOf  uint64    // total at that time
	sample   []metrics.Sample
	giveBack func() // takes as long as a collection
}

func newQuiet() *quiet {
	return &quiet{sample: []metrics.Sample{{Name: "/gc/heap/allocs:bytes"}}, giveBack: debug.FreeOSMemory}
}

// look is called about ten times a second, checks once a second, and reports
// whether to give memory back.
func (q *quiet) look(now time.Time) bool {
	if q == nil || now.Sub(q.looked) < time.Second {
		return false
	}
	metrics.Read(q.sample)
	return q.due(now, q.sample[0].Value.Uint64())
}

// due reports whether to give memory back; total bytes have been allocated in all.
func (q *quiet) due(now time.Time, total uint64) bool {
	if total-q.total > quietBytes {
		q.since = now
	}
	q.looked, q.total = now, total
	if now.Sub(q.since) < quietTime || total-q.givenOf < spareBytes || !q.given.IsZero() && now.Sub(q.given) < spareEvery {
		return false
	}
	q.given, q.givenOf = now, total
	return true
}
