package loadgen

import (
	"math/rand/v2"
	"strings"
	"sync"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"

	"cim/proto"
)

// trial is one measured run of a fleet.
type trial struct {
	// Fixed before the fleet knows it, but for the times.
	id uint32
	load
	verify         bool // each message is accounted for, refused ones too
	echo           bool // a group message also reaches its sender
	sizes          Sizes
	padding        string // of the longest text
	slots          []*slot
	groupSlots     int    // the first of slots: those of group messages
	schedule       uint32 // the id by which due times are drawn
	turn, of       int    // of the messages to one this process sends every of-th
	place, abreast int    // of this process among those that send at once, each at rate
	// Times of the clock in ns: sending from begin to end, measured from start. 0 until it is
	// scheduled; written under the locks of the event loops.
	begin, start, end int64

	reporter *receiptReporter // of a worker that shares group messages; nil: join takes the receipts

	mu       sync.Mutex
	join     *join                   // nil: reporter takes them
	lateness *hdrhistogram.Histogram // how late sends of the measured time left
	outcomes *hdrhistogram.Histogram // from the due time to the sender's answer, of the measured time; nil: nothing is answered
	unsent   int                     // messages whose queue was full, or that were not sent by the end
}

// leadTime lets everything be in place before the first message is due.
const leadTime = 50 * time.Millisecond

func (f *fleet) newTrial(id uint32, l load) *trial {
	cfg := f.cfg
	groups, privates := cfg.senders(len(f.clients), l)
	t := &trial{
		id: id, load: l, verify: cfg.Verify, echo: f.traits.Echo, sizes: cfg.Size,
		padding:  strings.Repeat(".", cfg.Size.Most-TextMin),
		schedule: cfg.firstTrial(id), of: 1, abreast: 1,
		lateness: newHistogram(),
	}
	if cfg.Via == ViaHTTP || f.traits.Outcomes {
		t.outcomes = newHistogram()
	}
	t.slots = f.plan(t, groups, privates)
	t.groupSlots = len(t.slots) - privates
	if cfg.shares() {
		t.turn, t.of = cfg.worker.number, cfg.worker.of
		t.reporter = newReceiptReporter(f.trialNumber, f.clock)
	} else {
		t.join = newJoin(t.groupSlots, f.everyone())
		if cfg.worker != nil {
			t.place, t.abreast = cfg.worker.number, cfg.worker.of
		}
	}
	pipelined := l.window == 0 && cfg.Via == ViaConn && f.traits.Outcomes
	for _, s := range t.slots {
		s.windowed = l.window > 0
		if pipelined {
			s.waiting = make(map[uint32]int64)
		}
	}
	return t
}

// schedule sets t's times once the loops of all processes have t: a message from another process
// may arrive before this one gets its order.
func (f *fleet) schedule(t *trial, at int64) {
	f.lockLoops()
	defer f.unlockLoops()
	t.begin = at + int64(leadTime)
	t.start = t.begin + int64(f.cfg.Warmup)
	t.end = t.start + int64(f.cfg.Duration)
}

// plan pairs senders and receivers, the same for one seed and number of clients. Senders of group
// messages are the first clients and send nothing else. Each other client sends to the one after it
// in an order drawn by the seed, or over connections the first half sends to the second. Group
// messages of other processes come first.
func (f *fleet) plan(t *trial, groups, privates int) []*slot {
	n := len(f.clients)
	slots := f.remoteSlots(t)
	for _, c := range f.clients[:groups] {
		slots = append(slots, newSlot(t.id, len(slots), c, nil))
	}
	rest := f.clients[groups:]
	order := rand.New(rand.NewPCG(f.cfg.Seed, uint64(n))).Perm(len(rest))
	for i := range privates {
		sender, receiver := rest[order[i%len(order)]], rest[order[(i+1)%len(order)]]
		if f.cfg.Via == ViaConn {
			sender, receiver = rest[i], f.clients[n/2+i]
		}
		slots = append(slots, newSlot(t.id, len(slots), sender, receiver))
	}
	return slots
}

// everyone is the number of receivers of a group message from one of this fleet's clients.
func (f *fleet) everyone() int {
	if f.traits.Echo {
		return len(f.clients)
	}
	return len(f.clients) - 1
}

// install makes t the trial that the event loops judge by.
func (f *fleet) install(t *trial) {
	f.lockLoops()
	defer f.unlockLoops()
	for _, l := range f.loops {
		l.trial, l.tally = t, newTally(t.groupSlots)
	}
	for _, c := range f.clients {
		c.next, c.privateSlot, c.privateNext, c.copies, c.ownSlot = make([]uint32, t.groupSlots), noSlot, 0, nil, nil
	}
	for _, s := range t.slots {
		s.sender.ownSlot = s
		if s.receiver != nil {
			s.receiver.privateSlot = s.index
			if f.cfg.Want != proto.WantTaken {
				s.receiver.copies = new(copies)
			}
		}
	}
	for _, c := range f.clients {
		for i, s := range t.slots[:t.groupSlots] {
			if s != c.ownSlot || t.echo {
				c.loop.tally.spreads[i].receivers++
			}
		}
	}
}

