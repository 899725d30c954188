package faults

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"cim/internal/daemon"
)

// network is a bridge of its own, and the namespaces that hang on it. The test
// itself is at the bridge, at hostAddress.
//
//	test -- bridge -- namespace of server-1
//	              \-- namespace of route-1, ...
type network struct {
	t      *testing.T
	number int // of the test process's networks
	subnet int // third byte of 10.213.0.0/16
	nodes  []*node
}

// node is a namespace with one address.
type node struct {
	name  string // of the process in it
	space string
	place daemon.Place
}

const (
	// spacePrefix begins the names of namespaces and links: cimf<pid>-<...>.
	spacePrefix = "cimf"
	// networksMax bounds the networks of a test process, so that the names of
	// links stay within 15 bytes.
	networksMax = 99
	// nodesMax bounds the namespaces of a network.
	nodesMax = 200
)

var networks atomic.Int64

// errNoNetwork says that this machine makes no namespaces for us.
var errNoNetwork = errors.New("no network namespaces here: they need root and the ip of iproute2")

// newNetwork makes a network, which the test's end removes. Where that is
// impossible, a test with -faults fails, and any other is skipped.
func newNetwork(t *testing.T) *network {
	t.Helper()
	n := &network{t: t, number: int(networks.Add(1))}
	if n.number > networksMax {
		t.Fatalf("more than %d networks", networksMax)
	}
	err := errNoNetwork
	if os.Getuid() == 0 {
		n.subnet = freeSubnet(t)
		t.Cleanup(n.remove)
		err = errors.Join(
			ip("link", "add", n.bridge(), "type", "bridge"),
			ip("addr", "add", n.address(1)+"/24", "dev", n.bridge()),
			ip("link", "set", n.bridge(), "up"))
	}
	switch {
	case err == nil:
	case *whole:
		t.Fatal(err)
	default:
		t.Skip(err)
	}
	return n
}

func (n *network) bridge() string { return fmt.Sprintf("%s%d-%d", spacePrefix, os.Getpid(), n.number) }

func (n *network) address(last int) string { return fmt.Sprintf("10.213.%d.%d", n.subnet, last) }

// freeSubnet finds one that no other run uses.
func freeSubnet(t *testing.T) int {
	t.Helper()
	taken, err := net.InterfaceAddrs()
	if err != nil {
		t.Fatal(err)
	}
	for i := range 256 {
		subnet := (os.Getpid() + i) % 256
		prefix := fmt.Sprintf("10.213.%d.", subnet)
		if !slices.ContainsFunc(taken, func(a net.Addr) bool { return strings.HasPrefix(a.String(), prefix) }) {
			return subnet
		}
	}
	t.Fatal("no subnet of 10.213.0.0/16 is free")
	panic("unreachable")
}

// add makes a namespace for the process of that name.
func (n *network) add(name string) *node {
	n.t.Helper()
	if len(n.nodes) >= nodesMax {
		n.t.Fatalf("more than %d namespaces", nodesMax)
	}
	last := len(n.nodes) + 10
	made := &node{name: name, space: fmt.Sprintf("%s%d-%d-%d", spacePrefix, os.Getpid(), n.number, last)}
	made.place = daemon.Place{Host: n.address(last), Within: []string{"ip", "netns", "exec", made.space}}
	link := fmt.Sprintf("%sn%d", n.bridge(), last)[len(spacePrefix)-1:] // at most 15 bytes
	n.nodes = append(n.nodes, made)
	if err := errors.Join(
		ip("netns", "add", made.space),
		ip("link", "add", link, "type", "veth", "peer", "name", "eth0", "netns", made.space),
		ip("link", "set", link, "master", n.bridge(), "up"),
		ip("-n", made.space, "addr", "add", made.place.Host+"/24", "dev", "eth0"),
		ip("-n", made.space, "link", "set", "eth0", "up"),
		ip("-n", made.space, "link", "set", "lo", "up"),
		// Local addresses are looked up after the rules of a cut.
		ip("-n", made.space, "rule", "add", "pref", "1000", "lookup", "local"),
		ip("-n", made.space, "rule", "del", "pref", "0"),
	); err != nil {
		n.t.Fatal(err)
	}
	return made
}

// node is the namespace of the process of that name.
func (n *network) node(name string) *node {
	n.t.Helper()
	for _, one := range n.nodes {
		if one.name == name {
			return one
		}
	}
	n.t.Fatalf("no namespace of %s", name)
	panic("unreachable")
}

// cut silently drops all packets from from to to, until heal. Packets in the other direction
// arrive.
func (n *network) cut(from, to string) {
	n.t.Helper()
	n.rule("add", from, to)
}

// heal ends a cut.
func (n *network) heal(from, to string) {
	n.t.Helper()
	n.rule("del", from, to)
}

// rule is for the receiving side: a blackhole for the sender's address drops a packet when its
// route is looked up. Existing connections are looked up again, since a new rule empties the route
// cache of the namespace.
func (n *network) rule(verb, from, to string) {
	n.t.Helper()
	if err := ip("-n", n.node(to).space, "rule", verb, "pref", "10", "from", n.node(from).place.Host, "blackhole"); err != nil {
		n.t.Fatal(err)
	}
}

// pull cuts the cable between a node and the test itself, whose clients are
// connected over it: nothing passes either way until plug.
func (n *network) pull(name string) { n.t.Helper(); n.cable("add", name) }

// plug ends a pull.
func (n *network) plug(name string) { n.t.Helper(); n.cable("del", name) }

func (n *network) cable(verb, name string) {
	n.t.Helper()
	for _, way := range []string{"from", "to"} {
		if err := ip("-n", n.node(name).space, "rule", verb, "pref", "10", way, n.address(1), "blackhole"); err != nil {
			n.t.Fatal(err)
		}
	}
}

func (n *network) remove() {
	var faults []error
	for _, one := range n.nodes {
		faults = append(faults, ip("netns", "del", one.space)) // with it goes its link
	}
	if err := errors.Join(append(faults, ip("link", "del", n.bridge()))...); err != nil {
		n.t.Error(err)
	}
}

func ip(args ...string) error {
	if out, err := exec.Command("ip", args...).CombinedOutput(); err != nil {
		return fmt.Errorf("ip %s: %w: %s", strings.Join(args, " "), err, bytes.TrimSpace(out))
	}
	return nil
}

// sweepNetworks removes the namespaces and bridges of test processes that were
// killed.
func sweepNetworks() error {
	if os.Getuid() != 0 {
		return nil
	}
	var faults []error
	spaces, err := exec.Command("ip", "netns", "list").Output()
	if err != nil {
		return nil // there is no ip: nothing can have been made
	}
	for line := range strings.Lines(string(spaces)) {
		space, _, _ := strings.Cut(strings.TrimSpace(line), " ")
		if stale(space, spacePrefix) {
			faults = append(faults, ip("netns", "del", space))
		}
	}
	bridges, err := exec.Command("ip", "-br", "link", "show", "type", "bridge").Output()
	if err != nil {
		return errors.Join(append(faults, err)...)
	}
	for line := range strings.Lines(string(bridges)) {
		if fields := strings.Fields(line); len(fields) > 0 && stale(fields[0], spacePrefix) {
			faults = append(faults, ip("link", "del", fields[0]))
		}
	}
	return errors.Join(faults...)
}
