package redisform

import (
	"net"
	"strconv"
	"strings"
	"testing"

	"cim/internal/daemon"
	"cim/store"
	"cim/store/redis"
	"cim/store/storetest"
)

// on makes stores at urls.
func on(urls ...string) factory {
	return func(t *testing.T, config store.Config) *Store {
		return opened(t, Config{Redis: redis.Config{URLs: urls, Store: config}})
	}
}

// emptied makes stores at these nodes, emptied.
func emptied(nodes ...*daemon.Daemon) factory {
	return func(t *testing.T, config store.Config) *Store {
		var urls []string
		for _, node := range nodes {
			said(t, node.Addr, "FLUSHALL")
			urls = append(urls, "redis://"+node.Addr)
		}
		return on(urls...)(t, config)
	}
}

// TestConformance runs the suite of all stores, which package store/redis has gone
// through: both forms are one box.
func TestConformance(t *testing.T) {
	open := emptied(shared)
	storetest.RunAgain(t, func(t *testing.T, config store.Config) store.Store { return open(t, config) })
}

// TestConformanceOriginal runs the suite beside the original.
func TestConformanceOriginal(t *testing.T) { runOriginal(t, emptied(shared)) }

// TestCluster runs it on a Redis Cluster of two nodes: no command has keys of both.
func TestCluster(t *testing.T) {
	nodes := []*daemon.Daemon{own(t, clusterArgs(t)...), own(t, clusterArgs(t)...)}
	for i, slots := range [][]string{{"0", "8191"}, {"8192", "16383"}} {
		said(t, nodes[i].Addr, "CLUSTER", "ADDSLOTSRANGE", slots[0], slots[1])
		said(t, nodes[i].Addr, "CLUSTER", "SET-CONFIG-EPOCH", strconv.Itoa(i+1))
	}
	host, port, _ := net.SplitHostPort(nodes[0].Addr)
	bus := strings.Split(said(t, nodes[0].Addr, "CONFIG", "GET", "cluster-port"), "\r\n")[4]
	said(t, nodes[1].Addr, "CLUSTER", "MEET", host, port, bus)
	for _, node := range nodes {
		await(t, "the cluster", func() bool {
			info := said(t, node.Addr, "CLUSTER", "INFO")
			return strings.Contains(info, "cluster_state:ok") && strings.Contains(info, "cluster_known_nodes:2")
		})
	}
	runOriginal(t, emptied(nodes...))
	for _, node := range nodes {
		if stats := said(t, node.Addr, "INFO", "errorstats"); strings.Contains(stats, "CROSSSLOT") {
			t.Errorf("a node has answered %q", stats)
		}
	}
}

// clusterArgs are a node's options, with a port of its own for the other nodes.
func clusterArgs(t *testing.T) []string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	_, port, _ := net.SplitHostPort(listener.Addr().String())
	return []string{"--cluster-enabled", "yes", "--cluster-node-timeout", "2000", "--cluster-port", port}
}
