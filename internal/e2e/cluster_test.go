package e2e

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"cim/internal/daemon"
)

// clusterServers and clusterRoutes are the processes of a cluster under test.
const (
	clusterServers = 2
	clusterRoutes  = 2
)

// cluster is Redis, and a root in ZooKeeper: what the processes of a cluster
// share. ZooKeeper serves all tests, since it takes a second to start.
type cluster struct {
	redis  *daemon.Daemon
	zk     *daemon.Daemon
	root   string
	secret string // of the links; "": none

	routes, servers []*process // of the present run
}

// components are what a test wants of a cluster besides the usual.
type components struct {
	redisArgs []string
	ownZK     bool // it will be killed
	secret    string
	settings  []string
}

// startCluster starts a system that is a cluster, whose parts the test knows.
func startCluster(t *testing.T, parts components) (*system, *cluster) {
	t.Helper()
	s := newSystem(t)
	s.settings = parts.settings
	c := newCluster(t, parts)
	s.backing = c
	s.begin()
	return s, c
}

var (
	zooOnce  sync.Once
	zoo      *daemon.Daemon
	zooErr   error
	zooRoots atomic.Int64
)

// zooKeeper starts ZooKeeper when the first test needs it.
func zooKeeper() (*daemon.Daemon, error) {
	zooOnce.Do(func() {
		zoo, zooErr = daemon.ZooKeeper(context.Background(), filepath.Join(filepath.Dir(executable), "zookeeper"))
	})
	return zoo, zooErr
}

// stopZooKeeper ends it, if it was started.
func stopZooKeeper() error {
	if zoo == nil {
		return nil
	}
	return zoo.Stop()
}

func newCluster(t *testing.T, parts components) *cluster {
	t.Helper()
	c := &cluster{secret: parts.secret, root: fmt.Sprintf("/e2e-%d/cim", zooRoots.Add(1))}
	var err error
	if parts.ownZK {
		c.zk = ownDaemon(t, func(folder string) (*daemon.Daemon, error) { return daemon.ZooKeeper(t.Context(), folder) })
	} else if c.zk, err = zooKeeper(); err != nil {
		t.Fatal(err)
	}
	c.redis = ownDaemon(t, func(folder string) (*daemon.Daemon, error) {
		return daemon.Redis(t.Context(), folder, parts.redisArgs...)
	})
	return c
}

// ownDaemon starts what one test has for itself.
func ownDaemon(t *testing.T, start func(folder string) (*daemon.Daemon, error)) *daemon.Daemon {
	t.Helper()
	folder, err := os.MkdirTemp("", "cim-e2e-daemon-")
	if err != nil {
		t.Fatal(err)
	}
	d, err := start(folder)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := d.Stop(); err != nil {
			t.Error(err)
		}
		if err := os.RemoveAll(folder); err != nil {
			t.Error(err)
		}
	})
	return d
}

// serverSettings are the flags that a server has and a route has not; a route
// has the others. Both have repeat-login.
var serverSettings = []string{"--heartbeat", "--login", "--repeat-login", "--max-sessions", "--loops"}

// run starts the routes and the servers, the routes first in the list.
func (c *cluster) run(s *system) []*process {
	s.t.Helper()
	var forServers, forRoutes []string
	for flag := range slices.Chunk(s.settings, 2) {
		if slices.Contains(serverSettings, flag[0]) {
			forServers = append(forServers, flag...)
		}
		if flag[0] == "--repeat-login" || !slices.Contains(serverSettings, flag[0]) {
			forRoutes = append(forRoutes, flag...)
		}
	}
	c.routes, c.servers = nil, nil
	for range clusterRoutes {
		c.routes = append(c.routes, c.startRoute(s, c.secret, forRoutes...))
	}
	for range clusterServers {
		c.servers = append(c.servers, c.startServer(s, "0", "0", forServers...))
	}
	all := slices.Concat(c.routes, c.servers)
	for _, p := range all {
		c.awaitLinked(s, p)
	}
	return all
}

func (c *cluster) startRoute(s *system, secret string, settings ...string) *process {
	s.t.Helper()
	return c.start(s, secret, append([]string{
		"route", "--redis", "redis://" + c.redis.Addr, "--route-port", "0",
		"--http-conns", strconv.Itoa(httpConnsMax),
	}, settings...))
}

func (c *cluster) startServer(s *system, cimPort, httpPort string, settings ...string) *process {
	s.t.Helper()
	return c.start(s, c.secret, append([]string{
		"server", "--cim-port", cimPort, "--http-port", httpPort, "--link-port", "0",
	}, settings...))
}

func (c *cluster) start(s *system, secret string, args []string) *process {
	s.t.Helper()
	around := surroundings{descriptors: s.descriptors}
	if secret != "" {
		around.environment = []string{"CIM_LINK_SECRET=" + secret}
	}
	return startProcess(s, around, append(
		args, "--zk", c.zk.Addr, "--zk-root", c.root, "--zk-session", "2s", "--admin-port", "0", "--log-level", "info",
	)...)
}

// awaitLinked waits until p is ready, and if it is a route, has a link to each
// server.
func (c *cluster) awaitLinked(s *system, p *process) {
	s.t.Helper()
	eventually(s.t, fmt.Sprintf("%s is ready", p.args[0]), func() bool {
		status, _, err := s.get("http://" + p.Admin + "/readyz")
		return err == nil && status == http.StatusOK
	})
	if p.Route == "" {
		return
	}
	want := fmt.Sprintf("\ncim_route_links_up %d\n", clusterServers)
	eventually(s.t, "a link to each server", func() bool {
		_, text, err := s.get("http://" + p.Admin + "/metrics")
		return err == nil && strings.Contains("\n"+text, want)
	})
}
