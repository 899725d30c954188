package budget

import (
	"runtime/debug"
	"runtime/metrics"
)

const (
	// ProcessBase is the part of the process's memory limit for the runtime itself,
	// stacks, and the garbage of a process that does little: an idle one takes
	// about 25 MiB.
	ProcessBase = 32 << 20
	// besideShare is the factor for live memory besides connections: once for it,
	// once for garbage, as with GOGC=100.
	besideShare = 2
	// changeShare: a change of less than one part in changeShare of the limit is
	// ignored.
	changeShare = 32
)

// processLimit keeps the memory limit of the Go runtime at the budget, plus
// ProcessBase, plus twice the live memory besides what connections hold: sessions,
// caches, records. So garbage grows as usual while connections hold little, and is
// collected sooner the more they hold. The limit follows the live memory, since a
// limit below it would make the collector run for ever. A nil processLimit does
// nothing. The lock of its Budget guards it.
type processLimit struct {
	budget  int64
	begun   bool  // there are keepers
	before  int64 // the limit of the runtime before
	now     int64
	held    int64 // at the check before
	samples []metrics.Sample
	cycles  uint64 // of the collector, when live was last read
}

// LimitProcess makes the memory limit of the Go runtime follow the budget while
// there are keepers, and gives memory back to the system when the process becomes
// idle after much work. It is for processes whose user has not set GOMEMLIMIT. Call
// it before the first keeper joins.
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

// follow updates the limit if the collector has found another amount of live
// memory. held is what connections hold now.
func (p *processLimit) follow(held int64) {
	if p == nil || !p.begun {
		return
	}
	// Connections held about this when the collector ran: the larger value, so that
	// memory that they have just freed is not counted as something else.
	then := max(held, p.held)
	p.held = held
	metrics.Read(p.samples)
	if cycles := p.samples[0].Value.Uint64(); cycles != p.cycles {
		p.cycles = cycles
		p.set(p.limit(int64(p.samples[1].Value.Uint64()), then))
	}
}

// limit is the limit of a process with live bytes of live memory, held of them by
// connections.
func (p *processLimit) limit(live, held int64) int64 {
	return p.budget + ProcessBase + besideShare*max(live-held, 0)
}

func (p *processLimit) set(limit int64) {
	if change := limit - p.now; max(change, -change) > p.now/changeShare {
		p.now = limit
		debug.SetMemoryLimit(limit)
	}
}