func (f *fleet) lockLoops() {
	for _, l := range f.loops {
		l.mu.Lock()
	}
}

func (f *fleet) unlockLoops() {
	for _, l := range f.loops {
		l.mu.Unlock()
	}
}

// cut ends the measured time of a trial that was stopped. Its senders have
// ended.
func (f *fleet) cut(t *trial) {
	f.lockLoops()
	defer f.unlockLoops()
	t.end = min(t.end, f.clock.now())
}

// debts are deliveries that have not arrived.
type debts struct {
	lost        int // deliveries to clients that are still connected
	undelivered int // deliveries to clients whose connection ended
	unanswered  int // outcomes
	examples    examples
}

// owed counts deliveries that have not arrived, once all senders have ended.
func (f *fleet) owed(t *trial) (d debts) {
	f.lockLoops()
	defer f.unlockLoops()
	for _, l := range f.loops {
		d.lost += l.tally.beyond
		for g := range l.tally.gaps {
			if t.slots[g.slot].promised(g.sequence) {
				d.add(t, f.clients[g.receiver], t.slots[g.slot], 1, g.sequence)
			}
		}
	}
	for _, c := range f.clients {
		for i := range t.groupSlots {
			if s := t.slots[i]; s != c.ownSlot || t.echo {
				n, first := s.promisedFrom(c.next[i])
				d.add(t, c, s, n, first)
			}
		}
		if c.privateSlot != noSlot {
			s := t.slots[c.privateSlot]
			n, first := s.promisedFrom(c.privateNext)
			d.add(t, c, s, n, first)
		}
	}
	d.unanswered = t.unanswered()
	return d
}

// unanswered counts the SENDs without an outcome.
func (t *trial) unanswered() (n int) {
	for _, s := range t.slots {
		n += s.unanswered()
	}
	return n
}

// countFailed looks for arrivals of messages that had failed. What it takes is
// remembered of remote slots, and of others only by a trial that verifies.
func (f *fleet) countFailed(t *trial) {
	f.lockLoops()
	defer f.unlockLoops()
	for _, c := range f.clients {
		for i, s := range t.slots[:t.groupSlots] {
			if t.verify || s.remote {
				c.countFailed(t, s, c.next[i])
			}
		}
		if t.verify && c.privateSlot != noSlot {
			c.countFailed(t, t.slots[c.privateSlot], c.privateNext)
		}
	}
	for _, l := range f.loops {
		if n := l.tally.beyondFailed; n > 0 {
			f.faults.add("%d messages that may have failed could not be followed: more than %d were missing", n, gapsMax)
		}
	}
}

// countFailed counts those below next of one slot.
func (c *client) countFailed(t *trial, s *slot, next uint32) {
	l := c.loop
	if l.tally.beyondFailed > 0 || s == c.ownSlot && !t.echo {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for sequence, has := s.book.failed.first(0, next); has; sequence, has = s.book.failed.first(sequence+1, next) {
		if _, missing := l.tally.gaps[gap{c.index, s.index, sequence}]; !missing {
			l.spoil(&l.tally.failedDelivered, kindFailedDelivered, c, s.heading(stamp{slot: s.index, sequence: sequence}), nil)
		}
	}
}

// add counts n deliveries that c lacks. Its loop is locked.
func (d *debts) add(t *trial, c *client, s *slot, n int, first uint32) {
	switch {
	case n == 0:
	case c.ended:
		d.undelivered += n
	default:
		d.lost += n
		d.examples.add(kindLost, "at client %d: %s", c.index,
			t.describe(s.heading(stamp{slot: s.index, sequence: first})))
	}
}

// late records how late a message left.
func (t *trial) late(due, now int64) {
	if due < t.start || due >= t.end {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	record(t.lateness, now-due)
}

// answered records how long after it was due a message's sender was answered.
func (t *trial) answered(became Outcome, due, now int64) {
	if t.outcomes == nil || became == Unknown || due < t.start || due >= t.end {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	record(t.outcomes, now-due)
}

// addOutcomes adds what answered has recorded.
func (t *trial) addOutcomes(k *histograms) {
	if t.outcomes == nil {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	k.outcome.Merge(t.outcomes)
}

// latenesses is a copy of what late has recorded.
func (t *trial) latenesses() *hdrhistogram.Histogram {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.lateness.Clone()
}
