package loadgen

import (
	"context"
	"encoding/binary"

	"cim/proto"
)

// In modes group and mixed the workers of a run share its group messages: the first one sends them
// all, and the clients of every worker receive them. So that each worker can judge its own clients,
// the first one names the senders before the logins, and after the sending what was sent, with the
// outcomes. Until then a worker accepts what the schedule allows.
//
// All walk the whole schedule of messages. Each sends its own part: private messages stay within a
// worker, and workers take turns with them.
//
// Receipts of all workers go to the parent, which joins them. So it knows the skew, and when a
// message of a window has reached all; then it sends the first worker a credit.

// shared is what the first worker says to the others at a gate.
type shared struct {
	Senders []proto.User `json:"senders,omitempty"` // at gateLogin: of each group slot
	Sent    []sentBook   `json:"sent,omitempty"`    // at gateSent: of each group slot
}

// sentBook is a slot's messages: how many, and of each whether it is owed or
// failed, a bit each.
type sentBook struct {
	Sent     uint32 `json:"sent"`
	Promised []byte `json:"promised"`
	Failed   []byte `json:"failed"`
}

// sharedMax bounds the messages of a trial whose books go through one line.
const sharedMax = 90_000_000

// shares reports whether group messages cross workers.
func (c Config) shares() bool {
	return (c.Mode == Group || c.Mode == Mixed) && (c.Procs > 1 || c.worker != nil)
}

// follows reports whether this process is a worker that receives another one's group messages.
func (c Config) follows() bool { return c.shares() && c.worker != nil && c.worker.number > 0 }

// firstTrial is the id of the first worker's trial, in all group messages and for the schedule.
func (c Config) firstTrial(id uint32) uint32 {
	if !c.follows() {
		return id
	}
	return id - uint32(c.worker.number)<<fleetShift
}

// sentMax is more messages than the schedule of a trial has. A window has no
// schedule: its senders end there.
func (c Config) sentMax(l load) uint32 {
	if l.window > 0 {
		return sharedMax / uint32(l.window)
	}
	mean := float64(l.rate) * (c.Warmup + c.Duration).Seconds()
	// Of Poisson's arrivals ten standard deviations, and these are fewer than
	// half of the mean and 200.
	return uint32(min(1.5*mean+200, 1<<31))
}

// meet passes the gate before the logins, where a fleet gets the senders of group messages.
func (f *fleet) meet(ctx context.Context) error {
	var message shared
	if f.cfg.shares() && !f.cfg.follows() {
		most := 0
		for _, l := range f.cfg.loads() {
			groups, _ := f.cfg.senders(len(f.clients), l)
			most = max(most, groups)
		}
		for _, c := range f.clients[:most] {
			message.Senders = append(message.Senders, c.user)
		}
	}
	o, err := f.exchange(ctx, workerMessage{Gate: gateLogin, shared: message})
	if err != nil || !f.cfg.follows() {
		return err
	}
	for i, user := range o.Senders {
		f.remote = append(f.remote, &client{index: i, user: user, privateSlot: noSlot})
	}
	return nil
}

// learn passes the gate after the sending, where a worker gets the sent group messages. It waits
// for all even if ctx has ended: they come soon.
func (f *fleet) learn(ctx context.Context, t *trial) error {
	f.until(ctx, owedEvery, func() bool { return t.unanswered() == 0 })
	var message shared
	if !f.cfg.follows() {
		for _, s := range t.slots[:t.groupSlots] {
			message.Sent = append(message.Sent, s.sentBook())
		}
	}
	// A queued message may take a Drain, and so may its answer and its outcome.
	patience := f.cfg.Warmup + f.cfg.Duration + 4*f.cfg.Drain
	all, cancel := context.WithTimeout(context.WithoutCancel(ctx), patience)
	defer cancel()
	o, err := f.exchange(all, workerMessage{Gate: gateSent, shared: message})
	if err != nil || !f.cfg.follows() {
		return err
	}
	if len(o.Sent) != t.groupSlots {
		f.faults.add("the first worker has gone: its group messages are unknown")
	}
	f.lockLoops()
	defer f.unlockLoops()
	for i, b := range o.Sent {
		t.slots[i].take(b)
	}
	f.refuseUnsent(t)
	return nil
}

// refuseUnsent takes back what came of messages that were never sent. The event loops
// are locked.
func (f *fleet) refuseUnsent(t *trial) {
	for _, c := range f.clients {
		for i, s := range t.slots[:t.groupSlots] {
			if s.remote {
				c.refuseUnsent(s, &c.next[i])
			}
		}
	}
}

func (c *client) refuseUnsent(s *slot, next *uint32) {
	sent := s.sent.Load()
	for sequence := sent; sequence < *next; sequence++ {
		if c.loop.tally.found(c.index, s.index, sequence) {
			continue // it did not come
		}
		c.loop.tally.received--
		c.loop.spoil(&c.loop.tally.misdelivered, kindMisdelivered, c, s.heading(stamp{slot: s.index, sequence: sequence}), nil)
	}
	*next = min(*next, sent)
}

// remoteSlots are the slots of another process, which has the trial.
func (f *fleet) remoteSlots(t *trial) (slots []*slot) {
	senders := f.remote
	if t.window > 0 {
		senders = senders[:min(len(senders), f.cfg.groupMessages(t.window))] // the first worker may have left
	}
	for i, sender := range senders {
		s := newSlot(t.schedule, i, sender, nil)
		s.remote = true
		s.sent.Store(f.cfg.sentMax(t.load))
		slots = append(slots, s)
	}
	return slots
}

// sentBook is what another process needs to know of s.
func (s *slot) sentBook() sentBook {
	s.mu.Lock()
	defer s.mu.Unlock()
	return sentBook{Sent: s.sent.Load(), Promised: s.book.promised.bytes(), Failed: s.book.failed.bytes()}
}

// take makes s what the process that sends for it says.
func (s *slot) take(b sentBook) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sent.Store(b.Sent)
	s.book = book{promised: planeOf(b.Promised), failed: planeOf(b.Failed)}
}

func (p plane) bytes() (b []byte) {
	for _, word := range p {
		b = binary.LittleEndian.AppendUint64(b, word)
	}
	return b
}

// planeOf reads what bytes wrote.
func planeOf(b []byte) (p plane) {
	for ; len(b) >= wordBits/8; b = b[wordBits/8:] {
		p = append(p, binary.LittleEndian.Uint64(b))
	}
	return p
}
