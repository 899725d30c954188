package loadgen

import (
	"math/rand/v2"
	"strings"
	"sync"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// trial is one measured run of a fleet.
type trial struct {
	// Fixed before the fleet knows it.
	id        uint32
	group     bool // messages go to everybody
	window    int  // 0: open loop
	textBytes int
	padding   string
	head      string // what precedes the text in the frame of a delivery
	slots     []*slot
	// Times of the clock in ns: sending from begin to end, measured from start.
	begin, start, end int64

	mu       sync.Mutex
	lateness *hdrhistogram.Histogram // how late sends of the measured time left
	unsent   int                     // messages whose queue was full
}

// windows are the trials of a fleet; 0 stands for the open loop.
func (c Config) windows() []int {
	if c.Rate > 0 {
		return []int{0}
	}
	return c.Windows
}

// senders is the number of slots of a trial.
func (c Config) senders(conns, window int) int {
	switch {
	case window > 0:
		return window
	case c.Mode == Group:
		return min(conns, c.HTTPConns)
	case c.Via == ViaConn:
		return conns / 2
	}
	return conns
}

// leadTime lets everything be in place before the first message is due.
const leadTime = 50 * time.Millisecond

func (f *fleet) newTrial(id uint32, window int) *trial {
	cfg := f.cfg
	t := &trial{
		id: id, group: cfg.Mode == Group, window: window, textBytes: cfg.TextBytes,
		padding:  strings.Repeat(".", cfg.TextBytes-TextMin),
		head:     bodyHead(cfg.TextBytes),
		slots:    f.plan(cfg.senders(len(f.clients), window)),
		lateness: newHistogram(),
	}
	pipelined := window == 0 && cfg.Via == ViaConn
	for _, s := range t.slots {
		s.windowed = window > 0
		if pipelined {
			s.waiting = make(map[uint32]struct{})
		}
	}
	t.begin = f.clock.now() + int64(leadTime)
	t.start = t.begin + int64(cfg.Warmup)
	t.end = t.start + int64(cfg.Duration)
	return t
}

// plan says who sends to whom, the same for one seed and number of clients.
func (f *fleet) plan(senders int) []*slot {
	n := len(f.clients)
	order := rand.New(rand.NewPCG(f.cfg.Seed, uint64(n))).Perm(n)
	slots := make([]*slot, senders)
	for i := range slots {
		switch {
		case f.cfg.Mode == Group:
			slots[i] = newSlot(i, f.clients[i], nil, n-1)
		case f.cfg.Via == ViaConn:
			slots[i] = newSlot(i, f.clients[i], f.clients[n/2+i], 1)
		default:
			slots[i] = newSlot(i, f.clients[order[i]], f.clients[order[(i+1)%n]], 1)
		}
	}
	return slots
}

// install makes t the trial that the lanes judge by.
func (f *fleet) install(t *trial) {
	f.lockLanes()
	defer f.unlockLanes()
	for _, l := range f.lanes {
		l.trial, l.tally = t, newTally()
	}
	for _, c := range f.clients {
		c.next, c.firstSlot, c.ownSlot = nil, 0, nil
		if f.cfg.Mode == Group {
			c.next = make([]uint32, len(t.slots))
		}
	}
	for _, s := range t.slots {
		s.sender.ownSlot = s
		if s.receiver != nil {
			s.receiver.next, s.receiver.firstSlot = make([]uint32, 1), s.index
		}
	}
}

func (f *fleet) lockLanes() {
	for _, l := range f.lanes {
		l.mu.Lock()
	}
}

func (f *fleet) unlockLanes() {
	for _, l := range f.lanes {
		l.mu.Unlock()
	}
}

// cut ends the measured time of a trial that was stopped. Its senders have
// ended.
func (f *fleet) cut(t *trial) {
	f.lockLanes()
	defer f.unlockLanes()
	t.end = min(t.end, f.clock.now())
}

// debts are what has not arrived.
type debts struct {
	lost        int // deliveries to clients that are still connected
	undelivered int // deliveries to those whose connection ended
	unanswered  int // outcomes
}

// owed counts what has not arrived, once all senders have ended.
func (f *fleet) owed(t *trial) (d debts) {
	f.lockLanes()
	defer f.unlockLanes()
	for _, l := range f.lanes {
		d.lost += l.tally.beyond
		for g := range l.tally.gaps {
			if !t.slots[g.slot].isExcused(g.sequence) {
				d.add(f.clients[g.receiver], 1)
			}
		}
	}
	for _, c := range f.clients {
		d.add(c, c.lacks(t))
	}
	for _, s := range t.slots {
		d.unanswered += s.unanswered()
	}
	return d
}

// add counts n deliveries that c lacks. Its lane is locked.
func (d *debts) add(c *client, n int) {
	if c.ended {
		d.undelivered += n
	} else {
		d.lost += n
	}
}

// lacks counts what was sent to c behind the last that it received. Its lane
// is locked.
func (c *client) lacks(t *trial) int {
	n := 0
	for i, next := range c.next {
		s := t.slots[int(c.firstSlot)+i]
		if sent := s.sent.Load(); s != c.ownSlot && next < sent {
			n += int(sent-next) - s.excusedFrom(next)
		}
	}
	return n
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
