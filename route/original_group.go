package route

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"cim/proto"
	"cim/store"
)

const (
	// asidesMax bounds the group messages that wait for the users on servers of
	// the original; one more is refused before any part is sent.
	asidesMax = 256
	// scanTimeout bounds the scan of the records for their users.
	scanTimeout = 2 * time.Second
	// asideWorkers push to one server at once; below pusherConns, so that
	// private messages pass.
	asideWorkers = pusherConns / 2
	// asideFaultsMax is how many pushes in a row may fail before a server counts
	// as gone for the messages that are on their way: all workers once.
	asideFaultsMax = asideWorkers
)

// aside is the part of a group message that goes to users on servers of the
// original.
type aside struct {
	message
	ended       chan struct{} // closed when it is through
	taken, lost atomic.Int64  // receivers
}

// took reports whether the message is through: everybody has it, or somebody.
func (a *aside) took() bool { return a.taken.Load() > 0 || a.lost.Load() == 0 }

// asides brings group messages to users on servers of the original: all that
// wait when it begins share one scan of the records. The next ones wait until
// it is through, so each receiver gets them in order.
type asides struct {
	route *Route
	kick  chan struct{} // of 1: somebody waits

	mu      sync.Mutex
	waiting []*aside // in the order of the calls
	taken   int      // places given: those that wait, are to come and are on their way; <= asidesMax
}

func newAsides(r *Route) *asides { return &asides{route: r, kick: make(chan struct{}, 1)} }

// reserve takes a place for a message, and reports whether there was one.
func (as *asides) reserve() bool {
	as.mu.Lock()
	defer as.mu.Unlock()
	if as.taken >= asidesMax {
		return false
	}
	as.taken++
	return true
}

// unreserve gives a place back.
func (as *asides) unreserve() {
	as.mu.Lock()
	defer as.mu.Unlock()
	as.taken--
}

// start sends m behind those that wait. Its place is reserved.
func (as *asides) start(m message) *aside {
	a := &aside{message: m, ended: make(chan struct{})}
	as.mu.Lock()
	as.waiting = append(as.waiting, a)
	as.mu.Unlock()
	select {
	case as.kick <- struct{}{}:
	default:
	}
	return a
}

// run sends until ctx ends. What waits then is lost: only requests that the
// drain did not wait for have it.
func (as *asides) run(ctx context.Context) {
	for {
		select {
		case <-as.kick:
		case <-ctx.Done():
			as.finish(as.take(), 1)
			return
		}
		if all := as.take(); len(all) > 0 {
			as.send(ctx, all)
		}
	}
}

func (as *asides) take() []*aside {
	as.mu.Lock()
	defer as.mu.Unlock()
	all := as.waiting
	as.waiting = nil
	return all
}

// finish ends messages; lost counts what went wrong with all of them.
func (as *asides) finish(all []*aside, lost int64) {
	for _, a := range all {
		a.lost.Add(lost)
		close(a.ended)
		as.unreserve()
	}
}

// send brings messages to all users on live servers of the original.
func (as *asides) send(ctx context.Context, all []*aside) {
	r := as.route
	ctx, stop := context.WithTimeout(ctx, broadcastTimeout)
	defer stop()
	scan, scanned := context.WithTimeout(ctx, scanTimeout)
	defer scanned()
	r.counters.originalScans.Inc()
	places, err := r.original.OriginalPlaces(scan)
	if err != nil {
		r.storeFault("scan for users on servers of the original", err)
		as.finish(all, 1)
		return
	}
	var sending sync.WaitGroup
	for s, users := range r.atOriginals(places) {
		p := &asidePart{server: s, users: users, asides: all}
		for range min(asideWorkers, len(users)) {
			sending.Go(func() { p.work(ctx) })
		}
	}
	sending.Wait()
	as.tell(all)
	as.finish(all, 0)
}

func (as *asides) tell(all []*aside) {
	lost := 0
	for _, a := range all {
		lost += int(a.lost.Load())
	}
	if lost > 0 {
		as.route.counters.originalLost.Add(lost)
		as.route.notices.say("group messages lost to users on servers of the original", "deliveries", lost)
	}
}

// atOriginals returns the users at each live server of the original. Those of
// others are gone, or at servers of ours, which have the message.
func (r *Route) atOriginals(places map[proto.UserID]store.Place) map[*server][]proto.UserID {
	at := map[*server][]proto.UserID{}
	for user, place := range places {
		if s := r.originalServer(r.resolved(store.Record{Place: place})); s != nil {
			at[s] = append(at[s], user)
		}
	}
	return at
}

// asidePart is what one server gets of messages on their way.
type asidePart struct {
	server *server
	users  []proto.UserID
	asides []*aside

	next   atomic.Int64 // into users
	faults atomic.Int64 // in a row
}

// work brings one user after the other all messages, in their order.
func (p *asidePart) work(ctx context.Context) {
	for {
		i := int(p.next.Add(1)) - 1
		if i >= len(p.users) {
			return
		}
		for _, a := range p.asides {
			if a.sender.ID != p.users[i] {
				p.send(ctx, a, p.users[i])
			}
		}
	}
}

func (p *asidePart) send(ctx context.Context, a *aside, user proto.UserID) {
	if p.faults.Load() >= asideFaultsMax || ctx.Err() != nil {
		a.lost.Add(1)
		return
	}
	body := sendMsgBody(user, a.appendBody(nil))
	if err := p.server.pusher.send(body, askTimeout); err != nil {
		p.faults.Add(1)
		a.lost.Add(1)
		return
	}
	p.faults.Store(0)
	a.taken.Add(1)
}

// await waits until the message is through, and reports whether it was taken.
func (a *aside) await(deadline time.Time) bool {
	late := time.NewTimer(time.Until(deadline))
	defer late.Stop()
	select {
	case <-a.ended:
		return a.took()
	case <-late.C:
		return false
	}
}
