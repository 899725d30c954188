package server

import (
	"errors"
	"fmt"
	"net/netip"
	"runtime"
	"time"

	"cim/internal/admission"
	"cim/internal/httpserve"
	"cim/internal/limit"
	"cim/proto"
)

// LoginMode says which clients may log in.
type LoginMode string

// LoginGranted needs a grant of a route. LoginOpen lets any client in.
const (
	LoginGranted LoginMode = "granted"
	LoginOpen    LoginMode = "open"
)

// RepeatLogin says what happens to a second login of a user.
type RepeatLogin string

// RepeatRefuse refuses a repeated login while the old session lives. RepeatReplace
// ends the old session if it is a client of ours.
const (
	RepeatRefuse  RepeatLogin = "refuse"
	RepeatReplace RepeatLogin = "replace"
)

// Config is the configuration of a server. The zero Config is not valid; start from
// DefaultConfig.
type Config struct {
	// Bind is the IP address that all ports listen on: 0.0.0.0 is all of IPv4, ::
	// all of both. Default 127.0.0.1.
	Bind string
	// Advertise is the host that clients connect to. Default: Bind. It is required
	// if Bind is a wildcard or an IPv6 address.
	Advertise string
	// CIMPort takes clients, HTTPPort takes /sendMsg. 0 is any free port.
	// Defaults 11211 and 8081.
	CIMPort, HTTPPort int
	// LinkPort takes the links of routes. 0 is any free port; LinkPortNone: no
	// listener, the process passes its links to ServeLink. Default 11311.
	LinkPort int
	// LinkSecret is the shared secret of routes and servers; it never travels.
	// Default none, which needs a loopback Bind.
	LinkSecret string
	// Heartbeat is the silence after which a session ends. Default 30 s;
	// clients of the original ping every 10 s.
	Heartbeat time.Duration
	// Lease is how long the server keeps its sessions after the last confirmation
	// by a route or the registry (see Server.Confirm). Default 0: for ever, for a
	// server whose route is in the same process.
	Lease time.Duration
	// Recheck is how often all sessions are sent to a route, which compares them
	// with the store. Default 0: never, for a store that loses no record.
	Recheck time.Duration
	// Login: default LoginGranted.
	Login LoginMode
	// RepeatLogin applies to logins without a grant only: routes judge all others.
	// Default RepeatRefuse.
	RepeatLogin RepeatLogin
	// SessionsMax bounds the connections of clients. Default 0: what the limit of
	// descriptors allows.
	SessionsMax int
	// Addresses divides the places of a full port among the addresses of its
	// connections, for all ports. Default admission.DefaultPolicy.
	Addresses admission.Policy
	// Limits bound how often one user may send over a connection; its other limits
	// apply to routes. Default limit.DefaultConfig.
	Limits limit.Config
	// HTTPConnsMax bounds the connections to /sendMsg. The next one evicts an idle
	// one, or is answered 429. Default 512: the routes of a large cluster.
	HTTPConnsMax int
	// HTTPIdle is how long a connection to /sendMsg may wait for its next
	// request, httpserve.IdleTimeoutMin to httpserve.IdleTimeoutMax. Default
	// httpserve.IdleTimeoutDefault.
	HTTPIdle time.Duration
	// KeptBudget bounds the bytes of messages that are kept until clients have
	// acknowledged them: half of it for living sessions, half for texts on their
	// way into boxes. KeptBudgetMin to KeptBudgetMax. Default KeptBudgetDefault.
	KeptBudget int64
	// StuckAfter is the time without progress after which a peer with outstanding
	// bytes counts as stuck, if its client cannot acknowledge texts: messages for
	// it are stored. StuckAfterMin to StuckAfterMax. Default 10 s: enough for
	// several retransmissions of a lost packet.
	StuckAfter time.Duration
	// DescriptorsKept is the number of descriptors for the rest of the process.
	// Default 64: its files and listeners.
	DescriptorsKept int
	// Loops is the number of event loops. Default 0: one for every two cores, at
	// least one, since the kernel's part of a delivery and the rest of the process
	// need the others.
	Loops int
	// EventWait is how event loops wait for events. Default WaitDirect; it becomes
	// WaitPlain on systems other than Linux, and where /proc does not show a loop's
	// poller.
	EventWait EventWait
	// SendMsgAnywhere lets /sendMsg listen on Bind even if Bind is not loopback.
	// Default false: any process that reaches it can send in the name of any user.
	SendMsgAnywhere bool
}

