package loadgen

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

// The phases of trials without messages.
const (
	phaseLogin = "login" // all log in, as fast as they can
	phaseBack  = "back"  // all were cut at once, and log in again
	phaseChurn = "churn" // clients are cut and log in again in turn
)

// storm reports the logins that the fleet began with, cuts all its connections
// at once, and lets all log in again.
func (f *fleet) storm(ctx context.Context) ([]Trial, error) {
	trials := []Trial{f.loginTrial(phaseLogin)}
	if _, err := f.pass(ctx, gateCut); err != nil {
		return trials, err
	}
	if err := f.cutAll(ctx); err != nil {
		return trials, err
	}
	if err := f.logInAll(ctx); err != nil {
		return trials, err
	}
	f.settled()
	return append(trials, f.loginTrial(phaseBack)), nil
}

// loginTrial is what the last logins measured.
func (f *fleet) loginTrial(phase string) Trial {
	t := Trial{
		Conns: len(f.clients), Phase: phase, LoginS: f.loginTime.Seconds(), LoginRetries: int(f.retries.Load()),
		MeasuredS: f.loginTime.Seconds(), kept: newHistograms(),
	}
	f.logins.addTo(&t)
	t.LoginCPUus = perDelivery(f.loginUsed.ofServers(), int(t.Logins.Count))
	t.Ended, _ = f.countEnded()
	t.FaultCount, t.Faults = f.faults.take()
	return t
}

func (f *fleet) cutAll(ctx context.Context) error {
	for _, c := range f.clients {
		c.cut()
	}
	for _, c := range f.clients {
		if err := c.awaitGone(ctx, f.cfg.Drain); err != nil {
			return err
		}
	}
	return nil
}

// cut ends the connection without a goodbye. It does not count as ended by the
// server.
func (c *client) cut() {
	c.loop.mu.Lock()
	c.leaving = true
	c.loop.mu.Unlock()
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.open {
		return
	}
	c.open = false
	// An error means that the connection has just ended by itself; its end is reported all the
	// same.
	_ = cutSocket(c.fd)
}

// awaitGone returns when the connection that was cut has ended; then c may log
// in again.
func (c *client) awaitGone(ctx context.Context, patience time.Duration) error {
	timeout := time.NewTimer(patience)
	defer timeout.Stop()
	select {
	case <-c.gone:
		return nil
	case <-timeout.C:
		return fmt.Errorf("loadgen: client %d: its connection has not ended within %s of the cut", c.index, patience)
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// churn cuts and logs in clients at a rate, each of them when its turn is due.
func (f *fleet) churn(ctx context.Context, t *trial) (Trial, error) {
	f.logins = newLogins(t.start)
	turns := make(chan int64, queueMax)
	free := make(chan *client, len(f.clients))
	for _, c := range f.clients {
		free <- c
	}
	asked := ctx
	ctx, cancel := context.WithCancelCause(asked)
	defer cancel(nil)
	var all sync.WaitGroup
	for worker := range f.cfg.LoginsAtOnce {
		all.Go(func() {
			if err := f.rejoin(ctx, t, worker, free, turns); err != nil {
				cancel(err)
			}
		})
	}
	paced := make(chan error, 1)
	go func() {
		paced <- f.pace(ctx, t, func(_ int, due int64) { t.enqueueTurn(turns, due) })
		close(turns)
	}()
	used, series, err := f.observe(ctx, t)
	err = errors.Join(<-paced, err)
	all.Wait()
	switch {
	case asked.Err() != nil:
		f.cut(t)
	case ctx.Err() != nil: // a login failed, and that ended the others
		return Trial{}, context.Cause(ctx)
	case err != nil:
		return Trial{}, err
	}
	r := f.result(t, used, debts{})
	r.Phase, r.Series = phaseChurn, series
	f.logins.addTo(&r)
	r.LoginCPUus = perDelivery(used.ofServers(), int(r.Logins.Count))
	return r, nil
}

// rejoin takes turns until there are no more.
func (f *fleet) rejoin(ctx context.Context, t *trial, worker int, free chan *client, turns <-chan int64) error {
	for due := range turns {
		if ctx.Err() != nil {
			continue // the run's own error says so
		}
		var c *client
		select {
		case c = <-free:
		case <-ctx.Done():
			continue // the login of this user may have failed
		}
		t.late(due, f.clock.now())
		c.cut()
		if err := c.awaitGone(ctx, f.cfg.Drain); err != nil {
			return err
		}
		if err := f.logIn(ctx, worker, c, due); err != nil {
			return err
		}
		free <- c
	}
	return nil
}

func (t *trial) enqueueTurn(turns chan<- int64, due int64) {
	select {
	case turns <- due:
	default:
		t.leave()
	}
}
