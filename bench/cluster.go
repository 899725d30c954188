package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"time"

	"cim/internal/daemon"
)

// ClusterConfig holds the settings of a cluster on this machine.
type ClusterConfig struct {
	Binary  string // path of cim
	Logs    string // an existing folder
	Prefix  string // of the logs' names
	Data    string // folder of Redis and ZooKeeper, with their logs; made if it is not there
	Servers int
	Routes  int
	// RoutePort is the port of the first route's HTTP API, the next ones are
	// the others'; 0 takes free ones. All other ports are free ones.
	RoutePort int
	// Durable lets Redis keep its data on the disk, so that they survive a kill.
	Durable  bool
	LogLevel string
	// ServerSettings and RouteSettings are variables of each server and each route,
	// as CIM_AUTH=check.
	ServerSettings, RouteSettings []string
}

// Cluster is Redis, ZooKeeper, servers and routes as processes of this
// machine, on loopback.
type Cluster struct {
	Redis     *daemon.Daemon
	ZooKeeper *daemon.Daemon
	servers   []*process
	routeList []*process
}

// readyPoll is how often a cluster is asked whether it is ready.
const readyPoll = 20 * time.Millisecond

// StartCluster starts a cluster, and returns once all of it is ready. The
// caller stops it.
func StartCluster(ctx context.Context, c ClusterConfig) (*Cluster, error) {
	cluster := &Cluster{}
	for _, start := range []func(context.Context, ClusterConfig) error{
		cluster.startDaemons, cluster.startServers, cluster.startRoutes, cluster.awaitReady,
	} {
		if err := start(ctx, c); err != nil {
			return nil, errors.Join(fmt.Errorf("cluster: %w", err), cluster.Stop())
		}
	}
	return cluster, nil
}

func (c *Cluster) startDaemons(ctx context.Context, config ClusterConfig) error {
	var redisErr, zooErr error
	var both sync.WaitGroup
	both.Go(func() {
		appendOnly := "no"
		if config.Durable {
			appendOnly = "yes"
		}
		c.Redis, redisErr = daemon.Redis(ctx, filepath.Join(config.Data, "redis"), "--appendonly", appendOnly)
	})
	both.Go(func() { c.ZooKeeper, zooErr = daemon.ZooKeeper(ctx, filepath.Join(config.Data, "zookeeper")) })
	both.Wait()
	return errors.Join(redisErr, zooErr)
}

func (c *Cluster) startServers(ctx context.Context, config ClusterConfig) (err error) {
	for i := range config.Servers {
		p, err := startProcess(ctx, config.Binary, config.log("server", i), config.env(config.ServerSettings), "server", "--zk", c.ZooKeeper.Addr,
			"--cim-port", "0", "--http-port", "0", "--link-port", "0", "--admin-port", "0", "--log-level", config.LogLevel)
		if err != nil {
			return err
		}
		c.servers = append(c.servers, p)
	}
	return nil
}

func (c *Cluster) startRoutes(ctx context.Context, config ClusterConfig) error {
	for i := range config.Routes {
		port := config.RoutePort
		if port != 0 {
			port += i
		}
		p, err := startProcess(ctx, config.Binary, config.log("route", i), config.env(config.RouteSettings), "route", "--zk", c.ZooKeeper.Addr,
			"--redis", c.RedisURL(), "--route-port", strconv.Itoa(port), "--admin-port", "0", "--log-level", config.LogLevel)
		if err != nil {
			return err
		}
		c.routeList = append(c.routeList, p)
	}
	return nil
}

// env divides the cores among the processes, since threads of one process on several cores only
// wake each other. On two cores four processes use 6 to 12 % less CPU for a private message with
// it. env also adds the settings of a process.
func (c ClusterConfig) env(settings []string) []string {
	return append([]string{fmt.Sprintf("GOMAXPROCS=%d", max(1, runtime.GOMAXPROCS(0)/(c.Servers+c.Routes)))}, settings...)
}

func (c ClusterConfig) log(kind string, i int) string {
	return filepath.Join(c.Logs, fmt.Sprintf("%s%s-%d.log", c.Prefix, kind, i+1))
}

// awaitReady waits until every server has registered, every route has a link
// to each of them.
func (c *Cluster) awaitReady(ctx context.Context, _ ClusterConfig) error {
	ctx, cancel := context.WithTimeoutCause(ctx, readyMax, fmt.Errorf("not ready within %v", readyMax))
	defer cancel()
	poll := time.NewTicker(readyPoll)
	defer poll.Stop()
	for {
		left := c.notReady(ctx)
		if left == nil {
			return nil
		}
		select {
		case <-poll.C:
		case <-ctx.Done():
			return fmt.Errorf("%w: %w", context.Cause(ctx), left)
		}
	}
}

