package zk

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	"cim/proto"
)

const (
	rootDefault           = "/cim"
	sessionTimeoutDefault = 5 * time.Second
	sessionTimeoutMin     = 100 * time.Millisecond
	sessionTimeoutMax     = 5 * time.Minute
)

// Config is what a Registry is told. Only Servers have no default.
type Config struct {
	// Servers are the HOST:PORT of ZooKeeper's servers, one at least. A host's
	// name is looked up again for each connection. A path may stand behind the
	// last one; it belongs in front of Root.
	Servers []string
	// Root is the node that the members' nodes stand under. Default /cim, the
	// original's.
	Root string
	// Auth is the user and password, divided by a colon, that ZooKeeper is told
	// (scheme digest). Nodes that are made then belong to that user, and everybody
	// may read them. Default none: everybody may do everything, as the original
	// has it.
	Auth string
	// Open lets everybody make nodes under a root that is made with Auth: servers
	// of the original enter themselves there.
	Open bool
	// SessionTimeout is how long after its last sign of life a member's node
	// stays; ZooKeeper may choose a longer one. Default 5 s. When we
	// have a session again, members that have vanished meanwhile are kept for
	// as long, and 2 s more in which they register again.
	SessionTimeout time.Duration
	// Confirmed is called each time that ZooKeeper has just confirmed a member
	// that was registered here: its node stands, of our present session and with
	// our epoch. That is when it was made, and then every 2 s until it is
	// deregistered. It must not wait. May be nil.
	Confirmed func(m proto.Member)
	// Log may be nil.
	Log *slog.Logger
}

// Check reports all that is wrong with c.
func (c Config) Check() error {
	c = c.withDefaults()
	var faults []error
	if len(c.Servers) == 0 {
		faults = append(faults, errors.New("no ZooKeeper server is named, want HOST:PORT"))
	}
	for _, server := range c.Servers {
		faults = append(faults, checkServer(server))
	}
	faults = append(faults, checkRoot(c.Root), checkAuth(c.Auth))
	if c.SessionTimeout < sessionTimeoutMin || c.SessionTimeout > sessionTimeoutMax {
		faults = append(faults, fmt.Errorf("ZooKeeper session time-out %v, want %v to %v", c.SessionTimeout, sessionTimeoutMin, sessionTimeoutMax))
	}
	return errors.Join(faults...)
}

func (c Config) withDefaults() Config {
	if c.Root == "" {
		c.Root = rootDefault
	}
	c = c.withoutChroot()
	if c.SessionTimeout == 0 {
		c.SessionTimeout = sessionTimeoutDefault
	}
	if c.Confirmed == nil {
		c.Confirmed = func(proto.Member) {}
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	return c
}

// withoutChroot moves a path behind the last server, as ZooKeeper's own clients
// take it (HOST:PORT,HOST:PORT/PATH), in front of the root.
func (c Config) withoutChroot() Config {
	if len(c.Servers) == 0 {
		return c
	}
	last := len(c.Servers) - 1
	if server, path, found := strings.Cut(c.Servers[last], "/"); found && path != "" {
		c.Servers = append(slices.Clone(c.Servers[:last]), server)
		c.Root = "/" + path + c.Root
	}
	return c
}

func checkServer(server string) error {
	host, port, err := net.SplitHostPort(server)
	if err != nil {
		return fmt.Errorf("ZooKeeper server %q, want HOST:PORT", server)
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 || host == "" || strings.ContainsFunc(host, unicode.IsSpace) {
		return fmt.Errorf("ZooKeeper server %q, want HOST:PORT with a port of 1 to 65535", server)
	}
	return nil
}

// checkAuth wants a user and a password, and shows neither.
func checkAuth(auth string) error {
	if user, password, found := strings.Cut(auth, ":"); auth != "" && (!found || user == "" || password == "") {
		return errors.New("is not USER:PASSWORD")
	}
	return nil
}

// checkRoot wants what ZooKeeper takes as a path, below its own root.
func checkRoot(root string) error {
	parts := strings.Split(root, "/")
	if parts[0] != "" || len(parts) < 2 {
		return fmt.Errorf("ZooKeeper root %q is not an absolute path", root)
	}
	for _, part := range parts[1:] {
		if part == "" || part == "." || part == ".." || strings.ContainsFunc(part, unicode.IsControl) {
			return fmt.Errorf("ZooKeeper root %q has the part %q", root, part)
		}
	}
	if parts[1] == "zookeeper" {
		return fmt.Errorf("ZooKeeper root %q is in ZooKeeper's own folder", root)
	}
	return nil
}
