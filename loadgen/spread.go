package loadgen

import "github.com/HdrHistogram/hdrhistogram-go"

// A group message is followed from its first receiver to its last in two steps. Each event loop
// follows it to its own clients and, once all of them have it, gives a receipt. A join puts the
// receipts of all loops together: the trial's, or the parent's if workers share the message.

// spreadsMax bounds the messages of one slot that are followed at a time: the
// last ones.
const spreadsMax = 64

// spread is how far one message has come.
type spread struct {
	number      uint32 // of the message, its sequence plus one; 0: none yet
	missing     int    // receivers that it still lacks
	first, last int64  // arrivals
}

// spreads follow the last messages of one slot.
type spreads struct {
	receivers int // of each message
	places    [spreadsMax]spread
}

// add counts n more receivers of a message and returns it once all have it. A message whose place a
// later one has taken is not followed further.
func (s *spreads) add(sequence uint32, n int, first, last int64) (whole *spread) {
	p := &s.places[sequence%spreadsMax]
	switch number := sequence + 1; {
	case number < p.number:
		return nil
	case number > p.number:
		*p = spread{number: number, missing: s.receivers, first: first, last: last}
	default:
		p.first, p.last = min(p.first, first), max(p.last, last)
	}
	if p.missing -= n; p.missing != 0 {
		return nil
	}
	return p
}

// receipt is an event loop's record of a group message that all its clients have received.
type receipt struct {
	Slot      uint32 `json:"slot"`
	Sequence  uint32 `json:"sequence"`
	Receivers int    `json:"receivers"`
	First     int64  `json:"first"` // arrivals, in ns of the clock
	Last      int64  `json:"last"`
	Measured  bool   `json:"measured,omitempty"` // it was due within the measured time
}

// join puts the receipts of one trial together.
type join struct {
	slots []spreads
	whole int                     // messages that all receivers have
	skew  *hdrhistogram.Histogram // of those measured, from the first receiver to the last
}

// newJoin is a join for that many slots with that many receivers each.
func newJoin(slots, receivers int) *join {
	j := &join{slots: make([]spreads, slots), skew: newHistogram()}
	for i := range j.slots {
		j.slots[i].receivers = receivers
	}
	return j
}

// add takes a receipt, and returns when the last receiver got the message if all
// have it now.
func (j *join) add(r receipt) (last int64, whole bool) {
	s := j.slots[r.Slot].add(r.Sequence, r.Receivers, r.First, r.Last)
	if s == nil {
		return 0, false
	}
	j.whole++
	if r.Measured {
		record(j.skew, s.last-s.first)
	}
	return s.last, true
}

// follow notes one more client that has received a group message.
func (l *eventLoop) follow(s *slot, sequence uint32, measured bool) {
	mine := &l.tally.spreads[s.index]
	if whole := mine.add(sequence, 1, l.arrival, l.arrival); whole != nil {
		l.trial.take(receipt{s.index, sequence, mine.receivers, whole.first, whole.last, measured})
	}
}

// take passes a loop's receipt to the join, or to the reporter.
func (t *trial) take(r receipt) {
	if t.reporter != nil {
		t.reporter.add(r)
		return
	}
	t.mu.Lock()
	_, whole := t.join.add(r)
	t.mu.Unlock()
	if whole {
		t.slots[r.Slot].reachedAll(r.Sequence)
	}
}

// reachedAll wakes the sender of a window when all have its last message.
func (s *slot) reachedAll(sequence uint32) {
	if sequence+1 != s.sent.Load() {
		return // the sender does not wait for an earlier one
	}
	select {
	case s.received <- struct{}{}:
	default:
	}
}
