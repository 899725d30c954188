// Package server is cim-server: it keeps the clients' long connections and delivers
// to them what routes send over their links.
//
// Each gnet event loop has a loop with a pure shard, which only that event loop
// touches. All else reaches a loop through its mailbox. The directory knows the
// session of each user, and holds the grants. Nothing in this package knows the
// store or other servers.
package server

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"cim/internal/budget"
	"cim/internal/link"
	"cim/internal/metrics"
	"cim/proto"
	"cim/server/shard"
)

// Deps is what a server needs from its process.
type Deps struct {
	// Log may be nil: nothing is logged. Event loops log, so its handler must not
	// block.
	Log *slog.Logger
	// Metrics may be nil: nothing is exported.
	Metrics *metrics.Set
	// Budget bounds the memory of all connections of the process. nil: the server
	// makes its own, of budget.Default.
	Budget *budget.Budget
	// Ungranted may be nil: then only a grant of a route lets a client in.
	Ungranted Ungranted

	// For tests; nil and 0 are the defaults.
	clock      func() time.Duration
	pauseMin   time.Duration
	silenceMax time.Duration
}

// Server is one running cim-server.
type Server struct {
	config      Config
	log         *slog.Logger
	logBound    logBound
	metrics     *counters
	epoch       proto.Epoch
	sessionsMax int
	readClock   func() time.Duration // monotonic, since the start
	silenceMax  time.Duration        // of a link

	stalls      stallDetector
	stallLoop   sync.WaitGroup
	stopStalls  context.CancelFunc // stops the goroutine of stalls
	lease       lease
	syncedPause atomic.Uint64 // the last pause after which a link has sent all sessions

	budget *budget.Budget
	unjoin []func() // leaves the budget

	engine    engine
	clients   clientPort
	intake    intake
	loops     []*loop // fixed before the server is ready
	directory *directory
	links     links
	holders   link.Holders // of the ends of all links
	linkPort  linkPort
	ungranted Ungranted // nil: none
	pairs     pairs
	returns   returns
	limits    sendLimits
	recheck   recheck
	conns     atomic.Int64 // connections of clients
	leaving   atomic.Bool  // no grant and no login is taken any more
	draining  atomic.Bool  // grants and logins are refused
	done      chan error   // connections, links and SENDs for a route are refused too
}

// startMax bounds the start of the event loops.
const startMax = 10 * time.Second

// Start starts a server. When it returns, its ports listen.
func Start(config Config, deps Deps) (*Server, error) {
	if err := config.Check(); err != nil {
		return nil, fmt.Errorf("server: %w", err)
	}
	sessionsMax, err := config.sessionsMax()
	if err != nil {
		return nil, err
	}
	if deps.Log == nil {
		deps.Log = slog.New(slog.DiscardHandler)
	}
	if deps.Budget == nil {
		deps.Budget = budget.New(budget.Default(), deps.Log)
	}
	s := &Server{
		config: config, log: deps.Log, budget: deps.Budget, metrics: newCounters(deps.Metrics), epoch: newEpoch(),
		sessionsMax: sessionsMax, done: make(chan error, 1), limits: newSendLimits(config.Limits),
		directory: newDirectory(config.Login, config.RepeatLogin, deps.Ungranted != nil, config.Addresses), ungranted: deps.Ungranted,
	}
	s.setClock(deps)
	s.returns.start(s)
	for i := range config.LoopCount() {
		s.loops = append(s.loops, newLoop(s, uint16(i)))
	}
	s.startStallDetector()
	ctx, cancel := context.WithTimeout(context.Background(), startMax)
	defer cancel()
	if err := s.startLoops(); err != nil {
		s.stopUngranted()
		s.stopStallDetector()
		return nil, err
	}
	if err := s.intake.start(s); err != nil {
		return nil, errors.Join(err, s.stop(ctx))
	}
	if err := s.linkPort.start(s); err != nil {
		s.intake.stop(ctx)
		return nil, errors.Join(err, s.stop(ctx))
	}
	s.registerGauges(deps.Metrics)
	s.joinBudget()
	return s, nil
}

