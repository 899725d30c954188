package route

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"cim/proto"
	"cim/store"
)

const (
	// asidesMax bounds the group messages that wait for the scan of the records;
	// one more is refused before any part is sent.
	asidesMax = 256
	// scanTimeout bounds the scan of the records for the users on servers of the
	// original.
	scanTimeout = 2 * time.Second
	// asideWorkers push to one server at once; below pusherConns, so that
	// private messages pass.
	asideWorkers = pusherConns / 2
	// asideFaultsMax is how many pushes in a row may fail before a server counts
	// as gone for the messages that are on their way: all workers once.
	asideFaultsMax = asideWorkers
	// groupQueueMax bounds the group messages on their way to one server of the
	// original. What does not fit is lost for its users.
	groupQueueMax = 1024
	// batchPause is how long the next group messages wait for those before them:
	// so the messages that come meanwhile share a scan, and a server that hangs
	// holds up no other.
	batchPause = askTimeout
)

// aside is the part of a group message that goes to users on servers of the
// original.
type aside struct {
	message
	parts                atomic.Int64  // that are not through, one of them the scan
	ended                chan struct{} // closed when all are
	first                chan struct{} // closed when a receiver's server has taken it
	once                 sync.Once
	taken, lost, unknown atomic.Int64 // receivers
}

// through is called once for each part, and for the scan.
func (a *aside) through() {
	if a.parts.Add(-1) == 0 {
		close(a.ended)
	}
}

// takenOne counts a receiver whose server has taken the message.
func (a *aside) takenOne() {
	a.taken.Add(1)
	a.once.Do(func() { close(a.first) })
}

// asides brings group messages to users on servers of the original: all that
// wait when it begins share one scan of the records. Each server then gets them
// in the order of the scans, and waits for no other server.
type asides struct {
	route *Route
	kick  chan struct{}  // of 1: a message waits
	sent  sync.WaitGroup // the parts on their way

	mu      sync.Mutex
	waiting []*aside // in the order of the calls
	taken   int      // places given: those that wait and are to come; <= asidesMax
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
	a := &aside{message: m, ended: make(chan struct{}), first: make(chan struct{})}
	a.parts.Store(1)
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
	defer as.sent.Wait()
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

// finish ends the scan of messages; lost counts what went wrong with all of them.
func (as *asides) finish(all []*aside, lost int64) {
	for _, a := range all {
		a.lost.Add(lost)
		a.through()
		as.unreserve()
	}
}

// send brings messages to all users on live servers of the original.
func (as *asides) send(ctx context.Context, all []*aside) {
	r := as.route
	scan, scanned := context.WithTimeout(ctx, scanTimeout)
	defer scanned()
	r.counters.originalScans.Inc()
	places, err := r.original.OriginalPlaces(scan)
	if err != nil {
		r.storeFault("scan for users on servers of the original", err)
		as.finish(all, 1)
		return
	}
	by := time.Now().Add(pushTimeout)
	for s, users := range r.atOriginals(places) {
		p := &asidePart{route: r, server: s, users: users, asides: all, by: by}
		for _, a := range all {
			a.parts.Add(1)
		}
		turn := s.pusher.groups.enter(len(all))
		as.sent.Go(func() { p.run(ctx, turn) })
	}
	as.finish(all, 0)
	pause := time.NewTimer(batchPause)
	defer pause.Stop()
	for _, a := range all {
		select {
		case <-a.ended:
		case <-pause.C:
			return
		case <-ctx.Done():
			return
		}
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

// groupQueue has the group messages on their way to one server of the original.
type groupQueue struct {
	mu       sync.Mutex
	last     chan struct{} // closed when the newest part is through; nil: there was none
	messages int           // of all parts; <= groupQueueMax
}

// groupTurn is the place of a part in its server's queue.
type groupTurn struct {
	before <-chan struct{} // closed when the part before is through; nil: there is none
	leave  func()          // nil: there was no room
}

func (q *groupQueue) enter(messages int) groupTurn {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.messages > 0 && q.messages+messages > groupQueueMax {
		return groupTurn{}
	}
	turn, done := groupTurn{before: q.last}, make(chan struct{})
	q.last = done
	q.messages += messages
	turn.leave = func() {
		q.mu.Lock()
		defer q.mu.Unlock()
		q.messages -= messages
		close(done)
	}
	return turn
}

// asidePart is what one server gets of messages on their way.
type asidePart struct {
	route  *Route
	server *server
	users  []proto.UserID
	asides []*aside
	by     time.Time // when it ends, whatever has been sent

	next   atomic.Int64 // into users
	faults atomic.Int64 // in a row
	lost   atomic.Int64 // deliveries that were lost, or are unknown
}

// run sends the part when its turn has come.
func (p *asidePart) run(ctx context.Context, turn groupTurn) {
	ctx, stop := context.WithDeadline(ctx, p.by)
	defer stop()
	if turn.leave == nil {
		p.faults.Store(asideFaultsMax)
	} else {
		defer turn.leave()
	}
	if turn.before != nil {
		select {
		case <-turn.before:
		case <-ctx.Done():
		}
	}
	var sending sync.WaitGroup
	for range min(asideWorkers, len(p.users)) {
		sending.Go(func() { p.work(ctx) })
	}
	sending.Wait()
	if lost := int(p.lost.Load()); lost > 0 {
		p.route.counters.originalLost.Add(lost)
		p.route.notices.say("group messages lost to users on a server of the original, or unknown", "server", p.server.member.Name(), "deliveries", lost)
	}
	for _, a := range p.asides {
		a.through()
	}
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
	awaitTurn(p.route.sends.slow.newest(pair{a.sender.ID, user}), p.by)
	err := errUnsent
	if p.faults.Load() < asideFaultsMax && ctx.Err() == nil {
		err = p.server.pusher.send(sendMsgBody(user, a.appendBody(nil)), p.by)
	}
	if err == nil {
		p.faults.Store(0)
		a.takenOne()
		return
	}
	p.faults.Add(1)
	p.lost.Add(1)
	if errors.Is(err, errUnknown) {
		a.unknown.Add(1)
	} else {
		a.lost.Add(1)
	}
}

// await waits until the message is through. If a server of ours has it, or one
// of the original has it for a receiver, it waits for batchPause only: a server
// that hangs keeps no sender waiting.
func (a *aside) await(ours bool, deadline time.Time) {
	soon := time.NewTimer(batchPause)
	defer soon.Stop()
	select {
	case <-a.ended:
		return
	case <-soon.C:
	}
	if ours {
		return
	}
	late := time.NewTimer(time.Until(deadline))
	defer late.Stop()
	select {
	case <-a.ended:
	case <-a.first:
	case <-late.C:
	}
}

// add counts the part for servers of the original as it is now. With no
// receiver there it counts as taken.
func (e *groupEnds) add(a *aside) {
	through := false
	select {
	case <-a.ended:
		through = true
	default:
	}
	switch {
	case a.taken.Load() > 0, through && a.lost.Load() == 0 && a.unknown.Load() == 0:
		receivers := proto.Receivers(0) // there may be more
		if through && a.unknown.Load() == 0 {
			receivers = proto.ReceiversOf(int(a.taken.Load()))
		}
		e.took(receivers)
	case !through || a.unknown.Load() > 0:
		e.unknown++
	}
}
