package loadgen_test

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"strconv"
	"sync"
	"testing"
	"time"

	"cim/internal/link"
	"cim/internal/metrics"
	"cim/loadgen"
	"cim/proto"
	"cim/registry"
	"cim/route"
	"cim/server"
	"cim/store"
)

// system is a server and a route of this process. Clients get an address of the server at which a
// proxy is to listen.
type system struct {
	url             string // of the route
	listens, listed string // the server's address, and the one that clients get
	server          *server.Server
	route           *route.Route
	ctx             context.Context // of the links' server ends
	stop            context.CancelFunc
	ends            sync.WaitGroup
}

// systemMax bounds the start and the end of a system.
const systemMax = 30 * time.Second

func startSystem(t *testing.T) *system {
	t.Helper()
	s := &system{}
	s.ctx, s.stop = context.WithCancel(context.Background())
	log, set, members := slog.New(slog.DiscardHandler), metrics.NewSet(), registry.NewMemory()
	config := server.DefaultConfig()
	config.Advertise, config.CIMPort, config.HTTPPort, config.LinkPort = "127.0.0.2", 0, 0, server.LinkPortNone
	var err error
	if s.server, err = server.Start(config, server.Deps{Log: log, Metrics: set}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.close(t) })
	if err := members.Register(s.ctx, s.server.Member()); err != nil {
		t.Fatal(err)
	}
	routing := route.DefaultConfig()
	routing.Port = 0
	s.route, err = route.Start(routing, route.Deps{
		Store: store.NewMemory(store.Config{OfflineTTL: time.Hour}), Registry: members, Dial: s.link, Log: log, Metrics: set,
	})
	if err != nil {
		t.Fatal(err)
	}
	s.url = "http://" + s.route.Addr()
	port := strconv.Itoa(s.server.Member().CIMPort)
	s.listens, s.listed = net.JoinHostPort(config.Bind, port), net.JoinHostPort(config.Advertise, port)
	s.awaitReady(t)
	return s
}

// link joins the route to the server.
func (s *system) link(context.Context, proto.Member) (*link.Conn, error) {
	if s.ctx.Err() != nil {
		return nil, s.ctx.Err()
	}
	routeEnd, serverEnd := link.Pair(1 << 20)
	s.ends.Go(func() { _ = s.server.ServeLink(s.ctx, serverEnd) }) // it ends with the system
	return routeEnd, nil
}

func (s *system) awaitReady(t *testing.T) {
	t.Helper()
	poll := time.NewTicker(5 * time.Millisecond)
	defer poll.Stop()
	for end := time.Now().Add(systemMax); ; <-poll.C {
		err := errors.Join(s.server.Ready(), s.route.Ready())
		if err == nil {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("not ready within %v: %v", systemMax, err)
		}
	}
}

func (s *system) close(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), systemMax)
	defer cancel()
	err := s.server.Drain(ctx)
	if s.route != nil {
		err = errors.Join(err, s.route.Drain(ctx))
	}
	s.stop()
	s.ends.Wait()
	if err != nil {
		t.Error(err)
	}
}

// faults is how many deliveries of each load are spoilt.
const faults = 300

// triesMax bounds the runs of a load.
const triesMax = 5