// startLoops opens the client port, and starts the event loops that serve it.
func (s *Server) startLoops() error {
	if err := s.clients.listen(s); err != nil {
		return err
	}
	if err := s.engine.start(s); err != nil {
		return errors.Join(err, s.clients.listener.Close())
	}
	s.clients.start()
	return nil
}

// setClock starts the server's clock and its lease.
func (s *Server) setClock(deps Deps) {
	started := time.Now()
	s.readClock = func() time.Duration { return time.Since(started) }
	if deps.clock != nil {
		s.readClock = deps.clock
	}
	s.stalls.pauseMin, s.stalls.beforePause = pauseMin, s.checkLease
	if deps.pauseMin > 0 {
		s.stalls.pauseMin = deps.pauseMin
	}
	s.silenceMax = linkSilenceMax
	if deps.silenceMax > 0 {
		s.silenceMax = deps.silenceMax
	}
	s.lease.term = s.config.Lease
	s.stalls.stamp.Store(int64(s.clock()))
	s.lease.stamp.Store(int64(s.clock()))
	s.recheck.due = s.clock() + s.config.Recheck // there is no session yet
}

func (s *Server) startStallDetector() {
	ctx, cancel := context.WithCancel(context.Background())
	s.stopStalls = cancel
	s.stallLoop.Go(func() { s.watchStalls(ctx) })
}

func (s *Server) stopStallDetector() {
	s.stopStalls()
	s.stallLoop.Wait()
}

// stop stops what Start starts first.
func (s *Server) stop(ctx context.Context) error {
	defer s.stopStallDetector()
	defer s.stopUngranted()
	s.leaveBudget()
	s.clients.stop(ctx)
	return s.engine.stop(ctx)
}

// heartbeatV1 is the least heartbeat of a client of dialect v1, which pings after
// 60 s without traffic.
const heartbeatV1 = 150 * time.Second

func newLoop(s *Server, number uint16) *loop {
	return &loop{server: s, number: number, returning: make(map[shard.Ref]bool), older: make(map[shard.Ref]proto.Epoch), pages: pageWait{refs: make(map[shard.Ref]struct{})}, shard: shard.New(shard.Config{
		Number: number, Epoch: s.epoch,
		HeartbeatTicks: ticksOf(s.config.Heartbeat),
		KeptBytesMax:   int(min(s.config.KeptBudget/2/int64(s.config.LoopCount()), math.MaxInt)), StuckTicks: ticksOf(s.config.StuckAfter),
		HeartbeatTicksV1: ticksOf(max(s.config.Heartbeat, heartbeatV1)),
	}, s.now())}
}

func ticksOf(d time.Duration) shard.Tick { return shard.Tick(d.Milliseconds() / shard.TickMillis) }

// newEpoch is random, so no two runs of any servers share one.
func newEpoch() proto.Epoch {
	var b [8]byte
	_, _ = rand.Read(b[:]) // never fails (crypto/rand)
	return proto.Epoch(binary.LittleEndian.Uint64(b[:]) | 1)
}

// now is the present tick, by the monotonic clock.
func (s *Server) now() shard.Tick { return ticksOf(s.clock()) }

// Member is this server as the registry lists it, with the real ports.
func (s *Server) Member() proto.Member {
	return proto.Member{
		Host: s.config.Host(), CIMPort: s.clients.port, HTTPPort: s.intake.port,
		Epoch: s.epoch, Link: s.linkPort.address(s.config.Host()), Version: proto.LinkVersion,
		Original: s.ungranted != nil,
	}
}

// IntakeAddr is the address of /sendMsg, with its real port. It may be loopback
// although the other ports are not.
func (s *Server) IntakeAddr() string {
	return net.JoinHostPort(s.config.intakeHost(), strconv.Itoa(s.intake.port))
}

