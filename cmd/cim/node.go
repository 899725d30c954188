package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"runtime"
	"strconv"
	"sync/atomic"
	"time"

	"cim/internal/metrics"
	"cim/internal/standalone"
)

const (
	// readyMax bounds the time from the listeners to the first link.
	readyMax = 10 * time.Second
	// readyPoll is how often a node looks whether it has become ready.
	readyPoll = 5 * time.Millisecond
)

// standaloneNode is a standalone with its admin listener. Its parts are started
// in the order of the fields and ended in drain's.
type standaloneNode struct {
	config   standaloneConfig
	log      *slog.Logger
	metrics  *metrics.Set
	draining atomic.Bool

	system *standalone.System
	admin  *admin
}

// startNode starts all parts. After an error nothing runs.
func startNode(c standaloneConfig, log *slog.Logger) (*standaloneNode, error) {
	keepProcs(c.system.Server.LoopCount(), storeHolds)
	n := &standaloneNode{config: c, log: log, metrics: metrics.NewSet()}
	for _, start := range []func() error{n.startSystem, n.startAdmin} {
		if err := start(); err != nil {
			return nil, errors.Join(err, n.drain())
		}
	}
	return n, nil
}

// storeHolds is how many Ps the store in a file holds: that of its committer,
// while the disk syncs.
const storeHolds = 1

// keepProcs raises GOMAXPROCS so that as many Ps are left to everything else
// as there are event loops, when each loop holds one in epoll_wait and others
// are held besides. With none left the rest of the process waits until the
// runtime's monitor takes one back, up to 10 ms. GOMAXPROCS is never lowered.
func keepProcs(loops, held int) {
	if least := 2*loops + held; runtime.GOMAXPROCS(0) < least {
		runtime.GOMAXPROCS(least)
	}
}

func (n *standaloneNode) startSystem() (err error) {
	n.system, err = standalone.Start(n.config.system, standalone.Deps{
		Log: n.log, Metrics: n.metrics, Budget: newBudget(n.config.memory, n.log, n.metrics),
	})
	return err
}

func (n *standaloneNode) startAdmin() (err error) {
	n.admin, err = startAdminAt(n.config.admin, adminDeps{
		addresses: n.config.system.Server.Addresses, idle: n.config.system.Server.HTTPIdle,
		ready: n.ready, metrics: n.metrics, log: n.log,
		operated: operated{kind: "standalone", server: n.system.Server, route: n.system.Route},
	})
	return err
}

func startAdminAt(c adminConfig, deps adminDeps) (*admin, error) {
	a, err := startAdmin(c.host, c.port, deps)
	return a, portFault("admin-port", c.port, err)
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
	return append(reasons("server", n.system.Server.Ready()), reasons("route", n.system.Route.Ready())...)
}

// counters implements service.
func (n *standaloneNode) counters() *metrics.Set { return n.metrics }

// ends implements service.
func (n *standaloneNode) ends() []<-chan error {
	return []<-chan error{n.system.Server.Done(), n.system.Route.Done(), n.admin.done}
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

// drain ends all started parts: nothing new is taken, queued messages are delivered or stored, then
// the store is closed. It takes drainMax at most.
func (n *standaloneNode) drain() error {
	ctx, cancel := context.WithTimeout(context.Background(), drainMax)
	defer cancel()
	n.draining.Store(true)
	var faults []error
	if n.system != nil {
		faults = append(faults, n.system.Drain(ctx))
	}
	if n.admin != nil {
		faults = append(faults, n.admin.close(ctx))
	}
	return errors.Join(faults...)
}

// addresses are where clients connect, and where the other ports listen.
func (n *standaloneNode) addresses() addresses {
	member := n.system.Server.Member()
	at := func(port string) string { return net.JoinHostPort(member.Host, port) }
	return addresses{
		CIM:   at(strconv.Itoa(member.CIMPort)),
		HTTP:  n.system.Server.IntakeAddr(),
		Route: n.system.Route.Addr(),
		Admin: n.admin.address(),
		PID:   os.Getpid(),
	}
}
