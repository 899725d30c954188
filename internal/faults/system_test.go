package faults

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"cim/internal/daemon"
	"cim/proto"
)

const (
	serverCount = 2
	routeCount  = 2
)

// needs are what a test wants of its system besides the usual.
type needs struct {
	durable    bool // Redis keeps an append-only file
	namespaces bool // each process is in a network namespace of its own
	serverArgs []string
	routeArgs  []string
	limit      int // of the servers' descriptors; 0: that of the test
}

// system is a cluster of real processes. It belongs to the test's goroutine.
type system struct {
	t       *testing.T
	run     string // its unique name
	needs   needs
	folder  string
	network *network // nil: all are on loopback
	redis   *daemon.Daemon
	zk      *daemon.Daemon
	servers []*process
	routes  []*process
}

// linkSecret is of the links of a system that is not on loopback.
const linkSecret = "CIM_LINK_SECRET=a secret of the fault tests"

var systems atomic.Int64

// startSystem starts Redis, ZooKeeper, the servers and the routes, and returns
// when all are linked. The test's end ends and removes all of it.
func startSystem(t *testing.T, needs needs) *system {
	t.Helper()
	s := newSystem(t, needs)
	for range routeCount {
		s.routes = append(s.routes, s.newProcess("route", len(s.routes), slices.Concat(
			[]string{"route", "--redis", "redis://" + s.redis.Addr, "--route-port", "0", "--auth", "off"}, needs.routeArgs)...))
	}
	for range serverCount {
		p := s.newProcess("server", len(s.servers), slices.Concat(
			[]string{"server", "--cim-port", "0", "--http-port", "0", "--link-port", "0"}, needs.serverArgs)...)
		p.limit = needs.limit
		s.servers = append(s.servers, p)
	}
	for _, p := range s.processes() {
		p.start()
	}
	s.awaitLinked(waitMax)
	return s
}

// newSystem starts Redis and ZooKeeper only.
func newSystem(t *testing.T, needs needs) *system {
	t.Helper()
	s := &system{t: t, needs: needs, run: fmt.Sprintf("r%d-%d", os.Getpid(), systems.Add(1))}
	s.folder = filepath.Join(folder, s.run)
	if err := os.Mkdir(s.folder, 0o700); err != nil {
		t.Fatal(err)
	}
	if needs.namespaces {
		s.network = newNetwork(t)
	}
	s.startDaemons()
	return s
}

func (s *system) startDaemons() {
	s.t.Helper()
	args := []string{"--appendonly", "no"}
	if s.needs.durable {
		args = []string{"--appendonly", "yes", "--appendfsync", "always"}
	}
	var err error
	if s.redis, err = daemon.RedisAt(s.t.Context(), s.placeOf("redis"), filepath.Join(s.folder, "redis"), args...); err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { s.endDaemon(s.redis) })
	if s.zk, err = daemon.ZooKeeperAt(s.t.Context(), s.placeOf("zookeeper"), filepath.Join(s.folder, "zookeeper")); err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { s.endDaemon(s.zk) })
}

func (s *system) endDaemon(d *daemon.Daemon) {
	if err := d.Kill(); err != nil {
		s.t.Error(err)
	}
}

// placeOf is where the process of that name runs.
func (s *system) placeOf(name string) daemon.Place {
	s.t.Helper()
	if s.network == nil {
		return daemon.Place{}
	}
	return s.network.add(name).place
}

func (s *system) newProcess(kind string, i int, args ...string) *process {
	s.t.Helper()
	p := &process{t: s.t, name: fmt.Sprintf("%s-%d", kind, i+1), binary: executable}
	p.place = s.placeOf(p.name)
	p.log = filepath.Join(s.folder, p.name+".log")
	p.args = slices.Concat(args, []string{"--zk", s.zk.Addr, "--admin-port", "0", "--log-level", "info"})
	if p.place.Host != "" {
		p.args = append(p.args, "--bind", p.place.Host, "--admin-bind", p.place.Host)
		p.args = append(p.args, unlimited[kind]...)
		p.env = []string{linkSecret}
	}
	s.t.Cleanup(p.cleanUp)
	return p
}

