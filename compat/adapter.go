// Package compat lets one of our routes live beside the original: its servers, its
// routes, and what both keep in the store that all share. It knows package route by
// a few functions only, and no package of ours knows it but the command that joins
// them: without it there is the same route for servers of ours alone.
//
// An Adapter stands in front of what a route works with. As a registry it gives
// the original's servers an epoch and marks them as guests (registry.go). As a dialer
// it links them, and serves the far end of these links (link.go): a push becomes a
// POST /sendMsg (push.go), a message to everybody one for each user there (group.go,
// scan.go), a grant a connect. As a store it reads the original's records, and has texts
// kept in a form that the original reads (store.go); package redisform knows that
// form. As route.Ungranted it has the
// logins that no route of ours has granted (ungranted.go), and puts their records
// right where they name the wrong server (misplaced.go).
package compat

import (
	"context"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"cim/internal/link"
	"cim/internal/metrics"
	"cim/internal/notice"
	"cim/proto"
	"cim/registry"
)

// Guest is what operators read of a server of the original.
const Guest = "original"

// Config has the settings of an Adapter.
type Config struct {
	// Servers says that servers of the original are in the registry: members
	// without data of ours get logins and messages. Default false: such a member is
	// passed by, since anyone who may write to the registry can put it there.
	Servers bool
}

// Deps is what an Adapter stands in front of. It outlives the Adapter.
type Deps struct {
	Store    Shared
	Registry registry.Registry
	// Dial connects to the link of a server of ours.
	Dial func(ctx context.Context, m proto.Member) (*link.Conn, error)
	// Log may be nil: nothing is logged.
	Log *slog.Logger
	// Metrics may be nil: nothing is shown.
	Metrics *metrics.Set
}

// Route is what an Adapter asks of its route.
type Route interface {
	// HasUngranted reports whether the server of an epoch has a session of user that
	// came without a grant; sure is false if it does not say.
	HasUngranted(user proto.UserID, at proto.Epoch) (lives, sure bool)
	// CatchUpUngranted has such a session sent what is stored.
	CatchUpUngranted(user proto.UserID, at proto.Epoch)
	// OnTheirWay returns a channel that is closed when the private messages of sender
	// to receiver are through that take their time; nil: there are none.
	OnTheirWay(sender, receiver proto.UserID) <-chan struct{}
}

// Adapter is the original as one route has it. Any goroutine calls its methods.
type Adapter struct {
	config   Config
	store    Shared
	registry registry.Registry
	dial     func(ctx context.Context, m proto.Member) (*link.Conn, error)
	log      *slog.Logger
	notices  *notice.Notices
	counters *counters

	route     atomic.Pointer[Route] // nil before Attach
	members   members
	scans     *scans
	misplaced *misplaced

	ctx  context.Context // ends what runs
	stop context.CancelFunc
	runs sync.WaitGroup // links, scans and the looks at misplaced sessions
}

// New returns an Adapter. Its route is to be given to Attach.
func New(config Config, deps Deps) *Adapter {
	if deps.Log == nil {
		deps.Log = slog.New(slog.DiscardHandler)
	}
	a := &Adapter{
		config: config, store: deps.Store, registry: deps.Registry, dial: deps.Dial, log: deps.Log,
		notices: notice.New(deps.Log), counters: newCounters(deps.Metrics), misplaced: newMisplaced(),
	}
	a.ctx, a.stop = context.WithCancel(context.Background())
	a.scans = newScans(a)
	a.Snapshot()
	deps.Metrics.Gauge("cim_route_servers_of_the_original", func() float64 { return float64(a.members.seen().guests) })
	deps.Metrics.Gauge("cim_route_original_texts_unread_total", func() float64 { return float64(a.store.UnreadOriginal()) })
	return a
}

// Attach begins what needs the route. It is called once.
func (a *Adapter) Attach(r Route) {
	a.route.Store(&r)
	a.runs.Go(func() { a.putRecordsRight(a.ctx) })
}

// Close ends all that runs. It is called when the route has drained.
func (a *Adapter) Close() {
	a.stop()
	a.runs.Wait()
}

// onTheirWay is that of the route.
func (a *Adapter) onTheirWay(sender, receiver proto.UserID) <-chan struct{} {
	if r := a.route.Load(); r != nil {
		return (*r).OnTheirWay(sender, receiver)
	}
	return nil
}

// storeTimeout bounds one question to the store that no request waits for.
const storeTimeout = 2 * time.Second

// counters are the Adapter's metrics, which stand among the route's.
type counters struct {
	pushes   map[string]*metrics.Counter // requests to servers of the original, by outcome
	scans    *metrics.Counter            // of the records, for their users
	lost     *metrics.Counter            // deliveries of group messages that they did not take
	putRight *metrics.Counter            // records that named a server without the session
	refused  *metrics.Counter            // sessions whose records are not looked at
}

func newCounters(set *metrics.Set) *counters {
	c := &counters{
		pushes:   map[string]*metrics.Counter{},
		scans:    set.Counter("cim_route_original_scans_total"),
		lost:     set.Counter("cim_route_original_deliveries_lost_total"),
		putRight: set.Counter("cim_route_records_put_right_total"),
		refused:  set.Counter(`cim_route_refused_total{what="misplaced"}`),
	}
	for _, outcome := range []string{pushTaken, pushRefused, pushUnknown, pushUnsent} {
		c.pushes[outcome] = set.Counter(`cim_route_original_pushes_total{outcome="` + outcome + `"}`)
	}
	return c
}
