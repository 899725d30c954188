package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"sync/atomic"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"cim/compat"
	"cim/compat/redisform"
	"cim/internal/metrics"
	"cim/registry/zk"
	"cim/route"
	"cim/server"
	"cim/store"
	"cim/store/redis"
)

// routeConfig holds the settings of cim route.
type routeConfig struct {
	route      route.Config
	original   compat.Config
	linkSecret string
	zk         zkConfig
	redis      []string // URLs
	redisCache redisCache
	store      store.Config
	form       redisform.Form
	bind       string // as it was written
	admin      adminConfig
	memory     int64 // of all connections, in bytes; 0: budget.Default
	log        logConfig
}

// redisCache says whether the client cache of Redis is used.
type redisCache string

const (
	redisCacheAuto redisCache = "auto" // if there is one
	redisCacheOff  redisCache = "off"
)

func defaultRoute() *routeConfig {
	return &routeConfig{
		route: route.DefaultConfig(), zk: defaultZK(), redis: []string{"redis://127.0.0.1:6379"}, redisCache: redisCacheAuto,
		store: store.Config{OfflineTTL: store.OfflineTTLDefault}, form: redisform.FormAuto,
		bind:  loopback,
		admin: adminConfig{bind: loopback, port: 9101}, log: defaultLog(),
	}
}