// Ready reports why the server takes no logins, or nil.
func (s *Server) Ready() error {
	switch {
	case s.leaving.Load() || s.draining.Load():
		return errors.New("server: going down")
	case s.lease.lost.Load() && !s.lease.known.Load():
		return errors.New("server: neither the registry nor a route has confirmed it yet: no logins are taken")
	case s.lease.lost.Load():
		return fmt.Errorf("server: the lease is lost: neither the registry nor a route has confirmed the server for %v",
			s.lease.age(s.clock()).Round(time.Second))
	case len(s.links.all()) == 0 && s.ungranted != nil:
		return s.ungranted.Ready()
	case len(s.links.all()) == 0:
		return errors.New("server: no route has a link to it")
	}
	return s.checkLoops()
}

// endedUnexpectedly reports an end that was not requested. Only the first counts.
func (s *Server) endedUnexpectedly(err error) {
	select {
	case s.done <- err:
	default:
	}
}

// Done delivers an error if the server ends without a request to end.
func (s *Server) Done() <-chan error { return s.done }

const (
	// drainPoll is how often Drain checks for its next condition.
	drainPoll = 10 * time.Millisecond
	// outcomesMax is how long Drain waits for the outcomes that routes owe.
	outcomesMax = 2 * time.Second
)

// Drain refuses new logins and links, sends no more SENDs to routes, waits for
// outstanding outcomes, writes what is queued for the sessions, closes them, and
// stops the server. It returns an error if ctx ended first; even then everything is
// closed.
func (s *Server) Drain(ctx context.Context) error {
	s.draining.Store(true)
	s.linkPort.shut()
	s.waitForOutcomes(ctx)
	for _, l := range s.loops {
		l.mailbox.post(letter{kind: letterDrain}, nil)
	}
	fault := s.waitUntilNone(ctx, "connections", &s.conns)
	s.waitForReturns(ctx)
	fault = errors.Join(fault, s.close(ctx))
	s.reportNotReturned()
	return fault
}

// Abort ends the server as a crash would: queued messages are dropped, and no
// client gets a reason. It is for tests of packages that use this one.
func (s *Server) Abort(ctx context.Context) error {
	s.draining.Store(true)
	s.linkPort.shut()
	return s.close(ctx)
}

// close ends the links, /sendMsg and the event loops with their connections.
func (s *Server) close(ctx context.Context) error {
	for _, l := range s.links.all() {
		l.conn.Close()
	}
	var goodbyes sync.WaitGroup
	goodbyes.Go(s.stopUngranted)
	s.linkPort.stop()
	goodbyes.Wait()
	stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), startMax)
	defer cancel()
	s.intake.stop(stop)
	return s.stop(stop)
}

// waitForOutcomes returns after outcomesMax without an error: the clients of
// missing outcomes get the reason that the server is going down.
func (s *Server) waitForOutcomes(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, outcomesMax)
	defer cancel()
	if err := s.waitUntilNone(ctx, "SENDs", &s.pairs.total); err != nil {
		s.log.Warn("going down without all outcomes", "error", err)
	}
}

func (s *Server) waitUntilNone(ctx context.Context, what string, count *atomic.Int64) error {
	ticker := time.NewTicker(drainPoll)
	defer ticker.Stop()
	for {
		left := count.Load()
		if left == 0 {
			return nil
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return fmt.Errorf("server: drain: %d %s left: %w", left, what, ctx.Err())
		}
	}
}

// tick is called every shard.TickMillis by gnet's ticker.
func (s *Server) tick() {
	now, _ := s.checkStall()
	s.checkLease(s.clock())
	s.recheckSessions(s.clock())
	s.directory.expire(now, s.sendDown)
	s.directory.strays.expire(now)
	s.clients.tick()
	for _, l := range s.links.all() {
		l.fail(now)
		l.endSilent(now)
	}
	s.returns.tick(now)
	for _, l := range s.loops {
		l.mailbox.wake()
	}
}
