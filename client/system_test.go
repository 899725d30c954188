package client_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"time"

	"cim/internal/link"
	"cim/internal/metrics"
	"cim/proto"
	"cim/registry"
	"cim/route"
	"cim/route/access"
	"cim/server"
	"cim/store"
)

// startMax bounds the start and the end of a system.
const startMax = 30 * time.Second

// system is a server and a route of this process, on free ports, with
// everything in memory.
type system struct {
	url    string
	server *server.Server
	route  *route.Route
	ctx    context.Context // of the links' server ends
	stop   context.CancelFunc
	ends   sync.WaitGroup
}

// startSystem returns a system that is ready, whose route checks credentials as entry says.
func startSystem(entry access.Config) (*system, error) {
	s := &system{}
	s.ctx, s.stop = context.WithCancel(context.Background())
	log, set, members := slog.New(slog.DiscardHandler), metrics.NewSet(), registry.NewMemory()
	config := server.DefaultConfig()
	config.CIMPort, config.HTTPPort, config.LinkPort = 0, 0, server.LinkPortNone
	var err error
	if s.server, err = server.Start(config, server.Deps{Log: log, Metrics: set}); err != nil {
		return nil, err
	}
	if err := members.Register(s.ctx, s.server.Member()); err != nil {
		return nil, err
	}
	routing := route.DefaultConfig()
	routing.Port, routing.Access = 0, entry
	s.route, err = route.Start(routing, route.Deps{
		Store: store.NewMemory(store.Config{OfflineTTL: time.Hour}), Registry: members, Dial: s.link, Log: log, Metrics: set,
	})
	if err != nil {
		return nil, errors.Join(err, s.close())
	}
	_, port, err := net.SplitHostPort(s.route.Addr())
	s.url = "http://127.0.0.1:" + port
	return s, errors.Join(err, s.awaitReady())
}

// link joins the route to the server of this process.
func (s *system) link(context.Context, proto.Member) (*link.Conn, error) {
	if s.ctx.Err() != nil {
		return nil, s.ctx.Err()
	}
	routeEnd, serverEnd := link.Pair(1 << 20)
	s.ends.Go(func() { _ = s.server.ServeLink(s.ctx, serverEnd) }) // it ends with the system
	return routeEnd, nil
}

func (s *system) awaitReady() error {
	poll := time.NewTicker(5 * time.Millisecond)
	defer poll.Stop()
	for end := time.Now().Add(startMax); ; <-poll.C {
		err := errors.Join(s.server.Ready(), s.route.Ready())
		if err == nil {
			return nil
		}
		if time.Now().After(end) {
			return fmt.Errorf("not ready within %v: %w", startMax, err)
		}
	}
}

// close ends the system.
func (s *system) close() error {
	ctx, cancel := context.WithTimeout(context.Background(), startMax)
	defer cancel()
	faults := []error{s.server.Drain(ctx)}
	if s.route != nil {
		faults = append(faults, s.route.Drain(ctx))
	}
	s.stop()
	s.ends.Wait()
	return errors.Join(faults...)
}
