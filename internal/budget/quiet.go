package budget

import (
	"runtime/debug"
	"runtime/metrics"
	"time"
)

const (
	// quietBytes is what a process that does little allocates in a second, at most.
	quietBytes = 256 << 10
	// quietTime is how long it does little until memory is given back.
	quietTime = 3 * time.Second
	// spareBytes is how much must have been allocated since memory was given back
	// last: less is not worth a collection.
	spareBytes = 4 << 20
	// spareEvery is the least time between two times that memory is given back.
	spareEvery = time.Minute
)

// quiet finds the moment at which a process that has done much does little: after
// ten thousand logins, say. Until the next collection, which the runtime may not
// begin for minutes, garbage of that work stays resident, and behind it as much
// free memory as the collector expects to need again: for idle clients that is a
// quarter of what they take.
type quiet struct {
	looked   time.Time
	total    uint64    // bytes that had been allocated in all, when looked
	since    time.Time // little has been allocated since
	given    time.Time // when memory was given back last; zero: never
	givenOf  uint64    // total of then
	sample   []metrics.Sample
	giveBack func() // takes as long as a collection
}

func newQuiet() *quiet {
	return &quiet{sample: []metrics.Sample{{Name: "/gc/heap/allocs:bytes"}}, giveBack: debug.FreeOSMemory}
}

// look is called about ten times a second, looks once a second, and reports
// whether memory is to be given back.
func (q *quiet) look(now time.Time) bool {
	if q == nil || now.Sub(q.looked) < time.Second {
		return false
	}
	metrics.Read(q.sample)
	return q.due(now, q.sample[0].Value.Uint64())
}

// due reports whether memory is to be given back; so many bytes have been
// allocated in all.
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