// TestEveryFaultIsFound runs loads on a real server and route, with a proxy between server and
// clients. While the proxy passes everything on, the runs are clean. Then it spoils deliveries in
// ways drawn by a seed: each is found, with its kind, and nothing else is. A run in which the
// system itself gave up a message, because the machine stood still, proves nothing and is repeated.
func TestEveryFaultIsFound(t *testing.T) {
	var all sync.WaitGroup
	for i, of := range []struct {
		name  string
		mode  loadgen.Mode
		via   loadgen.Via
		d     proto.Dialect
		rate  int
		size  loadgen.Sizes
		procs int
	}{
		{"private, conn, v2", loadgen.Private, loadgen.ViaConn, proto.DialectV2, 140, loadgen.OneSize(128), 1},
		{"private, http, v2, sizes", loadgen.Private, loadgen.ViaHTTP, proto.DialectV2, 140, loadgen.Sizes{Least: 64, Most: 500}, 1},
		{"private, http, cim", loadgen.Private, loadgen.ViaHTTP, proto.DialectCIM, 140, loadgen.OneSize(64), 1},
		{"group, conn, v2", loadgen.Group, loadgen.ViaConn, proto.DialectV2, 5, loadgen.OneSize(128), 1},
		{"group, http, cim", loadgen.Group, loadgen.ViaHTTP, proto.DialectCIM, 5, loadgen.OneSize(128), 1},
		{"mixed, http, v2, two processes", loadgen.Mixed, loadgen.ViaHTTP, proto.DialectV2, 45, loadgen.OneSize(128), 2},
	} {
		all.Go(func() {
			t.Run(of.name, func(t *testing.T) {
				s := startSystem(t)
				cfg := loadgen.Defaults()
				cfg.Routes, cfg.Conns, cfg.HTTPConns, cfg.LoginsAtOnce = []string{s.url}, []int{30}, 8, 8
				cfg.Mode, cfg.Via, cfg.Dialect, cfg.Rates, cfg.Size = of.mode, of.via, of.d, []int{of.rate}, of.size
				cfg.Mix = loadgen.Mix{Group: 1, Private: 9}
				cfg.Verify, cfg.Seed = true, uint64(i+1)
				cfg.Warmup, cfg.Duration, cfg.Drain = 0, 500*time.Millisecond, 20*time.Second
				s.expectClean(t, cfg, of.procs)
				cfg.Duration = 5 * time.Second // for more deliveries than are spoilt, at rates that a busy machine keeps
				cfg.Drain = 5 * time.Second    // which is waited out: some never come
				s.expectFaults(t, cfg, of.procs)
			})
		})
	}
	all.Wait()
}

// run runs cfg through a proxy that spoils count deliveries.
func (s *system) run(t *testing.T, cfg loadgen.Config, procs, count int) (loadgen.Report, *proxy) {
	t.Helper()
	if procs > 1 {
		cfg = loadgen.Spawned(t, cfg, procs, -1)
	}
	for range triesMax {
		x := newProxy(t, s.listed, s.listens, cfg.Seed, count)
		r, err := loadgen.Run(t.Context(), cfg, io.Discard)
		x.close()
		if err != nil {
			t.Fatal(err)
		}
		if gaveUp(r.Trials[0]) == 0 {
			return r, x
		}
		t.Logf("%d messages were given up", gaveUp(r.Trials[0]))
	}
	t.Fatalf("in each of %d runs messages were given up", triesMax)
	panic("unreachable")
}

// gaveUp counts what a system does to messages when it stood still.
func gaveUp(t loadgen.Trial) int { return t.Stored + t.Unknown + t.Refused }

func (s *system) expectClean(t *testing.T, cfg loadgen.Config, procs int) {
	t.Helper()
	r, _ := s.run(t, cfg, procs, 0)
	if got := r.Trials[0]; r.Failed() != nil || got.Received == 0 || others(got)+len(got.Examples) > 0 {
		t.Fatalf("without faults: %v; %+v", r.Failed(), got)
	}
}

func (s *system) expectFaults(t *testing.T, cfg loadgen.Config, procs int) {
	t.Helper()
	r, x := s.run(t, cfg, procs, faults)
	x.checkDone()
	got, did := r.Trials[0], x.done
	for _, kind := range []struct {
		name      string
		got, want int
	}{
		{"lost", got.Lost, did[drop] + did[redirect] + did[flip] + did[rename]},
		{"doubled", got.Doubled, did[double]},
		{"reordered", got.Reordered, did[swap]},
		{"misdelivered", got.Misdelivered, did[redirect]},
		{"corrupt", got.Corrupt, did[flip]},
		{"wrong sender", got.WrongSender, did[rename]},
		{"of other kinds", others(got), 0},
	} {
		if kind.got != kind.want {
			t.Errorf("seed %d: %s %d, want %d of %v", cfg.Seed, kind.name, kind.got, kind.want, did)
		}
	}
	if t.Failed() {
		t.Logf("%q %q", got.Examples, got.Faults)
	}
}

// others counts what no proxy does.
func others(t loadgen.Trial) int {
	return t.FailedDelivered + t.Ghosts + t.Ended + t.Undelivered + t.Unanswered + t.Unsent + t.Foreign + t.FaultCount
}

// checkDone checks that all faults were made, each kind among them, and that nothing is held back.
func (x *proxy) checkDone() {
	x.t.Helper()
	for how, n := range x.done {
		if n == 0 {
			x.t.Errorf("no delivery was spoilt in way %d", how)
		}
	}
	held := 0
	for _, c := range x.clients {
		held += len(c.held)
	}
	if x.left+held > 0 {
		x.t.Fatalf("%d of %d deliveries were not spoilt, %d are held back", x.left, faults, held)
	}
}
