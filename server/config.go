// Package server is cim-server: it keeps the clients' long connections and
// brings them what routes send over their links.
//
// Around each gnet event loop stands a loop with a pure shard; only that event
// loop touches it. Everything else reaches a loop through its mailbox. The
// directory says which user's session is where, and holds the grants. Nothing
// in this package knows the store or other servers.
package server

import (
	"errors"
	"fmt"
	"net/netip"
	"runtime"
	"time"

	"golang.org/x/sys/unix"

	"cim/proto"
)

// LoginMode says who may log in.
type LoginMode string

// A login is taken against a route's grant only, or by whoever connects, as
// the original does.
const (
	LoginGranted LoginMode = "granted"
	LoginOpen    LoginMode = "open"
)

// RepeatLogin says what becomes of a second login of a user.
type RepeatLogin string

// A repeated login is refused while the old session lives, or takes its place
// if that is a client of ours.
const (
	RepeatRefuse  RepeatLogin = "refuse"
	RepeatReplace RepeatLogin = "replace"
)

// Config is what a server is told. The zero Config is not valid; start from
// DefaultConfig.
type Config struct {
	// Bind is the address that all ports listen on. Default 127.0.0.1.
	Bind string
	// Advertise is the host that clients are told. Default: Bind. A wildcard
	// Bind demands it.
	Advertise string
	// CIMPort takes clients, HTTPPort takes /sendMsg. 0 is any free port.
	// Defaults 11211 and 8081, as the original.
	CIMPort, HTTPPort int
	// Heartbeat is the silence after which a session ends. Default 30 s, as
	// the original; its clients ping every 10 s.
	Heartbeat time.Duration
	// Login: default LoginGranted.
	Login LoginMode
	// RepeatLogin concerns logins without a grant only: all others the route
	// has judged. Default RepeatRefuse.
	RepeatLogin RepeatLogin
	// SessionsMax bounds the connections of clients. Default 0: what the
	// limit of descriptors leaves (see descriptorsKept).
	SessionsMax int
	// Loops is the number of event loops. Default 0: one for every two
	// cores, at least one, since the kernel's part of a delivery and the rest
	// of the process need the others.
	Loops int
	// SendMsgAnywhere lets /sendMsg answer to others than loopback. Default
	// false: who reaches it can name any sender.
	SendMsgAnywhere bool
}

// DefaultConfig returns the defaults.
func DefaultConfig() Config {
	return Config{
		Bind: "127.0.0.1", CIMPort: 11211, HTTPPort: 8081, Heartbeat: 30 * time.Second,
		Login: LoginGranted, RepeatLogin: RepeatRefuse,
	}
}

// Limits of what may be configured.
const (
	heartbeatMin = time.Second
	heartbeatMax = time.Hour
	loopsMax     = 256
	// descriptorsKept are left for HTTP connections, the store, the listeners
	// and the admin port when SessionsMax follows from the limit.
	descriptorsKept = 2048
)

// Check reports all that is wrong with c, each fault with the value and what
// was wanted.
func (c Config) Check() error {
	var faults []error
	fault := func(wrong bool, format string, args ...any) {
		if wrong {
			faults = append(faults, fmt.Errorf(format, args...))
		}
	}
	bind, err := netip.ParseAddr(c.Bind)
	fault(err != nil || !bind.Is4(), "bind %q is not an IPv4 address", c.Bind)
	fault(err == nil && bind.IsUnspecified() && c.Advertise == "",
		"bind %q is a wildcard, so advertise must say the host that clients connect to", c.Bind)
	if err == nil && c.Host() != "" && !(bind.IsUnspecified() && c.Advertise == "") {
		err := proto.CheckHost(c.Host())
		fault(err != nil, "advertise: %w", err)
	}
	fault(c.CIMPort < 0 || c.CIMPort > 65535, "cim-port %d is not 0 to 65535", c.CIMPort)
	fault(c.HTTPPort < 0 || c.HTTPPort > 65535, "http-port %d is not 0 to 65535", c.HTTPPort)
	fault(c.Heartbeat < heartbeatMin || c.Heartbeat > heartbeatMax,
		"heartbeat %v is not %v to %v", c.Heartbeat, heartbeatMin, heartbeatMax)
	fault(c.Login != LoginGranted && c.Login != LoginOpen, "login %q is not granted or open", c.Login)
	fault(c.RepeatLogin != RepeatRefuse && c.RepeatLogin != RepeatReplace,
		"repeat-login %q is not refuse or replace", c.RepeatLogin)
	fault(c.SessionsMax < 0, "max-sessions %d is negative", c.SessionsMax)
	fault(c.Loops < 0 || c.Loops > loopsMax, "loops %d is not 0 to %d", c.Loops, loopsMax)
	return errors.Join(faults...)
}

// Host is the host that clients are told.
func (c Config) Host() string {
	if c.Advertise != "" {
		return c.Advertise
	}
	return c.Bind
}

// LoopCount is the number of event loops that c comes to.
func (c Config) LoopCount() int {
	if c.Loops > 0 {
		return c.Loops
	}
	return max(1, runtime.NumCPU()/2)
}

// sessionsMax is the bound on connections that c comes to, and an error if
// the limit of descriptors cannot hold it.
func (c Config) sessionsMax() (int, error) {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		return 0, fmt.Errorf("server: limit of descriptors: %w", err)
	}
	room := int(min(limit.Cur, 1<<30)) - descriptorsKept
	if c.SessionsMax == 0 {
		room = max(room, int(limit.Cur)/2)
		return room, nil
	}
	if c.SessionsMax > int(limit.Cur)-descriptorsKept/8 {
		return 0, fmt.Errorf("server: max-sessions %d does not fit the limit of %d descriptors; raise `ulimit -n` or lower it",
			c.SessionsMax, limit.Cur)
	}
	return c.SessionsMax, nil
}
