package loadgen

import (
	"context"
	"sync"
	"time"
)

// loginPace is how many clients of a fleet log in at a time: Config.LoginsAtOnce,
// but half as many after a login that a route refuses since the cluster has too
// much to do, and one more after so many logins that have ended.
type loginPace struct {
	mu      sync.Mutex
	changed sync.Cond // a login has ended, or a context
	most    int
	limit   int // 1 to most
	running int
	ended   int   // logins since the limit was changed
	halved  int64 // when it was halved last, by the fleet's clock; 0: never
}

// halveEvery is the least time between two halvings: logins that are refused
// together count once.
const halveEvery = int64(250 * time.Millisecond)

func newLoginPace(most int) *loginPace {
	p := &loginPace{most: most, limit: most}
	p.changed.L = &p.mu
	return p
}

// begin returns when one more login may begin, or with the error of ctx.
func (p *loginPace) begin(ctx context.Context) error {
	stop := context.AfterFunc(ctx, func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.changed.Broadcast()
	})
	defer stop()
	p.mu.Lock()
	defer p.mu.Unlock()
	for p.running >= p.limit && ctx.Err() == nil {
		p.changed.Wait()
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	p.running++
	return nil
}

// end is called when a login that has begun is over.
func (p *loginPace) end() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.running--
	p.ended++
	if p.ended >= p.limit && p.limit < p.most {
		p.limit++
		p.ended = 0
	}
	p.changed.Broadcast()
}

// refused is called with the time of a refusal.
func (p *loginPace) refused(now int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.halved != 0 && now-p.halved < halveEvery {
		return
	}
	p.halved = now
	p.limit = max(1, p.limit/2)
	p.ended = 0
}
