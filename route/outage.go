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
	// backPause is between two looks whether the store is back.
	backPause = 250 * time.Millisecond
	// backQuiet is how long no call must have failed before the store counts as
	// back: what had begun before is over then.
	backQuiet = storeTimeout
	// tellSpread is over how long the servers are asked to tell of their sessions
	// after an outage. Each route asks each server, all within the same moments.
	tellSpread = time.Second
)

// outage is whether the store could not be reached a moment ago, and whether
// its end is yet to be heeded.
type outage struct {
	failed atomic.Int64  // Unix time in ns of the last call that could not reach it; 0: none
	began  chan struct{} // of 1: a call has failed since heedOutages looked
}

func newOutage() *outage { return &outage{began: make(chan struct{}, 1)} }

// quiet is how long no call has failed.
func (o *outage) quiet() time.Duration { return time.Since(time.Unix(0, o.failed.Load())) }

func (o *outage) lasts() bool { return o.quiet() < outagePause }

// begin is called after each call that could not reach the store.
func (o *outage) begin() {
	o.failed.Store(time.Now().UnixNano())
	select {
	case o.began <- struct{}{}:
	default:
	}
}

// heedOutages has the servers tell of their sessions after each outage of the
// store, until ctx ends: a store that was killed, or whose replica took over, may
// have lost records of its last moments.
func (r *Route) heedOutages(ctx context.Context) {
	for {
		select {
		case <-r.outage.began:
		case <-ctx.Done():
			return
		}
		for ctx.Err() == nil && !r.storeBack(ctx) {
			sleep(ctx, backPause)
		}
		r.tellAnew(ctx)
	}
}

// storeBack reports whether the store answers and has done so for a while.
func (r *Route) storeBack(ctx context.Context) bool {
	if r.outage.quiet() < backQuiet {
		return false
	}
	select {
	case <-r.outage.began: // of the same outage
	default:
	}
	work, stop := context.WithTimeout(ctx, readyTimeout)
	defer stop()
	if err := r.store.Ready(work); err != nil {
		r.outage.begin()
		return false
	}
	return true
}

// tellAnew asks each server that is linked to tell of its sessions: those whose
// record is lost get it back, and those that were superseded end. A link that is
// down brings them by itself when it is up.
func (r *Route) tellAnew(ctx context.Context) {
	servers := r.cluster.servers().linked()
	rand.Shuffle(len(servers), func(i, j int) { servers[i], servers[j] = servers[j], servers[i] })
	for _, s := range servers {
		sleep(ctx, rand.N(tellSpread)/time.Duration(len(servers)))
		if on := s.stream.Load(); on != nil && ctx.Err() == nil {
			r.tellLink(s, on)
		}
	}
}

func (r *Route) tellLink(s *server, on *stream) {
	if err := on.conn.Send(&proto.Record{Kind: proto.RecordResync}); err != nil {
		r.counters.refused.inc("tell")
		r.notices.Say("server not asked for its sessions after an outage of the store", "server", s.member.Name(), "error", err)
		return
	}
	r.log.Info("the store is back: server asked for its sessions", "server", s.member.Name())
}
