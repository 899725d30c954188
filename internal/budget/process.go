package budget

import (
	"runtime/debug"
	"runtime/metrics"
)

const (
	// ProcessBase is what the memory limit of the process leaves for the runtime
	// itself, stacks, and garbage of a process that does little: an idle one has
	// about 25 MiB.
	ProcessBase = 32 << 20
	// besideShare is how often what the process has live beside connections fits
	// in the limit: once for it, once for garbage, as with GOGC=100.
	besideShare = 2
	// changeShare of the limit, one in so many, is too little to set it anew.
	changeShare = 32
)

// processLimit keeps the memory limit of the Go runtime at what connections may
// hold, ProcessBase, and twice what the process has live beside what they hold:
// its sessions, caches, records. So garbage grows as it always does while
// connections hold little, and is collected sooner the more they hold. The
// limit follows what is live, since one that stands below it would have the
// collector run for ever. A nil processLimit does nothing. The lock of its Budget
// guards it.
type processLimit struct {
	budget  int64
	begun   bool  // keepers are there
	before  int64 // the limit that was found
	now     int64
	held    int64 // at the look before
	samples []metrics.Sample
	cycles  uint64 // of the collector, as of what was live last
}

// LimitProcess has the memory limit of the Go runtime follow the budget while
// there are keepers, and has memory given back to the system when the process does
// little after it has done much. It is for processes whose user has not set GOMEMLIMIT, and
// is called before the first keeper joins.
func (b *Budget) LimitProcess() {
	b.quiet = newQuiet()
	b.process = &processLimit{samples: []metrics.Sample{{Name: "/gc/cycles/total:gc-cycles"}, {Name: "/gc/heap/live:bytes"}}}
}

func (p *processLimit) begin(budget int64) {
	if p == nil {
		return
	}
	p.budget, p.held, p.begun = budget, 0, true
	p.now = p.limit(0, 0)
	p.before = debug.SetMemoryLimit(p.now)
}

func (p *processLimit) end() {
	if p != nil {
		p.begun = false
		debug.SetMemoryLimit(p.before)
	}
}

// follow sets the limit anew if the collector has found another size of what is
// live. Connections hold so many bytes now.
func (p *processLimit) follow(held int64) {
	if p == nil || !p.begun {
		return
	}
	// What was held when the collector ran was about this: the larger, so that
	// what connections have just given back is not taken for something else.
	then := max(held, p.held)
	p.held = held
	metrics.Read(p.samples)
	if cycles := p.samples[0].Value.Uint64(); cycles != p.cycles {
		p.cycles = cycles
		p.set(p.limit(int64(p.samples[1].Value.Uint64()), then))
	}
}

// limit is the limit of a process that has so many bytes live, and whose
// connections hold so many of them.
func (p *processLimit) limit(live, held int64) int64 {
	return p.budget + ProcessBase + besideShare*max(live-held, 0)
}

func (p *processLimit) set(limit int64) {
	if change := limit - p.now; max(change, -change) > p.now/changeShare {
		p.now = limit
		debug.SetMemoryLimit(limit)
	}
}