// notReady says which process is not ready, or which route has not a link to
// every server, or nil.
func (c *Cluster) notReady(ctx context.Context) error {
	for _, p := range c.processes() {
		if _, err := p.admin(ctx, "/readyz"); err != nil {
			return err
		}
	}
	linked := fmt.Sprintf("\ncim_route_links_up %d\n", len(c.servers))
	for _, p := range c.routeList {
		text, err := p.admin(ctx, "/metrics")
		if err != nil {
			return err
		}
		if !strings.Contains(text, linked) {
			return fmt.Errorf("%s, process %d, has not a link to each server; its log is %s", p.name, p.PID, p.log.Name())
		}
	}
	return nil
}

// adminAnswerMax bounds the bytes that are read of an answer.
const adminAnswerMax = 32 << 20

// admin asks p's admin listener. An error is any answer but 200.
func (p *process) admin(ctx context.Context, path string) (string, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+p.Admin+path, nil)
	if err != nil {
		return "", err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return "", err
	}
	text, err := io.ReadAll(io.LimitReader(response.Body, adminAnswerMax))
	if err := errors.Join(err, response.Body.Close()); err != nil {
		return "", err
	}
	if response.StatusCode != http.StatusOK {
		return "", fmt.Errorf("%s, process %d: %s: %s; its log is %s", p.name, p.PID, path, strings.TrimSpace(string(text)), p.log.Name())
	}
	return string(text), nil
}

func (c *Cluster) processes() []*process {
	return append(append([]*process(nil), c.servers...), c.routeList...)
}

// RedisURL is the URL of Redis for routes.
func (c *Cluster) RedisURL() string { return "redis://" + c.Redis.Addr }

// Servers are where the servers listen.
func (c *Cluster) Servers() []Addresses { return addressesOf(c.servers) }

// Routes are where the routes listen.
func (c *Cluster) Routes() []Addresses { return addressesOf(c.routeList) }

func addressesOf(processes []*process) []Addresses {
	list := make([]Addresses, len(processes))
	for i, p := range processes {
		list[i] = p.Addresses
	}
	return list
}

// Ends returns a channel that receives a line about each process that ends by itself, until ctx
// ends.
func (c *Cluster) Ends(ctx context.Context) <-chan string {
	lines := make(chan string)
	watch := func(who, log string, ended <-chan struct{}) {
		go func() {
			select {
			case <-ended:
			case <-ctx.Done():
				return
			}
			select {
			case lines <- who + " has ended" + lastOf(log):
			case <-ctx.Done():
			}
		}()
	}
	watch("redis", c.Redis.Log(), c.Redis.Ended())
	watch("zookeeper", c.ZooKeeper.Log(), c.ZooKeeper.Ended())
	for _, p := range c.processes() {
		watch(fmt.Sprintf("%s, pid %d,", p.name, p.PID), p.log.Name(), p.process.Ended())
	}
	return lines
}

// Stop ends all processes: the routes first, so that none of them logs the ends of links.
func (c *Cluster) Stop() error {
	faults := []error{stopAll(c.routeList), stopAll(c.servers)}
	for _, d := range []*daemon.Daemon{c.Redis, c.ZooKeeper} {
		if d != nil {
			faults = append(faults, d.Stop())
		}
	}
	return errors.Join(faults...)
}

func stopAll(processes []*process) error {
	faults := make([]error, len(processes))
	var all sync.WaitGroup
	for i, p := range processes {
		all.Go(func() { faults[i] = p.stop() })
	}
	all.Wait()
	return errors.Join(faults...)
}

func (c *Cluster) target() []string {
	urls := make([]string, len(c.routeList))
	for i, p := range c.routeList {
		urls[i] = "http://" + p.Route
	}
	return []string{"--route", strings.Join(urls, ",")}
}

func (c *Cluster) profiled() []*process { return c.processes() }

// pids are the servers', then the routes', then that of Redis: all that a message costs.
func (c *Cluster) pids() []int {
	var list []int
	for _, p := range c.processes() {
		list = append(list, p.PID)
	}
	return append(list, c.Redis.PID())
}

// measuredCluster is a cluster with data of its own.
type measuredCluster struct {
	*Cluster
	data string
}

// startCluster starts two servers and two routes of binary with fresh data and
// free ports. Their logs are in folder, under names that begin with prefix.
func startCluster(ctx context.Context, binary, folder, prefix string) (system, error) {
	data, err := os.MkdirTemp("", "cim-bench-")
	if err != nil {
		return nil, fmt.Errorf("bench: data: %w", err)
	}
	c, err := StartCluster(ctx, ClusterConfig{
		Binary: binary, Logs: folder, Prefix: prefix, Data: data, Servers: 2, Routes: 2, Durable: true, LogLevel: "warn",
	})
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(data))
	}
	return &measuredCluster{Cluster: c, data: data}, nil
}

// stop ends the cluster and removes its data.
func (c *measuredCluster) stop() error { return errors.Join(c.Stop(), os.RemoveAll(c.data)) }
