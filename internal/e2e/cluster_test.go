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
	redis *daemon.Daemon
	zk    string
	root  string
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

func newCluster(t *testing.T) *cluster {
	t.Helper()
	z, err := zooKeeper()
	if err != nil {
		t.Fatal(err)
	}
	folder, err := os.MkdirTemp("", "cim-e2e-redis-")
	if err != nil {
		t.Fatal(err)
	}
	redis, err := daemon.Redis(t.Context(), folder)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := redis.Stop(); err != nil {
			t.Error(err)
		}
		if err := os.RemoveAll(folder); err != nil {
			t.Error(err)
		}
	})
	return &cluster{redis: redis, zk: z.Addr, root: fmt.Sprintf("/e2e-%d/cim", zooRoots.Add(1))}
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
	both := []string{"--zk", c.zk, "--zk-root", c.root, "--zk-session", "2s", "--admin-port", "0", "--log-level", "info"}
	processes := make([]*process, clusterRoutes+clusterServers)
	for i := range processes {
		var args []string
		if i < clusterRoutes {
			args = append([]string{
				"route", "--redis", "redis://" + c.redis.Addr, "--route-port", "0",
				"--http-conns", strconv.Itoa(httpConnsMax),
			}, forRoutes...)
		} else {
			args = append([]string{"server", "--cim-port", "0", "--http-port", "0", "--link-port", "0"}, forServers...)
		}
		processes[i] = startProcess(s.t, s.descriptors, append(args, both...)...)
	}
	for _, p := range processes {
		c.awaitLinked(s, p)
	}
	return processes
}

// awaitLinked waits until p is ready, and if it is a route, has a link to each
// server.
func (c *cluster) awaitLinked(s *system, p *process) {
	s.t.Helper()
	eventually(s.t, fmt.Sprintf("%s is ready", p.cmd.Args[1]), func() bool {
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
