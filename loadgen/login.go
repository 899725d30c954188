package loadgen

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// logins measures logins. Workers share it.
type logins struct {
	mu    sync.Mutex
	times *hdrhistogram.Histogram
	begin int64 // of the first login's request
	end   int64 // of the last one
}

func newLogins(begin int64) *logins { return &logins{times: newHistogram(), begin: begin, end: begin} }

// took records a login that was due and has ended; one due before begin belongs to the warm-up.
func (l *logins) took(due, now int64) {
	if due < l.begin {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	record(l.times, now-due)
	l.end = max(l.end, now)
}

func (l *logins) count() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return int(l.times.TotalCount())
}

// addTo puts the figures into a trial.
func (l *logins) addTo(r *Trial) {
	l.mu.Lock()
	defer l.mu.Unlock()
	r.Logins = quantilesOf(l.times)
	r.kept.logins.Merge(l.times)
	if span := time.Duration(l.end - l.begin).Seconds(); span > 0 {
		r.LoginsPerSecond = float64(r.Logins.Count) / span
	}
}

// logInAll logs in every client, as fast as LoginsAtOnce and the routes allow or
// as Ramp says.
func (f *fleet) logInAll(ctx context.Context) error {
	before, err := usageOf(f.cfg.ServerPIDs)
	if err != nil {
		return err
	}
	f.logins = newLogins(f.clock.now())
	defer f.showStage("logging in", len(f.clients), f.logins.count)()
	err = inParallel(ctx, f.cfg.LoginsAtOnce, len(f.clients), func(ctx context.Context, worker, i int) error {
		due := f.clock.now()
		if f.cfg.Ramp > 0 {
			due = f.logins.begin + int64(i)*int64(time.Second)/int64(f.cfg.Ramp)
			if err := f.clock.wait(ctx, due); err != nil {
				return err
			}
		}
		if err := f.loginPace.begin(ctx); err != nil {
			return err
		}
		defer f.loginPace.end()
		return f.logIn(ctx, worker, f.clients[i], due)
	})
	f.loginTime = time.Duration(f.clock.now() - f.logins.begin)
	after, usageErr := usageOf(f.cfg.ServerPIDs)
	f.loginUsed = after.since(before)
	return errors.Join(err, usageErr)
}

// logIn returns when the session of c is ready.
func (f *fleet) logIn(ctx context.Context, worker int, c *client, due int64) error {
	ctx, cancel := context.WithTimeout(ctx, f.cfg.Drain)
	defer cancel()
	if err := f.connect(ctx, worker, c); err != nil {
		return fmt.Errorf("loadgen: log in %s: %w", c.user.Name, hinted(err))
	}
	f.logins.took(due, f.clock.now())
	return nil
}

func (f *fleet) connect(ctx context.Context, worker int, c *client) error {
	if err := f.asks.ask(worker); err != nil {
		return err
	}
	conn, session, err := f.system.Connect(ctx, worker, c.index)
	if err != nil {
		return err
	}
	c.begin(session)
	if err := c.loop.enroll(conn, c); err != nil {
		return err
	}
	select {
	case err := <-c.loggedIn:
		return err
	case <-ctx.Done():
		return fmt.Errorf("not ready: %w", context.Cause(ctx))
	}
}