// DefaultConfig returns the defaults.
func DefaultConfig() Config {
	return Config{
		Bind: "127.0.0.1", CIMPort: 11211, HTTPPort: 8081, LinkPort: 11311, Heartbeat: 30 * time.Second,
		Login: LoginGranted, RepeatLogin: RepeatRefuse, HTTPConnsMax: 512, DescriptorsKept: 64,
		Addresses: admission.DefaultPolicy(), HTTPIdle: httpserve.IdleTimeoutDefault,
		KeptBudget: KeptBudgetDefault, StuckAfter: 10 * time.Second, Limits: limit.DefaultConfig(),
		EventWait: WaitDirect,
	}
}

// LinkPortNone is a server without a link port.
const LinkPortNone = -1

// Bounds of the settings.
const (
	// manyLoops: several loops can listen on one port. On other systems
	// SO_REUSEPORT gives all connections to one of them.
	manyLoops = runtime.GOOS == "linux"
	// LinkSecretMin is in bytes: a shorter secret can be found by trying.
	LinkSecretMin = 16
	// KeptBudgetMin is for ten sessions; KeptBudgetDefault is for some hundred
	// sessions that acknowledge nothing, or a million texts of 200 bytes.
	KeptBudgetMin     = 4 << 20
	KeptBudgetDefault = 256 << 20
	KeptBudgetMax     = 1 << 50
	// StuckAfterMin is above the pauses of mobile networks.
	StuckAfterMin = time.Second
	StuckAfterMax = time.Hour
	heartbeatMin  = time.Second
	heartbeatMax  = time.Hour
	leaseMin      = time.Second
	leaseMax      = time.Hour
	loopsMax      = 256
	// loopDescriptors is what one event loop needs besides its clients: its poller,
	// its wake-up, and both ends of its bell.
	loopDescriptors = 4
	// portDescriptors is what the client port needs: its listener, and the
	// connection that it has just accepted.
	portDescriptors = 2
	// spareShare: connections that are being enrolled (which have two descriptors)
	// or evicted may take one in spareShare descriptors at most. With none left the
	// port pauses.
	spareShare = 16
)

// Check reports all faults of c, each with the value and what is allowed.
func (c Config) Check() error {
	var faults []error
	fault := func(wrong bool, format string, args ...any) {
		if wrong {
			faults = append(faults, fmt.Errorf(format, args...))
		}
	}
	bind, err := netip.ParseAddr(c.Bind)
	fault(err != nil, "bind %q is not an IP address", c.Bind)
	noHost := err == nil && c.Advertise == "" && (bind.IsUnspecified() || !bind.Is4())
	fault(noHost && bind.IsUnspecified(), "bind %q is a wildcard, so advertise must say the host that clients connect to", c.Bind)
	fault(noHost && !bind.IsUnspecified(),
		"bind %q is an IPv6 address, whose colons clients do not take: advertise must say a host name that leads there", c.Bind)
	if err == nil && c.Host() != "" && !noHost {
		err := proto.CheckHost(c.Host())
		fault(err != nil, "advertise: %w", err)
	}
	fault(c.CIMPort < 0 || c.CIMPort > 65535, "cim-port %d is not 0 to 65535", c.CIMPort)
	fault(c.HTTPPort < 0 || c.HTTPPort > 65535, "http-port %d is not 0 to 65535", c.HTTPPort)
	fault(c.LinkPort < LinkPortNone || c.LinkPort > 65535, "link-port %d is not 0 to 65535, or %d for none", c.LinkPort, LinkPortNone)
	fault(c.LinkSecret == "" && c.LinkPort != LinkPortNone && err == nil && !bind.IsLoopback(),
		"link-secret is missing: bind %q is not loopback, so any process that reaches the link port would be taken for a route", c.Bind)
	fault(c.LinkSecret != "" && len(c.LinkSecret) < LinkSecretMin,
		"link-secret has %d bytes, want at least %d", len(c.LinkSecret), LinkSecretMin)
	fault(c.Heartbeat < heartbeatMin || c.Heartbeat > heartbeatMax,
		"heartbeat %v is not %v to %v", c.Heartbeat, heartbeatMin, heartbeatMax)
	fault(c.Lease != 0 && (c.Lease < leaseMin || c.Lease > leaseMax), "lease %v is not %v to %v, or 0 for none", c.Lease, leaseMin, leaseMax)
	fault(c.Login != LoginGranted && c.Login != LoginOpen, "login %q is not granted or open", c.Login)
	fault(c.RepeatLogin != RepeatRefuse && c.RepeatLogin != RepeatReplace,
		"repeat-login %q is not refuse or replace", c.RepeatLogin)
	fault(c.EventWait != WaitDirect && c.EventWait != WaitPlain, "event-wait %q is not direct or plain", c.EventWait)
	fault(c.SessionsMax < 0, "max-sessions %d is negative", c.SessionsMax)
	if err := c.Addresses.Check(); err != nil {
		faults = append(faults, err)
	}
	if err := c.Limits.Check(); err != nil {
		faults = append(faults, err)
	}
	if err := httpserve.CheckIdleTimeout(c.HTTPIdle); err != nil {
		faults = append(faults, err)
	}
	fault(c.HTTPConnsMax < 1, "HTTP connections %d is not at least 1", c.HTTPConnsMax)
	fault(c.KeptBudget < KeptBudgetMin || c.KeptBudget > KeptBudgetMax,
		"kept-budget %d is not %d to %d bytes", c.KeptBudget, int64(KeptBudgetMin), int64(KeptBudgetMax))
	fault(c.StuckAfter < StuckAfterMin || c.StuckAfter > StuckAfterMax,
		"stuck-after %v is not %v to %v", c.StuckAfter, StuckAfterMin, StuckAfterMax)
	fault(c.DescriptorsKept < 0, "descriptors kept %d is negative", c.DescriptorsKept)
	fault(c.Loops < 0 || c.Loops > loopsMax, "loops %d is not 0 to %d", c.Loops, loopsMax)
	fault(c.Loops > 1 && !manyLoops, "loops %d is not 0 or 1, and only Linux divides the connections of a port among several loops", c.Loops)
	return errors.Join(faults...)
}

