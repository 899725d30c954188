package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"cim/compat"
	"cim/internal/metrics"
	"cim/proto"
	"cim/registry/zk"
	"cim/server"
)

// serverConfig holds the settings of cim server.
type serverConfig struct {
	server    server.Config
	routeURLs []string // of the original
	zk        zkConfig
	drain     time.Duration // for the whole drain
	bind      string        // as it was written
	admin     adminConfig
	memory    int64 // of all connections, in bytes; 0: budget.Default
	log       logConfig
}

const (
	// leaseTerm is how long a server of a cluster keeps its sessions while
	// neither ZooKeeper nor a route confirms it.
	leaseTerm = 10 * time.Second
	// recheckEvery is how often a server of a cluster has its sessions compared
	// with the store: a record that Redis has lost is back within 10 s.
	recheckEvery = 6 * time.Second
	// A drain may take as long as an operator wants to wait, within reason. In less than 3 s no
	// client can move, and connections whose peers do not close are cut, which counts as a failure.
	drainLeast = time.Second
	drainMost  = 10 * time.Minute
	// moveTail is the time left for the end of a drain after sessions have moved, for outcomes that
	// routes owe and for connections to close. Of a short drain it is half, at least moveTailLeast.
	moveTail      = 5 * time.Second
	moveTailLeast = 2 * time.Second
)

func defaultServer() *serverConfig {
	c := &serverConfig{server: server.DefaultConfig(), zk: defaultZK(), drain: drainMax, bind: loopback, admin: adminConfig{bind: loopback, port: 9100}, log: defaultLog()}
	c.server.Lease, c.server.Recheck = leaseTerm, recheckEvery
	return c
}

