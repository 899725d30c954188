package redis

import (
	"context"
	"fmt"
	"net"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"cim/internal/daemon"
	"cim/proto"
	"cim/store"
	"cim/store/storetest"
)

// cluster is three masters on this machine.
type cluster struct {
	nodes []*daemon.Daemon
	ids   []string
}

// newCluster starts a cluster until the end of t.
func newCluster(t *testing.T) *cluster {
	c := &cluster{}
	for range 3 {
		d := own(t, "--cluster-enabled", "yes", "--cluster-node-timeout", "2000", "--cluster-port", freePort(t))
		c.nodes = append(c.nodes, d)
		id := said(t, d.Addr, "CLUSTER", "MYID")
		c.ids = append(c.ids, strings.Split(id, "\r\n")[1])
	}
	bounds := []int{0, 5461, 10923, 16384}
	for i := range c.nodes {
		c.do(t, i, "CLUSTER", "ADDSLOTSRANGE", strconv.Itoa(bounds[i]), strconv.Itoa(bounds[i+1]-1))
		c.do(t, i, "CLUSTER", "SET-CONFIG-EPOCH", strconv.Itoa(i+1))
		for _, other := range c.nodes[:i] {
			host, port, _ := net.SplitHostPort(other.Addr)
			c.do(t, i, "CLUSTER", "MEET", host, port, busPort(t, other))
		}
	}
	await(t, "the cluster", func() bool {
		return !slices.ContainsFunc(c.nodes, func(d *daemon.Daemon) bool {
			said := said(t, d.Addr, "CLUSTER", "INFO")
			return !strings.Contains(said, "cluster_state:ok") || !strings.Contains(said, "cluster_known_nodes:3")
		})
	})
	return c
}

func freePort(t *testing.T) string {
	t.Helper()
	_, port, _ := net.SplitHostPort(closedAddr(t))
	return port
}

func busPort(t *testing.T, d *daemon.Daemon) string {
	t.Helper()
	lines := strings.Split(said(t, d.Addr, "CONFIG", "GET", "cluster-port"), "\r\n")
	return lines[4]
}

// do sends one node a command that must succeed.
func (c *cluster) do(t *testing.T, node int, args ...string) string {
	t.Helper()
	answer := said(t, c.nodes[node].Addr, args...)
	if strings.HasPrefix(answer, "-") {
		t.Fatalf("%v: %s", args, answer)
	}
	return answer
}

func (c *cluster) empty(t *testing.T) {
	for i := range c.nodes {
		c.do(t, i, "FLUSHALL")
	}
}

// urls name two of the nodes.
func (c *cluster) urls() []string {
	return []string{"redis://" + c.nodes[0].Addr, "redis://" + c.nodes[1].Addr}
}

// wantNoError checks that no node has answered with code.
func (c *cluster) wantNoError(t *testing.T, code string) {
	t.Helper()
	for _, d := range c.nodes {
		if stats := said(t, d.Addr, "INFO", "errorstats"); strings.Contains(stats, code) {
			t.Errorf("a node has answered %s: %q", code, stats)
		}
	}
}

// TestCluster runs the suite on a Redis Cluster, then moves a slot under
// traffic.
func TestCluster(t *testing.T) {
	c := newCluster(t)
	storetest.RunAgain(t, func(t *testing.T, config store.Config) store.Store {
		c.empty(t)
		return opened(t, Config{URLs: c.urls(), Store: config})
	})
	c.empty(t)
	t.Run("One seed", func(t *testing.T) {
		s := opened(t, Config{URLs: c.urls()[:1]})
		loggedIn(t, s, registered(t, s, "ann"), 0)
	})
	t.Run("Database", func(t *testing.T) {
		if _, err := Open(t.Context(), Config{URLs: []string{c.urls()[0] + "/1"}}); err == nil || !strings.Contains(err.Error(), "SELECT") {
			t.Errorf("a database of a cluster: %v", err)
		}
	})
	t.Run("ACL", func(t *testing.T) {
		var urls []string
		for _, d := range c.nodes {
			urls = append(urls, documentedUser(t, d))
		}
		s, log := openedLogged(t, Config{URLs: urls})
		loggedIn(t, s, registered(t, s, "acl"), 0)
		if err := s.Ready(t.Context()); err != nil || log.String() != "" {
			t.Errorf("Ready: %v; the log: %s", err, log)
		}
		c.wantNoError(t, "NOPERM")
	})
	t.Run("Move", func(t *testing.T) { testMove(t, c) })
	c.wantNoError(t, "CROSSSLOT")
}

// testMove moves the slots of some users from node to node while all methods
// are called for them: no call fails, and each text is there once.
func testMove(t *testing.T, c *cluster) {
	s := opened(t, Config{URLs: c.urls()})
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var all sync.WaitGroup
	var users []proto.User
	for i := range 4 {
		user := registered(t, s, fmt.Sprint("user", i))
		users = append(users, user)
		all.Go(func() { traffic(ctx, t, s, user) })
	}
	for _, user := range users {
		c.move(t, routeKey(user.ID))
	}
	c.move(t, loginStatusKey)
	stop()
	all.Wait()
}