// Host is the host that clients connect to.
func (c Config) Host() string {
	if c.Advertise != "" {
		return c.Advertise
	}
	return c.Bind
}

// intakeHost is the address that /sendMsg listens on. A process that reaches it can
// name any sender, and its bodies are large: so it is loopback, unless the
// configuration allows more.
func (c Config) intakeHost() string {
	if bind, err := netip.ParseAddr(c.Bind); c.SendMsgAnywhere || err == nil && bind.IsLoopback() {
		return c.Bind
	}
	return "127.0.0.1"
}

// LoopCount is the number of event loops under c.
func (c Config) LoopCount() int {
	if c.Loops > 0 {
		return c.Loops
	}
	if !manyLoops {
		return 1
	}
	return max(1, cores/2)
}

// cores is how many cores the process may use, as of its start: those of the
// machine, or fewer by the CPU quota of its container or by GOMAXPROCS.
// runtime.NumCPU ignores quotas, and loops without a core of their own wait for
// each other.
var cores = runtime.GOMAXPROCS(0)

// sessionsMax is the bound on connections under c. Running out of descriptors would
// end the event loops, so a limit that is too low for all possible connections is
// an error.
func (c Config) sessionsMax() (int, error) {
	limit, err := DescriptorLimit()
	if err != nil {
		return 0, fmt.Errorf("server: limit of descriptors: %w", err)
	}
	return c.sessionsWithin(min(limit, descriptorsMax))
}

// descriptorsMax stands for no limit.
const descriptorsMax = 1 << 24

func (c Config) sessionsWithin(descriptors int) (int, error) {
	others := c.DescriptorsKept + c.HTTPConnsMax + httpserve.SurplusMax + c.LoopCount()*loopDescriptors + portDescriptors + c.linkDescriptors() +
		min(c.LoopCount()*enrollingMax+evictingMax, descriptors/spareShare)
	room := descriptors - others
	if room < max(1, c.SessionsMax) {
		return 0, fmt.Errorf("server: max-sessions %d and %d descriptors for all else do not fit the limit of %d; raise `ulimit -n`",
			c.SessionsMax, others, descriptors)
	}
	if c.SessionsMax == 0 {
		return room, nil
	}
	return c.SessionsMax, nil
}

// linkDescriptors is what the link port needs: its listener, links and hellos.
func (c Config) linkDescriptors() int {
	if c.LinkPort == LinkPortNone {
		return 0
	}
	return 2 + linksMax + 2*hellosMax
}
