package route

import (
	"context"
	"math/rand/v2"
	"sync/atomic"
	"time"

	"cim/proto"
)

const (
	// outagePause is how long the store is not asked for what the route knows
	// itself, after a call that could not reach it: so one request in a while
	// waits for its deadline, and not each.
	outagePause = 200 * time.Millisecond
	// recoveryPause is between two looks whether the store is back.
	recoveryPause = 250 * time.Millisecond
	// recoveryQuiet is how long no call may have failed before the store counts as back: calls that
	// started earlier have ended by then.
	recoveryQuiet = storeTimeout
	// resyncSpread is the time over which a route asks the servers to report their sessions after
	// an outage. All routes ask all servers, within the same moments.
	resyncSpread = time.Second
	// resyncPause is between two rounds of that. A store that has too much to do
	// answers some calls too late, again and again. To compare all sessions with it
	// after each of them would give it more to do. What it may have lost meanwhile
	// comes back with the next round, or when the servers report their sessions by
	// themselves.
	resyncPause = 10 * time.Second
)

// outage is whether the store could not be reached a moment ago, and whether
// its end is yet to be heeded.
type outage struct {
	failed   atomic.Int64  // Unix time in ns of the last call that could not reach it; 0: none
	failures chan struct{} // of 1: a call has failed since heedOutages looked
}

func newOutage() *outage { return &outage{failures: make(chan struct{}, 1)} }

// quiet is how long no call has failed.
func (o *outage) quiet() time.Duration { return time.Since(time.Unix(0, o.failed.Load())) }

func (o *outage) active() bool { return o.quiet() < outagePause }

// noteFailure is called after each call that could not reach the store.
func (o *outage) noteFailure() {
	o.failed.Store(time.Now().UnixNano())
	select {
	case o.failures <- struct{}{}:
	default:
	}
}

// watchOutages asks the servers to report their sessions after each outage of the store, until ctx
// ends: a store that was killed, or whose replica took over, may have lost its latest records.
func (r *Route) watchOutages(ctx context.Context) {
	for {
		select {
		case <-r.outage.failures:
		case <-ctx.Done():
			return
		}
		for ctx.Err() == nil && !r.storeRecovered(ctx) {
			sleep(ctx, recoveryPause)
		}
		r.resync(ctx)
		sleep(ctx, resyncPause)
	}
}

// storeRecovered reports whether the store answers and has done so for a while.
func (r *Route) storeRecovered(ctx context.Context) bool {
	if r.outage.quiet() < recoveryQuiet {
		return false
	}
	select {
	case <-r.outage.failures: // of the same outage
	default:
	}
	work, stop := context.WithTimeout(ctx, readyTimeout)
	defer stop()
	if err := r.store.Ready(work); err != nil {
		r.outage.noteFailure()
		return false
	}
	return true
}

// resync asks each linked server to report its sessions: lost records are restored, superseded
// sessions end. A server whose link is down reports its sessions when the link is up.
func (r *Route) resync(ctx context.Context) {
	servers := r.cluster.servers().linked()
	rand.Shuffle(len(servers), func(i, j int) { servers[i], servers[j] = servers[j], servers[i] })
	for _, s := range servers {
		sleep(ctx, rand.N(resyncSpread)/time.Duration(len(servers)))
		if on := s.stream.Load(); on != nil && ctx.Err() == nil {
			r.resyncLink(s, on)
		}
	}
}

func (r *Route) resyncLink(s *server, on *stream) {
	if err := on.conn.Send(&proto.Record{Kind: proto.RecordResync}); err != nil {
		r.counters.refused.inc("tell")
		r.notices.Say("server not asked for its sessions after an outage of the store", "server", s.member.Name(), "error", err)
		return
	}
	r.log.Info("the store is back: server asked for its sessions", "server", s.member.Name())
}
