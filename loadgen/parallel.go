package loadgen

import (
	"context"
	"sync"
	"sync/atomic"
)

// inParallel calls do for 0 to count-1 from workers goroutines, and returns the first error. No
// call starts after an error or the end of ctx.
func inParallel(ctx context.Context, workers, count int, do func(ctx context.Context, worker, i int) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var next atomic.Int64
	var all sync.WaitGroup
	for worker := range workers {
		all.Go(func() {
			for ctx.Err() == nil {
				i := int(next.Add(1)) - 1
				if i >= count {
					return
				}
				if err := do(ctx, worker, i); err != nil {
					cancel(err)
				}
			}
		})
	}
	all.Wait()
	return context.Cause(ctx)
}
