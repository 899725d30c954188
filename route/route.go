// Package route is cim-route: the HTTP API and the work behind it. A route knows the live servers
// and keeps a link to each. It picks a server for each login and grants the login there. It pushes
// private messages to the receiver's session or stores them, sends group messages to every server,
// and sends a session what was stored for its user.
//
// A Route owns its HTTP connections, its ends of the links and its queues. The store owns accounts,
// presence and stored messages, and only a session's server knows whether the session is live. So
// there may be any number of routes, and each may end at any time. Cached names and records are
// needed only while the store is away. A route never talks to a client's long connection and does
// not import package server.
//
// http.go reads requests and writes answers. account.go, login.go, presence.go, deliver.go,
// broadcast.go and catchup.go serve them. servers.go follows the registry, link.go keeps one link
// up, liveness.go watches it, stream.go pairs asks with answers on it, and check.go compares a
// server's sessions with the store. hold.go holds the session for which a message was stored,
// pending_holds.go keeps those that could not be held yet. caches.go has the cached names and
// records. guest.go and ungranted.go handle servers of another system, and logins that no route of
// ours granted. send.go serves what clients send over their own connections, turns.go keeps the
// order of messages that left their worker, want.go and receipts.go find out what became of a
// message. returns.go puts texts that sessions kept back into the box, catchup_queue.go runs the
// catch-ups. state.go is the view for operators.
package route

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"time"

	"cim/internal/budget"
	"cim/internal/httpserve"
	"cim/internal/link"
	"cim/internal/listener"
	"cim/internal/metrics"
	"cim/internal/notice"
	"cim/proto"
	"cim/registry"
	"cim/route/access"
	"cim/store"
)

// Deps is what a route works with. It outlives the route.
type Deps struct {
	Store    store.Store
	Registry registry.Registry
	// Ungranted may be nil: there are no guests, and sessions that came without a
	// grant have no records.
	Ungranted Ungranted
	// Dial connects to a live server's link. It ends when its context does.
	Dial func(ctx context.Context, m proto.Member) (*link.Conn, error)
	// Log may be nil: nothing is logged.
	Log *slog.Logger
	// Metrics may be nil: nothing is shown.
	Metrics *metrics.Set
	// Record reads a presence record from memory, for a store that keeps all of them there and is
	// never away for such a read. nil: the route caches the records that it has read.
	Record func(proto.UserID) (store.Record, bool)
	// Budget bounds what the connections hold in memory, with others of the
	// process. nil: only the bounds of each part do.
	Budget *budget.Budget
}

// Route is one running route.
type Route struct {
	config     Config
	budget     *budget.Budget // may be nil
	unjoin     func()         // the links leave it
	store      store.Store
	ungranted  Ungranted // may be nil
	registry   registry.Registry
	log        *slog.Logger
	notices    *notice.Notices
	counters   *counters
	caches     *caches
	outage     *outage
	online     online
	standstill *standstill

	cluster        *cluster
	choice         *choice
	catchups       *catchupQueue
	sends          *sendQueues
	releases       *releaseQueue
	receipts       *receipts
	returns        *userQueues[returnedTexts]
	acks           *userQueues[ackedTexts]
	delayed        delayedCatchups
	pendingHolds   *pendingHolds
	checks         chan struct{} // one for each call of the store that compares sessions; see checksAtOnce
	backoffs       *backoffs
	pendingLookups *pendingLookups
	gate           *access.Gate
	http           *httpserve.Server
	endpoints      map[string]*endpoint
	bodies         sync.Pool // of *[]byte, in which bodies are built; a link copies them

	stop    context.CancelFunc // ends the links and what runs over them
	running sync.WaitGroup     // the follower, the accepting loop, retryPendingHolds, watchOutages and, while links are up, their checks
	done    chan error         // of 1
}

