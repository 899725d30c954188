// Package standalone joins a server and a route in one process, with the registry
// in memory, links within the process, and one durable file. It owns its parts from
// Start to Drain. It reads no settings, has no admin listener and handles no
// signal: cmd/cim does that, and cimtest for tests.
package standalone

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"path/filepath"
	"sync"
	"time"

	"cim/internal/budget"
	"cim/internal/metrics"
	"cim/registry"
	"cim/route"
	"cim/server"
	"cim/store"
	"cim/store/embedded"
)

const (
	// storeFile is the durable file in the data folder.
	storeFile = "cim.db"
	// sweepPause is the time between two sweeps for expired messages in boxes that
	// no user reads.
	sweepPause = 10 * time.Minute
)

// Config is the configuration of a standalone. Server and Route must have the same
// Bind and RepeatLogin, and the server no link port.
type Config struct {
	Folder string // of the durable file; created if missing
	Server server.Config
	Route  route.Config
	Store  store.Config
}

// DefaultConfig returns the defaults of cim standalone, without a folder.
func DefaultConfig() Config {
	c := Config{
		Server: server.DefaultConfig(), Route: route.DefaultConfig(),
		Store: store.Config{OfflineTTL: store.OfflineTTLDefault},
	}
	c.Server.LinkPort = server.LinkPortNone // its link is within the process
	return c
}

// Deps is what a standalone needs from its process. Each may be nil.
type Deps struct {
	Log     *slog.Logger
	Metrics *metrics.Set
	// Budget bounds the memory of all connections; nil: budget.Default.
	Budget *budget.Budget
}

// System is a running server and route with their parts, started in the order of
// the fields and ended in the order of Drain.
type System struct {
	config Config
	log    *slog.Logger

	store    *embedded.Store
	sweeping sync.WaitGroup
	unsweep  context.CancelFunc // ends the sweeps
	registry *registry.Memory
	Server   *server.Server
	links    *links
	Route    *route.Route
}

// Start starts all parts. After an error nothing is running.
func Start(c Config, deps Deps) (*System, error) {
	if deps.Budget == nil {
		deps.Budget = budget.New(budget.Default(), deps.Log)
	}
	if deps.Log == nil {
		deps.Log = slog.New(slog.DiscardHandler)
	}
	s := &System{config: c, log: deps.Log, registry: registry.NewMemory(), unsweep: func() {}}
	for _, start := range []func(Deps) error{s.openStore, s.startServer, s.startRoute} {
		if err := start(deps); err != nil {
			ctx, cancel := context.WithTimeout(context.Background(), abandonMax)
			defer cancel()
			return nil, errors.Join(err, s.Drain(ctx))
		}
	}
	return s, nil
}

// abandonMax bounds the end of the parts that had started when another one failed.
const abandonMax = 30 * time.Second

func (s *System) openStore(Deps) (err error) {
	if s.store, err = embedded.Open(filepath.Join(s.config.Folder, storeFile), s.config.Store); err != nil {
		return fmt.Errorf("data %q: %w", s.config.Folder, err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	s.unsweep = cancel
	s.sweeping.Go(func() { s.sweep(ctx) })
	return nil
}

// sweep removes expired messages, until ctx ends. The next sweep makes up for one
// that fails.
func (s *System) sweep(ctx context.Context) {
	ticker := time.NewTicker(sweepPause)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		if err := s.store.Sweep(ctx); err != nil && ctx.Err() == nil {
			s.log.Warn("sweep of old messages failed", "error", err)
		}
	}
}

func (s *System) startServer(deps Deps) (err error) {
	if s.Server, err = server.Start(s.config.Server, server.Deps{Log: s.log, Metrics: deps.Metrics, Budget: deps.Budget}); err != nil {
		return err
	}
	s.links = newLinks(s.Server.ServeLink, s.log)
	return s.registry.Register(context.Background(), s.Server.Member())
}

func (s *System) startRoute(deps Deps) (err error) {
	s.Route, err = route.Start(s.config.Route, route.Deps{
		Store: s.store, Registry: s.registry, Dial: s.links.dial, Log: s.log, Metrics: deps.Metrics,
		Budget: deps.Budget, Record: s.store.Record,
	})
	if errors.As(err, new(*net.OpError)) {
		return fmt.Errorf("route-port %d: %w", s.config.Route.Port, err)
	}
	return err
}

// Unlink ends the links for good: server and route are not ready any more. Only
// tests call it; Drain may follow.
func (s *System) Unlink() { s.links.close() }

// Drain ends all parts: new work is refused, what is queued is delivered or stored,
// then the store is closed. What has not ended when ctx ends is cut off.
func (s *System) Drain(ctx context.Context) error {
	var faults []error
	if s.Server != nil {
		s.links.refuse()
		faults = append(faults, s.Server.Drain(ctx))
	}
	if s.Route != nil {
		faults = append(faults, s.Route.Drain(ctx))
	}
	return errors.Join(append(faults, s.close())...)
}

// Abort ends all parts as a crash would: queued messages are dropped, and no client
// gets a reason. Messages that were answered as stored are in the durable file. It
// cannot end a part that hangs; ctx bounds the wait for the event loops.
func (s *System) Abort(ctx context.Context) error {
	s.links.refuse()
	fault := s.Server.Abort(ctx)
	cut, cancel := context.WithCancel(ctx)
	cancel()
	_ = s.Route.Drain(cut) // its only error is the end of cut
	return errors.Join(fault, s.close())
}

// close ends the parts below server and route.
func (s *System) close() error {
	if s.links != nil {
		s.links.close()
	}
	s.unsweep()
	s.sweeping.Wait()
	if s.store != nil {
		return s.store.Close()
	}
	return nil
}
