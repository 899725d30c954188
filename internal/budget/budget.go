// Package budget bounds the memory that all connections of a process hold together:
// unsent bytes of slow readers, incomplete requests and frames, bytes that wait on
// links.
//
// Each part of the process with such connections joins as a Keeper. Ten times a
// second the Budget adds up what they hold. If the sum, without fresh bytes,
// exceeds the limit, it has the keeper with the largest connection close it, and go
// on from the largest down until enough is free: the largest holders go first,
// whatever they are. A keeper whose connections have grown by Step has the Budget
// check at once.
//
// LimitProcess makes the Go runtime keep to the budget too: otherwise garbage may
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
	// lookEvery is the time between two checks of what is held.
	lookEvery = 100 * time.Millisecond
	// freeShare: one part in freeShare of the limit is freed when it is exceeded,
	// so that the next check does not find it exceeded again.
	freeShare = 16
	// stepShare: a keeper calls Grown when it has grown by one part in stepShare of
	// the limit.
	stepShare = 64
	// busyMax is how long one keeper may take to shed; after it others shed too.
	busyMax = time.Second
	// calm is how long the limit must hold until the log reports the end.
	calm = 10 * time.Second
)

// Keeper owns connections of one kind. One goroutine of the Budget calls the
// methods, which must not block, and must take no lock that each message takes.
type Keeper interface {
	// Held returns the bytes that all connections hold together, and the largest
	// connection among those that Shed may close. Small buffers that each
	// connection has do not count. fresh is the part of sum that is so new that its
	// peers may still take it: no connection is closed for fresh bytes, since
	// others would pay for a burst that one peer is reading.
	Held() (sum, fresh, largest int64)
	// Shed makes the keeper close its largest connections, at least one, until
	// bytes are free, but none after the first that holds less than floor. Shed may
	// return before that is done. It returns false if the keeper has not finished
	// the previous call.
	Shed(bytes, floor int64) bool
}

// Budget is the bound of one process. Make one with New.
type Budget struct {
	limit int64
	log   *slog.Logger
	held  atomic.Int64  // at the last check
	grown chan struct{} // of 1: check at once

	mu      sync.Mutex
	keepers []Keeper
	stop    context.CancelFunc // ends the checks; nil while there is no keeper
	ended   sync.WaitGroup

	process *processLimit // fixed before the first keeper joins; may be nil
	quiet   *quiet        // likewise

	// Owned by the goroutine of the checks.
	busy  time.Time // since when the keeper of the largest connection has not finished shedding; zero: it has
	short bool
	last  time.Time // when the limit was last found exceeded
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

// Held is the sum at the last check.
func (b *Budget) Held() int64 { return b.held.Load() }

// Step is by how many bytes a keeper's connections may grow until it calls Grown.
func (b *Budget) Step() int64 { return max(b.limit/stepShare, 1) }

// Grown has the next check come at once. It never blocks.
func (b *Budget) Grown() {
	select {
	case b.grown <- struct{}{}:
	default:
	}
}

// Join adds k until leave is called. After leave has returned, no method of k is
// called.
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
			b.ended.Go(b.quiet.giveBack) // checks continue
		}
	}
}

// look adds up what is held, and has the keepers shed the excess. It holds the
// lock, so that no keeper leaves meanwhile; keepers do not block.
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

// shed asks first to shed, and if that keeper does not finish its previous call,
// the others.
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