func newServerCommand(p *program) *cobra.Command {
	c := defaultServer()
	s := p.newSettings(c.define, linkSecret, zkAuth)
	cmd := &cobra.Command{
		Use:   "server",
		Short: "Run one server of a cluster: it keeps clients' connections",
		Long: `Runs one server of a cluster. It keeps the long connections of clients, stands
in ZooKeeper for as long as it lives, and takes a link of each route.

Once it listens it writes one line of JSON with its addresses and its process
id to standard output; its log goes to standard error. It is ready, as
/readyz on the admin port says, once it stands in ZooKeeper and a route has a
link to it, or with --route-url one of those routes can be reached. At SIGTERM
or SIGINT it leaves ZooKeeper, asks its clients to log in elsewhere, at most
500 a second unless --drain demands more, closes those that cannot or do not,
and exits with 0.

Routes prove on each link that they know the link's secret, and so does the
server. It is set by CIM_LINK_SECRET or in the file of --config, link-secret,
the same for all; it may be left out only while --bind is loopback.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx := p.keepRunning(cmd)
			if err := s.read(p, cmd, c.check); err != nil {
				return err
			}
			return failed(runServer(ctx, *c, p.output, cmd.OutOrStdout()))
		},
	}
	s.offer(cmd)
	return cmd
}

// define adds the settings, with their defaults from c.
func (c *serverConfig) define(flags *pflag.FlagSet) {
	defineBind(flags, &c.bind)
	defineServer(flags, &c.server)
	defineAddresses(flags, &c.server.Addresses)
	defineSendLimits(flags, &c.server.Limits)
	defineMemory(flags, &c.memory)
	defineHTTPIdle(flags, &c.server.HTTPIdle)
	numberVar(flags, &c.server.LinkPort, "link-port", 0, portMax, "port of the routes' links; 0 takes a free one")
	flags.StringVar(&c.server.LinkSecret, linkSecret, "", "secret that routes and servers prove to each other")
	defineRepeatLogin(flags, &c.server.RepeatLogin)
	flags.Var(urls{texts{&c.routeURLs}}, "route-url",
		"routes of the original, http://HOST:PORT separated by commas, which get a request when their clients' sessions end; demands --login open")
	c.zk.define(flags)
	flags.DurationVar(&c.drain, "drain", c.drain, "time in which the server goes down, from 1s to 10m")
	c.admin.define(flags)
	c.log.define(flags)
}

// check completes settings that depend on each other, and reports all faults.
func (c *serverConfig) check() error {
	if slices.Equal(c.routeURLs, []string{""}) {
		c.routeURLs = nil // an empty variable
	}
	c.server.HTTPConnsMax = max(1, min(c.server.HTTPConnsMax, descriptorLimit()/httpShare))
	c.server.DescriptorsKept = adminConnsMax + filesKept + compat.Descriptors(c.routeURLs)
	ports := checkPorts(
		namedPort{"cim-port", c.server.CIMPort}, namedPort{"http-port", c.server.HTTPPort},
		namedPort{"link-port", c.server.LinkPort}, namedPort{"admin-port", c.admin.port})
	var bind error
	c.server.Bind, bind = bindHost("bind", c.bind)
	return errors.Join(bind, ports, c.admin.check(), c.zk.check(), checkDrain(c.drain), c.server.Check(), c.checkRouteURLs())
}

// checkRouteURLs reports the faults of the routes of the original.
func (c *serverConfig) checkRouteURLs() error {
	if len(c.routeURLs) > 0 && c.server.Login != server.LoginOpen {
		return errors.Join(compat.CheckRoutes(c.routeURLs), fmt.Errorf(
			"route-url demands login open: routes of the original give no grants, so login %q would let none of their clients in", c.server.Login))
	}
	return compat.CheckRoutes(c.routeURLs)
}

func checkDrain(d time.Duration) error {
	if d < drainLeast || d > drainMost {
		return fmt.Errorf("drain %v is not %v to %v", d, drainLeast, drainMost)
	}
	return nil
}

func runServer(ctx context.Context, c serverConfig, o *output, out io.Writer) error {
	log := o.logger(c.log)
	return runService(ctx, log, o.queue, func() (service, error) { return startServer(c, log) }, out)
}

// serverNode is a server of a cluster, with its place in ZooKeeper.
type serverNode struct {
	config   serverConfig
	log      *slog.Logger
	metrics  *metrics.Set
	draining atomic.Bool

	server      *server.Server
	registry    *zk.Registry
	registering sync.WaitGroup
	unregister  context.CancelFunc // ends the wait for it
	registered  atomic.Bool
	admin       *admin
}

// startServer starts all parts. After an error nothing runs.
func startServer(c serverConfig, log *slog.Logger) (*serverNode, error) {
	keepProcs(c.server.LoopCount(), 0)
	n := &serverNode{config: c, log: log, metrics: metrics.NewSet(), unregister: func() {}}
	for _, start := range []func() error{n.startServer, n.openRegistry, n.startAdmin, n.register} {
		if err := start(); err != nil {
			return nil, errors.Join(err, n.drain())
		}
	}
	return n, nil
}

func (n *serverNode) startServer() (err error) {
	deps := server.Deps{Log: n.log, Metrics: n.metrics, Budget: newBudget(n.config.memory, n.log, n.metrics)}
	if len(n.config.routeURLs) == 0 {
		n.server, err = server.Start(n.config.server, deps)
		return err
	}
	routes := compat.NewRoutes(n.config.routeURLs, n.log, n.metrics)
	deps.Ungranted = routes
	if n.server, err = server.Start(n.config.server, deps); err != nil {
		routes.Stop()
		return err
	}
	routes.Attach(n.server)
	return nil
}

func (n *serverNode) startAdmin() (err error) {
	n.admin, err = startAdminAt(n.config.admin, adminDeps{
		addresses: n.config.server.Addresses, idle: n.config.server.HTTPIdle,
		ready: n.ready, metrics: n.metrics, log: n.log,
		operated: operated{kind: "server", server: n.server, secret: n.config.server.LinkSecret},
	})
	return err
}

func (n *serverNode) openRegistry() (err error) {
	config := n.config.zk.registry()
	config.Log = n.log
	config.Open = len(n.config.routeURLs) > 0
	config.Confirmed = func(proto.Member) { n.server.Confirm() }
	n.registry, err = zk.Open(config)
	return err
}

// register enters the server in ZooKeeper, for as long as that takes.
func (n *serverNode) register() error {
	ctx, cancel := context.WithCancel(context.Background())
	n.unregister = cancel
	n.registering.Go(func() {
		if err := n.registry.Register(ctx, n.server.Member()); err == nil {
			n.registered.Store(true)
			n.log.Info("registered", "member", n.server.Member().Name())
		} else if ctx.Err() == nil {
			n.log.Error("not registered", "error", err)
		}
	})
	return nil
}

// ready implements service.
func (n *serverNode) ready() []notReady {
	if n.draining.Load() {
		return []notReady{{"process", "going down"}}
	}
	parts := reasons("server", n.server.Ready())
	if err := n.registry.Ready(); err != nil {
		parts = append(parts, reasons("registry", err)...)
	} else if !n.registered.Load() {
		why := "not registered yet"
		if err := n.registry.Unregistered(n.server.Member()); err != nil {
			why += ": " + err.Error()
		}
		parts = append(parts, notReady{"registry", why})
	}
	return parts
}

// counters implements service.
func (n *serverNode) counters() *metrics.Set { return n.metrics }

// ends implements service.
func (n *serverNode) ends() []<-chan error {
	return []<-chan error{n.server.Done(), n.admin.done}
}

// addresses implements service.
func (n *serverNode) addresses() addresses {
	member := n.server.Member()
	at := func(port string) string { return net.JoinHostPort(member.Host, port) }
	return addresses{
		CIM:   at(strconv.Itoa(member.CIMPort)),
		HTTP:  n.server.IntakeAddr(),
		Link:  member.Link,
		Admin: n.admin.address(),
		PID:   os.Getpid(),
	}
}

// drain implements service. The server leaves ZooKeeper first, so that no login finds it. It has
// told routes that it leaves, so they keep their links until it has gone. Then its sessions move,
// while it serves those that have not moved yet.
func (n *serverNode) drain() error {
	ctx, cancel := context.WithTimeout(context.Background(), n.config.drain)
	defer cancel()
	n.draining.Store(true)
	n.unregister()
	n.registering.Wait()
	if n.server != nil {
		n.server.Leave()
	}
	var closing sync.WaitGroup
	if n.registry != nil {
		n.deregister(ctx)
		closing.Go(n.registry.Close) // two seconds if ZooKeeper is away
	}
	var faults []error
	if n.server != nil {
		n.move(ctx)
		faults = append(faults, n.server.Drain(ctx))
	}
	closing.Wait()
	if n.admin != nil {
		faults = append(faults, n.admin.close(ctx))
	}
	return errors.Join(faults...)
}

// move has the sessions move in what time there is.
func (n *serverNode) move(ctx context.Context) {
	tail := min(moveTail, max(moveTailLeast, n.config.drain/2))
	deadline, _ := ctx.Deadline()
	ctx, cancel := context.WithDeadline(ctx, deadline.Add(-tail))
	defer cancel()
	n.server.Move(ctx)
}

// deregisterMax bounds the wait for a ZooKeeper that may be away; of a short
// drain it is a quarter.
const deregisterMax = 2 * time.Second

// deregister takes the server out of ZooKeeper. If that fails the node vanishes
// with its session.
func (n *serverNode) deregister(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, min(deregisterMax, n.config.drain/4))
	defer cancel()
	if err := n.registry.Deregister(ctx, n.server.Member()); err != nil {
		n.log.Warn("not deregistered, ZooKeeper will find out", "error", err)
	}
}