// unlimited are by kind the settings of a process that is not on loopback: all its
// users have one address, and log in again as often as the test has them.
var unlimited = map[string][]string{
	"route": {
		"--limit-registrations", "0", "--limit-logins", "0", "--limit-user-logins", "0", "--limit-messages", "0",
		"--limit-user-messages", "0", "--limit-group-messages", "0", "--limit-group-bytes", "0",
	},
	"server": {"--limit-user-messages", "0", "--limit-group-messages", "0", "--limit-group-bytes", "0"},
}

func (s *system) processes() []*process { return slices.Concat(s.servers, s.routes) }

// awaitLinked waits until all are ready and every route has a link to every
// server.
func (s *system) awaitLinked(most time.Duration) time.Duration {
	s.t.Helper()
	var last error
	began := time.Now()
	if !within(most, func() bool { last = s.notLinked(); return last == nil }) {
		s.t.Fatalf("not linked within %v: %v", most, last)
	}
	return time.Since(began)
}

func (s *system) notLinked() error {
	for _, p := range s.processes() {
		if _, err := p.admin("/readyz"); err != nil {
			return err
		}
	}
	for _, p := range s.routes {
		if up := p.metric("cim_route_links_up"); up != serverCount {
			return fmt.Errorf("%s has %v links", p.name, up)
		}
	}
	return nil
}

// routeURLs are the routes' base URLs.
func (s *system) routeURLs() []string {
	urls := make([]string, len(s.routes))
	for i, p := range s.routes {
		urls[i] = "http://" + p.Route
	}
	return urls
}

// servedBy says for each user at which server its record has it, by index; -1:
// at none. It asks Redis, which must be there.
func (s *system) servedBy(users []proto.UserID) []int {
	s.t.Helper()
	records, err := s.records(users)
	if err != nil {
		s.t.Fatalf("records: %v", err)
	}
	by := make([]int, len(users))
	for i, record := range records {
		by[i] = slices.IndexFunc(s.servers, func(p *process) bool { return record != "" && strings.HasPrefix(record, p.CIM+":") })
	}
	return by
}

// records asks Redis for the users' records; "" for none.
func (s *system) records(users []proto.UserID) ([]string, error) {
	ctx, cancel := context.WithTimeout(s.t.Context(), 5*time.Second)
	defer cancel()
	var dialer net.Dialer
	conn, err := dialer.DialContext(ctx, "tcp", s.redis.Addr)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	deadline, _ := ctx.Deadline()
	if err := conn.SetDeadline(deadline); err != nil {
		return nil, err
	}
	sent := make(chan error, 1)
	go func() {
		var asks strings.Builder
		for _, user := range users {
			fmt.Fprintf(&asks, "GET cim-route:%d\r\n", user)
		}
		_, err := io.WriteString(conn, asks.String())
		sent <- err
	}()
	records, err := readBulks(bufio.NewReader(conn), len(users))
	if err != nil {
		_ = conn.Close() // so that the writer ends
	}
	return records, errors.Join(err, <-sent)
}

// readBulks reads as many of Redis's bulk strings.
func readBulks(in *bufio.Reader, count int) ([]string, error) {
	values := make([]string, count)
	for i := range values {
		head, err := in.ReadString('\n')
		if err != nil {
			return nil, err
		}
		size, err := strconv.Atoi(strings.TrimSpace(strings.TrimPrefix(head, "$")))
		if err != nil || head[0] != '$' {
			return nil, fmt.Errorf("Redis said %q", head)
		}
		if size < 0 {
			continue
		}
		value := make([]byte, size+len("\r\n"))
		if _, err := io.ReadFull(in, value); err != nil {
			return nil, err
		}
		values[i] = string(value[:size])
	}
	return values, nil
}
