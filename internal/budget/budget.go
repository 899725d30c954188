// Package budget bounds what the connections of a process hold in memory
// together: unsent bytes of peers that do not read, requests and frames that
// have come in part, what waits on links.
//
// Each part of the process that has such connections joins as a Keeper. Ten
// times a second the Budget adds up what they hold. If that is past the limit
// without what came only lately, it has the keeper with the largest connection close it, and go on from the largest down
// until enough is free: those that hold most go first, whatever they are. A
// keeper whose connections hold Step more than they did has it look at once.
//
// LimitProcess has the Go runtime keep to the budget too: without it garbage may
// grow as large as what connections hold.
package budget

import (
	"context"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// lookEvery is the time between two looks at what is held.
	lookEvery = 100 * time.Millisecond
	// freeShare is the part of the limit that is freed once it is passed, one in
	// so many, so that the next look does not find it passed again.
	freeShare = 16
	// stepShare is the part of the limit by which a keeper may grow until it says
	// so, one in so many.
	stepShare = 64
	// busyMax is after what time a keeper is not waited for any more.
	busyMax = time.Second
	// calm is how long the limit is kept to until that is said.
	calm = 10 * time.Second
)

// Keeper owns connections of one kind. Its methods are called by one goroutine
// of the Budget, must not block, and take no lock that each message takes.
type Keeper interface {
	// Held is how many bytes its connections hold together, and the one that
	// holds most of those that Shed may close. Small buffers that each connection
	// has anyhow do not count. fresh is the part of sum that came so lately that its
	// peers may still take it: no connection is closed for it, since others would
	// pay for a burst that one peer is taking.
	Held() (sum, fresh, largest int64)
	// Shed has the keeper close its largest connections, at least one, until
	// bytes are free, but none behind the first that holds less than floor. It
	// need not have happened when Shed returns. It returns false if the keeper
	// has not done yet what it was asked before.
	Shed(bytes, floor int64) bool
}

// Budget is the bound of one process. Make one with New.
type Budget struct {
	limit int64
	log   *slog.Logger
	held  atomic.Int64  // at the last look
	grown chan struct{} // of 1: look at once

	mu      sync.Mutex
	keepers []Keeper
	stop    context.CancelFunc // of the looks; nil while there is no keeper
	ended   sync.WaitGroup

	process *processLimit // fixed before the first keeper joins; may be nil
	quiet   *quiet        // likewise

	// The goroutine of the looks only.
	busy  time.Time // since when the keeper of the largest has not done what it was asked; zero: it has
	short bool
	last  time.Time // when the limit was last found passed
}

// New returns a budget of limit bytes, at least 1. log may be nil.
func New(limit int64, log *slog.Logger) *Budget {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	return &Budget{limit: limit, log: log, grown: make(chan struct{}, 1)}
}

// Limit is the bound in bytes.
func (b *Budget) Limit() int64 { return b.limit }

// Held is how many bytes were held at the last look.
func (b *Budget) Held() int64 { return b.held.Load() }

// Step is by how many bytes what a keeper's connections hold may grow until it
// calls Grown.
func (b *Budget) Step() int64 { return max(b.limit/stepShare, 1) }

// Grown has the next look come at once. It never blocks.
func (b *Budget) Grown() {
	select {
	case b.grown <- struct{}{}:
	default:
	}
}

// Join adds k until leave is called. Nothing of k is called when leave has
// returned.
func (b *Budget) Join(k Keeper) (leave func()) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.keepers = append(b.keepers, k)
	if b.stop == nil {
		ctx, cancel := context.WithCancel(context.Background())
		b.stop = cancel
		b.process.begin(b.limit)
		b.ended.Go(func() { b.watch(ctx) })
	}
	return sync.OnceFunc(func() { b.leave(k) })
}

func (b *Budget) leave(k Keeper) {
	b.mu.Lock()
	for i := range b.keepers {
		if b.keepers[i] == k {
			b.keepers = append(b.keepers[:i], b.keepers[i+1:]...)
			break
		}
	}
	last := len(b.keepers) == 0
	if last {
		b.stop()
		b.stop = nil
		b.process.end()
	}
	b.mu.Unlock()
	if last {
		b.ended.Wait()
	}
}

func (b *Budget) watch(ctx context.Context) {
	ticker := time.NewTicker(lookEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
		case <-b.grown:
		case <-ctx.Done():
			return
		}
		now := time.Now()
		b.look(now)
		if b.quiet.look(now) {
			b.ended.Go(b.quiet.giveBack) // looks go on
		}
	}
}

// look adds up what is held, and has the keepers shed what is too much. The
// lock is held, so that no keeper leaves meanwhile; keepers do not block.
func (b *Budget) look(now time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	var sum, fresh, largest, second int64
	var first Keeper
	for _, k := range b.keepers {
		held, young, most := k.Held()
		sum += held
		fresh += young
		if most > largest {
			first, largest, second = k, most, largest
		} else {
			second = max(second, most)
		}
	}
	b.held.Store(sum)
	b.process.follow(sum)
	over := sum - fresh - b.limit
	if over <= 0 {
		b.recovered(now)
		return
	}
	b.passed(now, sum)
	if first != nil {
		b.shed(now, first, over+b.limit/freeShare, second)
	}
}

// shed asks first, or if that does not come to do what it was asked before, the
// others.
func (b *Budget) shed(now time.Time, first Keeper, bytes, floor int64) {
	if first.Shed(bytes, floor) {
		b.busy = time.Time{}
		return
	}
	if b.busy.IsZero() {
		b.busy = now
	}
	if now.Sub(b.busy) < busyMax {
		return
	}
	for _, k := range b.keepers {
		if _, _, largest := k.Held(); k != first && largest > 0 && k.Shed(bytes, floor) {
			return
		}
	}
}

func (b *Budget) passed(now time.Time, held int64) {
	b.last = now
	if !b.short {
		b.short = true
		b.log.Warn("connections hold more memory than memory-budget allows: those that hold most are closed", "held", held, "limit", b.limit)
	}
}

func (b *Budget) recovered(now time.Time) {
	if b.short && now.Sub(b.last) >= calm {
		b.short = false
		b.log.Info("connections hold no more memory than memory-budget allows", "limit", b.limit)
	}
}