// Start listens, links to the live servers and serves. Its errors are a
// setting that is wrong, or an address that cannot be listened on.
func Start(config Config, deps Deps) (*Route, error) {
	if err := config.Check(); err != nil {
		return nil, err
	}
	if deps.Log == nil {
		deps.Log = slog.New(slog.DiscardHandler)
	}
	gate, err := access.Open(config.Access, deps.Log)
	if err != nil {
		return nil, fmt.Errorf("route: %w", err)
	}
	listener, err := net.Listen(listener.Network(config.Bind), config.address())
	if err != nil {
		return nil, fmt.Errorf("route: listen on %s: %w", config.address(), err)
	}
	r := newRoute(config, deps, gate, listener)
	r.watch(deps.Metrics)
	return r, nil
}

func newRoute(config Config, deps Deps, gate *access.Gate, listener net.Listener) *Route {
	ctx, stop := context.WithCancel(context.Background())
	r := &Route{
		config: config, budget: deps.Budget, store: deps.Store, ungranted: deps.Ungranted, registry: deps.Registry, log: deps.Log,
		notices: notice.New(deps.Log), counters: newCounters(deps.Metrics), caches: newCaches(deps.Record), outage: newOutage(), standstill: newStandstill(),
		bodies: sync.Pool{New: newBody}, choice: &choice{kind: config.ServerChoice}, pendingHolds: newPendingHolds(), checks: make(chan struct{}, checksAtOnce), backoffs: newBackoffs(), done: make(chan error, 1),
	}
	r.stop = stop
	r.catchups = newCatchupQueue(ctx, r.catchUp)
	r.sends = newSendQueues(r)
	r.releases = newReleaseQueue(r)
	r.receipts = newReceipts()
	r.returns = newUserQueues(returnQueueMax, returnBytesMax, r.storeReturned)
	r.acks = newUserQueues(ackedQueueMax, ackedBytesMax, r.removeAcked)
	r.pendingLookups = newPendingLookups(r)
	r.cluster = newCluster(ctx, deps.Registry, dialer{
		dial: deps.Dial, standstill: r.standstill, onLinked: r.onLinked, onUnlinked: r.receipts.streamEnded, onRecord: r.onRecord, holders: new(link.Holders), log: deps.Log, counters: r.counters,
	})
	r.gate = gate
	r.endpoints = r.newEndpoints()
	r.online.pages = make(chan struct{}, pagesMax)
	r.unjoin = func() {}
	if r.budget != nil {
		r.unjoin = r.budget.Join(r.cluster.dialer.holders)
	}
	r.http = r.newHTTP(listener)
	r.running.Go(func() { r.standstill.run(ctx) })
	r.running.Go(func() { r.cluster.follow(ctx) })
	r.running.Go(func() { r.retryPendingHolds(ctx) })
	r.running.Go(func() { r.watchOutages(ctx) })
	r.running.Go(r.accept)
	return r
}

// watch registers the gauges that are read at each scrape.
func (r *Route) watch(set *metrics.Set) {
	set.Gauge("cim_route_http_connections", func() float64 { return float64(r.http.Conns()) })
	set.Gauge("cim_route_links_up", func() float64 { return float64(len(r.cluster.servers().linked())) })
	set.Gauge("cim_route_links_suspect", func() float64 { return float64(len(r.cluster.servers().filter((*server).suspect))) })
	set.Gauge("cim_route_servers_live", func() float64 { return float64(len(r.cluster.servers().ours)) })
	set.Gauge("cim_route_members_passed_by", func() float64 { return float64(r.cluster.skipped.Load()) })
	set.Gauge(`cim_route_last_known{what="record"}`, func() float64 { return float64(r.caches.presence.len()) })
	set.Gauge(`cim_route_last_known{what="name"}`, func() float64 { return float64(r.caches.names.len()) })
	set.Gauge(`cim_route_last_known{what="refused_tokens"}`, func() float64 { return float64(r.caches.refusals.len()) })
	set.Gauge("cim_route_receipts_waiting", func() float64 { return float64(r.receipts.waiting()) })
	set.Gauge("cim_route_catchups_waiting", func() float64 { return float64(r.catchups.waiting()) })
}

// accept serves HTTP until the drain. It reports any other end on done.
func (r *Route) accept() {
	if err := r.http.Run(); err != nil {
		r.done <- fmt.Errorf("route: accept on %s: %w", r.Addr(), err)
	}
}

