package loadgen

import (
	"math/rand/v2"
	"time"
)

// Arrivals is how the messages of an open loop are spread over time.
type Arrivals string

// The arrivals.
const (
	Constant Arrivals = "constant" // message i is due at i/rate
	Poisson  Arrivals = "poisson"  // the times between messages are exponential, as of many independent users
)

// times says when each message of a trial is due. It must be asked in turn.
func (a Arrivals) times(t *trial, seed uint64) func(i int) int64 {
	if a != Poisson {
		// Workers that have a rate each take turns.
		abreast := int64(max(1, t.abreast))
		return func(i int) int64 {
			return t.begin + (int64(i)*abreast+int64(t.place))*int64(time.Second)/(int64(t.rate)*abreast)
		}
	}
	random := rand.New(rand.NewPCG(seed, uint64(t.schedule)))
	mean, since := float64(time.Second)/float64(t.rate), 0.0
	return func(int) int64 {
		since += random.ExpFloat64() * mean
		return t.begin + int64(since)
	}
}
