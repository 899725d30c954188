package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"cim/internal/metrics"
	"cim/registry"
	"cim/route"
	"cim/server"
	"cim/store/embedded"
)

const (
	// storeFile is the durable file in the data folder.
	storeFile = "cim.db"
	// linkBytesMax bounds the bytes that wait on the link in each direction.
	// Past it private messages are refused as busy and group messages before
	// any part is sent. It holds a burst of 30,000 texts of 128 bytes.
	linkBytesMax = 8 << 20
	// readyMax bounds the time from the listeners to the first link.
	readyMax = 10 * time.Second
	// readyPoll is how often a node looks whether it has become ready.
	readyPoll = 5 * time.Millisecond
	// sweepPause is how often messages that are too old are looked for in
	// boxes that nobody asks for.
	sweepPause = 10 * time.Minute
)

// standaloneNode is a server and a route in one process, with what they work on. Its
// parts are started in the order of the fields and ended in drain's.
type standaloneNode struct {
	config   standaloneConfig
	log      *slog.Logger
	metrics  *metrics.Set
	draining atomic.Bool

	store    *embedded.Store
	sweeping sync.WaitGroup
	unsweep  context.CancelFunc // ends the sweeps
	registry *registry.Memory
	server   *server.Server
	links    *links
	route    *route.Route
	admin    *admin
}

// startNode starts all parts. After an error nothing runs.
func startNode(c standaloneConfig, log *slog.Logger) (*standaloneNode, error) {
	keepProcs(c.server.LoopCount())
	n := &standaloneNode{config: c, log: log, metrics: metrics.NewSet(), registry: registry.NewMemory(), unsweep: func() {}}
	for _, start := range []func() error{n.openStore, n.startServer, n.startRoute, n.startAdmin} {
		if err := start(); err != nil {
			return nil, errors.Join(err, n.drain())
		}
	}
	return n, nil
}

// keepProcs raises GOMAXPROCS so that as many Ps are left to everything else
// as event loops hold while they sit in epoll_wait: with none left, the rest
// of the process waits for milliseconds. It is never lowered.
func keepProcs(loops int) {
	if least := 2 * loops; runtime.GOMAXPROCS(0) < least {
		runtime.GOMAXPROCS(least)
	}
}

func (n *standaloneNode) openStore() (err error) {
	if n.store, err = embedded.Open(filepath.Join(n.config.data, storeFile), n.config.store); err != nil {
		return fmt.Errorf("data %q: %w", n.config.data, err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	n.unsweep = cancel
	n.sweeping.Go(func() { n.sweep(ctx) })
	return nil
}

// sweep removes messages that are too old, until ctx ends. A sweep that fails
// is made up for by the next.
func (n *standaloneNode) sweep(ctx context.Context) {
	ticker := time.NewTicker(sweepPause)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		if err := n.store.Sweep(ctx); err != nil && ctx.Err() == nil {
			n.log.Warn("sweep of old messages failed", "error", err)
		}
	}
}

func (n *standaloneNode) startServer() (err error) {
	if n.server, err = server.Start(n.config.server, server.Deps{Log: n.log, Metrics: n.metrics}); err != nil {
		return err
	}
	n.links = newLinks(n.server.ServeLink, n.log)
	return n.registry.Register(context.Background(), n.server.Member())
}

func (n *standaloneNode) startRoute() (err error) {
	n.route, err = route.Start(n.config.route, route.Deps{
		Store: n.store, Registry: n.registry, Dial: n.links.dial, Log: n.log, Metrics: n.metrics,
	})
	return portFault("route-port", n.config.route.Port, err)
}

func (n *standaloneNode) startAdmin() (err error) {
	n.admin, err = startAdminAt(n.config.server.Bind, n.config.adminPort, adminDeps{
		ready: n.ready, metrics: n.metrics, log: n.log,
		operated: operated{kind: "standalone", server: n.server, route: n.route},
	})
	return err
}

func startAdminAt(bind string, port int, deps adminDeps) (*admin, error) {
	a, err := startAdmin(net.JoinHostPort(bind, strconv.Itoa(port)), deps)
	return a, portFault("admin-port", port, err)
}

// portFault names the setting of a port that cannot be listened on.
func portFault(name string, port int, err error) error {
	if errors.As(err, new(*net.OpError)) {
		return fmt.Errorf("%s %d: %w", name, port, err)
	}
	return err
}

// ready reports which parts are not ready, and why.
func (n *standaloneNode) ready() []notReady {
	if n.draining.Load() {
		return []notReady{{"process", "going down"}}
	}
	var parts []notReady
	if err := n.server.Ready(); err != nil {
		parts = append(parts, notReady{"server", err.Error()})
	}
	if err := n.route.Ready(); err != nil {
		parts = append(parts, notReady{"route", err.Error()})
	}
	return parts
}

// ends implements service.
func (n *standaloneNode) ends() []<-chan error {
	return []<-chan error{n.server.Done(), n.route.Done(), n.admin.done}
}

// awaitReady returns once all parts are ready, which takes the first link.
func (n *standaloneNode) awaitReady(ctx context.Context) error {
	ctx, cancel := context.WithTimeoutCause(ctx, readyMax, fmt.Errorf("not ready within %v", readyMax))
	defer cancel()
	poll := time.NewTicker(readyPoll)
	defer poll.Stop()
	for {
		parts := n.ready()
		if len(parts) == 0 {
			return nil
		}
		select {
		case <-poll.C:
		case <-ctx.Done():
			return fmt.Errorf("standalone: %v: %w", parts, context.Cause(ctx))
		}
	}
}

// drain ends all parts that were started: nothing new is taken, what is queued
// is delivered or stored, then the store is closed. It takes drainMax at most.
func (n *standaloneNode) drain() error {
	ctx, cancel := context.WithTimeout(context.Background(), drainMax)
	defer cancel()
	n.draining.Store(true)
	var faults []error
	if n.server != nil {
		n.links.refuse()
		faults = append(faults, n.server.Drain(ctx))
	}
	if n.route != nil {
		faults = append(faults, n.route.Drain(ctx))
	}
	if n.links != nil {
		n.links.close()
	}
	n.unsweep()
	n.sweeping.Wait()
	if n.store != nil {
		faults = append(faults, n.store.Close())
	}
	if n.admin != nil {
		faults = append(faults, n.admin.close(ctx))
	}
	return errors.Join(faults...)
}

// addresses tells where clients are sent to, and where the rest listens.
func (n *standaloneNode) addresses() addresses {
	member := n.server.Member()
	at := func(port string) string { return net.JoinHostPort(member.Host, port) }
	return addresses{
		CIM:   at(strconv.Itoa(member.CIMPort)),
		HTTP:  at(strconv.Itoa(member.HTTPPort)),
		Route: n.route.Addr(),
		Admin: n.admin.address(),
		PID:   os.Getpid(),
	}
}
