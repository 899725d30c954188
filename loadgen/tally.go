package loadgen

import (
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// latencyMax is the largest latency that a histogram holds; a longer one counts as this.
const latencyMax = int64(time.Minute)

// newHistogram counts nanoseconds with three significant digits.
func newHistogram() *hdrhistogram.Histogram {
	return hdrhistogram.New(1, latencyMax, 3)
}

func record(h *hdrhistogram.Histogram, ns int64) {
	ns = min(max(ns, 0), latencyMax)
	if err := h.RecordValue(ns); err != nil {
		panic("loadgen: " + err.Error()) // the bounds above are the histogram's
	}
}

// gapsMax bounds the missing sequences that one event loop remembers. Past it they count as lost at
// once.
const gapsMax = 1 << 20

// gap is one message that was passed by a later one of its slot.
type gap struct {
	receiver int // client index
	slot     uint32
	sequence uint32
}

// tally is what one event loop has seen of one trial.
type tally struct {
	deliveries int // first arrivals within the measured time
	received   int // first arrivals
	offline    int // of received, how many came in OFFLINE frames
	foreign    int // group messages of another run's seed
	duplicates int // second copies of a text, under its id

	// What must not happen.
	doubled         int
	reordered       int
	misdelivered    int
	wrongSender     int
	corrupt         int
	failedDelivered int
	beyond          int // missing sequences past gapsMax
	beyondFailed    int // of those, messages that had failed
	gaps            map[gap]struct{}
	examples        examples

	// Of messages due within the measured time.
	latency *hdrhistogram.Histogram // from the due time
	service *hdrhistogram.Histogram // from the send; open loop only

	spreads []spreads // of each group slot, to the clients of this loop
}

// newTally is the tally for a trial with that many slots of group messages.
func newTally(slots int) tally {
	return tally{spreads: make([]spreads, slots), gaps: make(map[gap]struct{}), latency: newHistogram(), service: newHistogram()}
}

// wrong counts the deliveries that should not have been as they were.
func (t *tally) wrong() int {
	return t.doubled + t.reordered + t.misdelivered + t.wrongSender + t.corrupt + t.failedDelivered
}

// addGap remembers a sequence; past the bound it is lost, unless it failed.
func (t *tally) addGap(g gap, failed bool) {
	switch {
	case len(t.gaps) < gapsMax:
		t.gaps[g] = struct{}{}
	case failed:
		t.beyondFailed++
	default:
		t.beyond++
	}
}

// found reports whether the sequence was missing, which it then is no more.
func (t *tally) found(receiver int, slot, sequence uint32) bool {
	g := gap{receiver, slot, sequence}
	_, was := t.gaps[g]
	delete(t.gaps, g)
	return was
}