func number(answer string) string { return regexp.MustCompile(`\d+`).FindString(answer) }

// move moves the slot of key to the next node, and stays with half of its keys
// moved until traffic has met that.
func (c *cluster) move(t *testing.T, key string) {
	t.Helper()
	slot := number(c.do(t, 0, "CLUSTER", "KEYSLOT", key))
	from := slices.IndexFunc(c.nodes, func(d *daemon.Daemon) bool {
		return !strings.HasPrefix(said(t, d.Addr, "EXISTS", key), "-MOVED")
	})
	to := (from + 1) % len(c.nodes)
	host, port, _ := net.SplitHostPort(c.nodes[to].Addr)
	c.do(t, to, "CLUSTER", "SETSLOT", slot, "IMPORTING", c.ids[from])
	c.do(t, from, "CLUSTER", "SETSLOT", slot, "MIGRATING", c.ids[to])
	for step := range 2 {
		met := redirections(t, c.nodes[from])
		for _, key := range keysIn(c.do(t, from, "CLUSTER", "GETKEYSINSLOT", slot, strconv.Itoa(1+100*step))) {
			if answer := said(t, c.nodes[from].Addr, "MIGRATE", host, port, key, "0", "5000"); strings.HasPrefix(answer, "-") {
				t.Fatalf("MIGRATE: %s", answer)
			}
		}
		await(t, "traffic on a slot on its way", func() bool { return redirections(t, c.nodes[from]) > met+20 })
	}
	for len(keysIn(c.do(t, from, "CLUSTER", "GETKEYSINSLOT", slot, "1"))) > 0 {
		for _, key := range keysIn(c.do(t, from, "CLUSTER", "GETKEYSINSLOT", slot, "100")) {
			c.do(t, from, "MIGRATE", host, port, key, "0", "5000")
		}
	}
	for _, node := range []int{to, from, (from + 2) % len(c.nodes)} {
		c.do(t, node, "CLUSTER", "SETSLOT", slot, "NODE", c.ids[to])
	}
}

// redirections is how often d has sent commands on to where a key has moved.
func redirections(t *testing.T, d *daemon.Daemon) int {
	t.Helper()
	found := regexp.MustCompile(`errorstat_ASK:count=(\d+)`).FindStringSubmatch(said(t, d.Addr, "INFO", "errorstats"))
	if found == nil {
		return 0
	}
	n, _ := strconv.Atoi(found[1])
	return n
}

// keysIn are the strings of an answer that is a list of them.
func keysIn(answer string) (keys []string) {
	lines := strings.Split(answer, "\r\n")
	for i := 2; i < len(lines); i += 2 {
		keys = append(keys, lines[i])
	}
	return keys
}

// traffic calls all methods for one user, again and again until ctx ends, and
// checks what they answer.
func traffic(ctx context.Context, t *testing.T, s *Store, user proto.User) {
	own := t.Context()
	must := func(what string, ok bool, err error) {
		if err != nil || !ok {
			t.Errorf("%s: %t, %v", what, ok, err)
		}
	}
	for round := 0; ctx.Err() == nil && !t.Failed(); round++ {
		generation, err := s.Claim(own, user.ID, here, 0)
		must("Claim", err == nil, err)
		ok, err := s.Confirm(own, user.ID, generation)
		must("Confirm", ok, err)
		record, found, err := s.Lookup(own, user.ID, store.Fresh)
		must("Lookup", found && record.Generation == generation && record.Connected, err)
		_, _, err = s.Lookup(own, user.ID, store.Cached)
		must("Lookup cached", true, err)
		restored, err := s.Restore(own, here, []proto.Session{{User: user.ID, Generation: generation}})
		must("Restore", len(restored.Superseded) == 0, err)
		name, _, err := s.Account(own, user.ID)
		must("Account", name == user.Name, err)
		again, err := s.Register(own, user.Name)
		must("Register", again == user, err)
		_, err = s.Connected(own)
		must("Connected", true, err)

		texts := []string{fmt.Sprint(round), fmt.Sprint(round, "b")}
		must("Append", true, s.Append(own, user.ID, user, 0, 0, texts))
		lease, err := s.Acquire(own, user.ID, time.Minute)
		must("Acquire", lease != 0, err)
		ok, err = s.Extend(own, user.ID, lease, time.Minute)
		must("Extend", ok, err)
		page, err := s.Page(own, user.ID, 0)
		must("Page", len(page) == 2 && page[0].Text == texts[0] && page[1].Text == texts[1], err)
		if len(page) == 2 {
			must("Remove", true, s.Remove(own, user.ID, keysOf(page)))
		}
		ok, err = s.ReleaseIfEmpty(own, user.ID, lease, 0)
		must("ReleaseIfEmpty", ok, err)
		ok, err = s.Release(own, user.ID, generation)
		must("Release", ok, err)
	}
}