// onLinked is called when the link to a server comes up, or the server answers again.
func (r *Route) onLinked(s *server) { r.catchUpPending(s) }

// onRecord handles a record that a server sends unasked. ctx ends with the server's link; an error
// ends the link.
func (r *Route) onRecord(ctx context.Context, from *server, on *stream, record *proto.Record) error {
	switch record.Kind {
	case proto.RecordSend:
		r.sends.add(from, on, record)
	case proto.RecordUp:
		return r.onSessionUp(from, record)
	case proto.RecordDown:
		r.releases.add(endedSession{record.User, from.place, record.Generation})
	case proto.RecordSessions:
		return r.checkSessions(ctx, from, on, record)
	case proto.RecordOvertaken:
		r.endOlderSessions(record.User, record.Generation, proto.Epoch(record.Value))
	case proto.RecordReceipt:
		r.onReceipt(record)
	case proto.RecordReturn:
		return r.onReturn(from, on, record)
	case proto.RecordAcked:
		return r.onAcked(record)
	case proto.RecordLeaving:
		r.onLeaving(from)
	case proto.RecordPaused:
		r.counters.paused.Inc()
		r.notices.Say("a server's process stood still", "server", from.member.Name())
		return on.echo(record.ID)
	default:
		r.counters.unknown.Inc()
		r.notices.Say("record of unknown kind", "server", from.member.Name(), "kind", record.Kind)
	}
	return nil
}

// onLeaving is called at a server's word that it goes down.
func (r *Route) onLeaving(s *server) {
	if !s.leaving.Swap(true) {
		r.log.Info("server leaves: no more logins are sent there", "server", s.member.Name())
	}
}

// Addr is the address that the route listens on, with its real port.
func (r *Route) Addr() string { return r.http.Addr().String() }

// readyTimeout bounds the store's own answer to whether it is ready.
const readyTimeout = time.Second

// Ready reports which part cannot serve now, and why, or nil.
func (r *Route) Ready() error {
	ctx, stop := context.WithTimeout(context.Background(), readyTimeout)
	defer stop()
	var faults []error
	if err := r.store.Ready(ctx); err != nil {
		faults = append(faults, fmt.Errorf("route: store: %w", err))
	}
	if err := r.registry.Ready(); err != nil {
		faults = append(faults, fmt.Errorf("route: registry: %w", err))
	}
	if r.http.Draining() {
		faults = append(faults, errDraining)
	} else if present := r.cluster.servers(); len(present.linked()) == 0 && len(present.guests) == 0 {
		faults = append(faults, fmt.Errorf("route: no live server is linked, of %d", len(present.ours)))
		if n := r.cluster.skipped.Load(); n > 0 {
			faults = append(faults, fmt.Errorf("route: %d members have no data of cim", n))
		}
	}
	return errors.Join(faults...)
}

// Done returns a channel that receives an error if the route stops serving without a drain. It must
// be drained then.
func (r *Route) Done() <-chan error { return r.done }

// catchupGrace is how long a drain waits for running catch-ups. One with a slow reader may take
// longer; its last texts are then sent again at the reader's next login.
const catchupGrace = 2 * time.Second

// Drain accepts no more requests, lets those in flight finish, closes the links and waits for all
// goroutines. When ctx ends it stops waiting for requests in flight, and returns the context's
// error. It is called once.
func (r *Route) Drain(ctx context.Context) error {
	forced := context.AfterFunc(ctx, r.stop)
	defer forced()
	guests := time.AfterFunc(catchupGrace, r.cluster.endGuests) // requests in flight wait for them
	defer guests.Stop()
	r.http.Drain(ctx)
	r.sends.drain()
	r.receipts.drain(ctx)
	r.returns.drain()
	r.acks.drain()
	r.pendingLookups.drain()
	grace := time.AfterFunc(catchupGrace, r.stop)
	defer grace.Stop()
	r.catchups.drain()
	err := ctx.Err()
	r.stop()
	r.running.Wait()
	r.releases.drain()
	r.unjoin()
	return err
}