func newRouteCommand(p *program) *cobra.Command {
	c := defaultRoute()
	s := p.newSettings(c.define, linkSecret, zkAuth)
	cmd := &cobra.Command{
		Use:   "route",
		Short: "Run one route of a cluster: the HTTP API",
		Long: `Runs one route of a cluster. It answers the HTTP API, finds the servers in
ZooKeeper, keeps a link to each, and remembers nothing: accounts, who is where
and stored messages are in Redis. Run as many as you like.

Once it listens it writes one line of JSON with its addresses and its process
id to standard output; its log goes to standard error. It is ready, as
/readyz on the admin port says, once it has Redis, ZooKeeper and the link of a
server. At SIGTERM or SIGINT it drains and exits with 0.

Several Redis URLs are the nodes of one Redis Cluster. With ?master_set=NAME
they are the Sentinels that know the master of that name; if those want another
password than Redis, &sentinel_user=USER&sentinel_password=PASSWORD has it.
Passwords are better kept in CIM_REDIS or the file of --config than on the
command line. What Redis has to allow stands in docs/operations.md.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx := p.keepRunning(cmd)
			check := func() error { return c.checkWith(s) }
			if err := s.read(p, cmd, check); err != nil {
				return err
			}
			return failed(runRoute(ctx, *c, p.output, cmd.OutOrStdout()))
		},
	}
	s.offer(cmd)
	return cmd
}

// define adds the settings, with their defaults from c.
func (c *routeConfig) define(flags *pflag.FlagSet) {
	defineBind(flags, &c.bind)
	defineRoute(flags, &c.route)
	defineAddresses(flags, &c.route.Addresses)
	defineLimits(flags, &c.route.Access.Limits)
	defineMemory(flags, &c.memory)
	defineAccess(flags, &c.route.Access)
	defineHTTPIdle(flags, &c.route.HTTPIdle)
	flags.IntVar(&c.route.HTTPConnsMax, "http-conns", c.route.HTTPConnsMax, "most HTTP connections; one more takes the place of an idle one, or is answered 429")
	defineRepeatLogin(flags, &c.route.RepeatLogin)
	flags.StringVar(&c.linkSecret, linkSecret, "", "secret that routes and servers prove to each other")
	flags.Var(urls{texts{&c.redis}}, "redis", "URLs of Redis, separated by commas: redis:// or rediss://, with user, password and database")
	choiceVar(flags, &c.redisCache, "redis-cache", "the client cache of Redis, if there is one: auto or off", redisCacheAuto, redisCacheOff)
	defineOfflineTTL(flags, &c.store.OfflineTTL)
	flags.BoolVar(&c.original.Servers, "original", c.original.Servers,
		"servers of the original CIM stand in ZooKeeper too; without it a node that has no data of ours gets no logins and no messages")
	choiceVar(flags, &c.form, "original-form", "form of stored messages beside the original: hash for its releases 2.1.x, string for its master, auto for what they show",
		redisform.FormAuto, redisform.FormHash, redisform.FormString)
	c.zk.define(flags)
	c.admin.define(flags)
	c.log.define(flags)
}

// checkWith is check, and what depends on where the settings s came from.
func (c *routeConfig) checkWith(s *settings) error {
	return errors.Join(c.check(), checkExposed(c.route.Bind, s))
}

// check completes settings that depend on each other, and reports all faults.
func (c *routeConfig) check() error {
	c.route.HTTPConnsMax = max(1, min(c.route.HTTPConnsMax, descriptorLimit()/2))
	ports := checkPorts(namedPort{"route-port", c.route.Port}, namedPort{"admin-port", c.admin.port})
	var bind error
	c.route.Bind, bind = bindHost("bind", c.bind)
	return errors.Join(bind, ports, checkLinkSecret(c.linkSecret), c.admin.check(), redis.CheckURLs(c.redis), c.zk.check(), checkOfflineTTL(c.store.OfflineTTL), c.route.Check())
}

// checkLinkSecret refuses what no server takes.
func checkLinkSecret(secret string) error {
	if secret == "" || len(secret) >= server.LinkSecretMin {
		return nil
	}
	return fmt.Errorf("%s has %d bytes, want at least %d", linkSecret, len(secret), server.LinkSecretMin)
}

func runRoute(ctx context.Context, c routeConfig, o *output, out io.Writer) error {
	log := o.logger(c.log)
	return runService(ctx, log, o.queue, func() (service, error) { return startRoute(c, log) }, out)
}

// routeNode is a route of a cluster with the parts that it needs. They are started in the order of
// the fields and ended in drain's.
type routeNode struct {
	config   routeConfig
	log      *slog.Logger
	metrics  *metrics.Set
	draining atomic.Bool

	store    *redisform.Store
	registry *zk.Registry
	original *compat.Adapter
	route    *route.Route
	admin    *admin
}

// startRoute starts all parts. After an error nothing runs.
func startRoute(c routeConfig, log *slog.Logger) (*routeNode, error) {
	n := &routeNode{config: c, log: log, metrics: metrics.NewSet()}
	for _, start := range []func() error{n.openStore, n.openRegistry, n.adaptOriginal, n.startRoute, n.startAdmin} {
		if err := start(); err != nil {
			return nil, errors.Join(err, n.drain())
		}
	}
	return n, nil
}

func (n *routeNode) openStore() (err error) {
	behind := redis.Config{URLs: n.config.redis, NoCache: n.config.redisCache == redisCacheOff, Store: n.config.store, Log: n.log}
	n.store, err = redisform.Open(context.Background(), redisform.Config{Redis: behind, Form: n.config.form})
	return err
}

func (n *routeNode) openRegistry() (err error) {
	config := n.config.zk.registry()
	config.Log = n.log
	n.registry, err = zk.Open(config)
	return err
}

// adaptOriginal puts the original's servers, routes and stored texts between the route and its
// parts.
func (n *routeNode) adaptOriginal() error {
	n.original = compat.New(n.config.original, compat.Deps{
		Store: n.store, Registry: n.registry, Dial: dialLinks(n.config.linkSecret), Log: n.log, Metrics: n.metrics,
	})
	return nil
}

func (n *routeNode) startRoute() (err error) {
	n.route, err = route.Start(n.config.route, route.Deps{
		Store: n.original.Store(), Registry: n.original, Ungranted: n.original, Dial: n.original.Dial, Log: n.log, Metrics: n.metrics,
		Budget: newBudget(n.config.memory, n.log, n.metrics),
	})
	if err != nil {
		return portFault("route-port", n.config.route.Port, err)
	}
	n.original.Attach(n.route)
	return nil
}

func (n *routeNode) startAdmin() (err error) {
	n.admin, err = startAdminAt(n.config.admin, adminDeps{
		addresses: n.config.route.Addresses, idle: n.config.route.HTTPIdle,
		ready: n.ready, metrics: n.metrics, log: n.log,
		operated: operated{kind: "route", route: n.route, secret: n.config.linkSecret},
	})
	return err
}

// ready implements service.
func (n *routeNode) ready() []notReady {
	if n.draining.Load() {
		return []notReady{{"process", "going down"}}
	}
	return reasons("route", n.route.Ready())
}

// counters implements service.
func (n *routeNode) counters() *metrics.Set { return n.metrics }

// ends implements service.
func (n *routeNode) ends() []<-chan error {
	return []<-chan error{n.route.Done(), n.admin.done}
}

// addresses implements service.
func (n *routeNode) addresses() addresses {
	return addresses{Route: n.route.Addr(), Admin: n.admin.address(), PID: os.Getpid()}
}

// drain implements service.
func (n *routeNode) drain() error {
	ctx, cancel := context.WithTimeout(context.Background(), drainMax)
	defer cancel()
	n.draining.Store(true)
	var faults []error
	if n.route != nil {
		faults = append(faults, n.route.Drain(ctx))
	}
	if n.original != nil {
		n.original.Close()
	}
	if n.registry != nil {
		n.registry.Close()
	}
	if n.store != nil {
		faults = append(faults, n.store.Close())
	}
	if n.admin != nil {
		faults = append(faults, n.admin.close(ctx))
	}
	return errors.Join(faults...)
}
