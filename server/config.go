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
	// Bind is the IP address that all ports listen on: 0.0.0.0 is all of IPv4, ::
	// all of both. Default 127.0.0.1.
	Bind string
	// Advertise is the host that clients are told. Default: Bind. A wildcard
	// Bind, or one of IPv6, demands it.
	Advertise string
	// CIMPort takes clients, HTTPPort takes /sendMsg. 0 is any free port.
	// Defaults 11211 and 8081, as the original.
	CIMPort, HTTPPort int
	// LinkPort takes the links of routes. 0 is any free port; LinkPortNone: no
	// listener, whoever starts the server serves its links by ServeLink.
	// Default 11311.
	LinkPort int
	// LinkSecret is what a route must know to link, and never travels. Default
	// none, which needs a loopback Bind.
	LinkSecret string
	// Heartbeat is the silence after which a session ends. Default 30 s, as
	// the original; its clients ping every 10 s.
	Heartbeat time.Duration
	// Lease is how long the server keeps its sessions after a route or the
	// registry has last confirmed that it lives (see Server.Confirm). Default
	// 0: for ever, for a server whose route is in the same process.
	Lease time.Duration
	// Recheck is how often all sessions are told to a route, which compares them
	// with the store. Default 0: never, for a store that loses no record.
	Recheck time.Duration
	// Login: default LoginGranted.
	Login LoginMode
	// RepeatLogin concerns logins without a grant only: all others the route
	// has judged. Default RepeatRefuse.
	RepeatLogin RepeatLogin
	// SessionsMax bounds the connections of clients. Default 0: what the
	// limit of descriptors leaves.
	SessionsMax int
	// Addresses divides the places of a full port among the addresses that
	// connections come from, at all ports. Default admission.DefaultPolicy.
	Addresses admission.Policy
	// Limits are how often one user may send over a connection; its others concern
	// routes. Default limit.DefaultConfig.
	Limits limit.Config
	// HTTPConnsMax bounds the connections to /sendMsg; the next one takes the
	// place of an idle one, or is answered 429. Default 512: the routes of a large cluster.
	HTTPConnsMax int
	// HTTPIdle is how long a connection to /sendMsg may wait for its next
	// request, httpserve.IdleTimeoutMin to httpserve.IdleTimeoutMax. Default
	// httpserve.IdleTimeoutDefault.
	HTTPIdle time.Duration
	// KeptBudget bounds the bytes of messages that are kept until clients have
	// acknowledged them: half of it for those of living sessions, half for those
	// that are on their way into boxes. KeptBudgetMin to KeptBudgetMax. Default
	// KeptBudgetDefault.
	KeptBudget int64
	// StuckAfter is the time without progress after which a peer that has bytes
	// outstanding, and cannot acknowledge texts, counts as stuck: what comes for it is
	// stored. StuckAfterMin to StuckAfterMax. Default 10 s: a lost packet is sent again several times before.
	StuckAfter time.Duration
	// DescriptorsKept are left to the rest of the process. Default 64: its
	// files and listeners.
	DescriptorsKept int
	// Loops is the number of event loops. Default 0: one for every two
	// cores, at least one, since the kernel's part of a delivery and the rest
	// of the process need the others.
	Loops int
	// EventWait is how event loops wait for events. Default WaitDirect; elsewhere than
	// on Linux, and where /proc does not show a loop's poller, it is WaitPlain.
	EventWait EventWait
	// SendMsgAnywhere lets /sendMsg listen on Bind though that is not
	// loopback. Default false: who reaches it can name any sender.
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

// Limits of what may be configured.
const (
	// manyLoops says whether several loops can listen on one port: elsewhere
	// SO_REUSEPORT gives all connections to one of them.
	manyLoops = runtime.GOOS == "linux"
	// LinkSecretMin is in bytes: what is shorter can be found by trying.
	LinkSecretMin = 16
	// KeptBudgetMin is what ten sessions may keep; KeptBudgetDefault is for some
	// hundred that acknowledge nothing, or a million texts of 200 bytes.
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
	// loopDescriptors are what one event loop needs beside its clients: its
	// poller, its wake-up, and both ends of its bell.
	loopDescriptors = 4
	// portDescriptors are the client port's: its listener, and the connection
	// that it has just accepted.
	portDescriptors = 2
	// spareShare is the part of the descriptors, one in so many, that connections
	// may take at most which are being enrolled, and then have two, or evicted. With
	// none left the port pauses.
	spareShare = 16
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
		"link-secret is missing: bind %q is not loopback, so whoever reaches the link port would be taken for a route", c.Bind)
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

// Host is the host that clients are told.
func (c Config) Host() string {
	if c.Advertise != "" {
		return c.Advertise
	}
	return c.Bind
}

// intakeHost is the address that /sendMsg listens on. Whoever reaches it can
// name any sender, and its bodies are large: so loopback, unless allowed.
func (c Config) intakeHost() string {
	if bind, err := netip.ParseAddr(c.Bind); c.SendMsgAnywhere || err == nil && bind.IsLoopback() {
		return c.Bind
	}
	return "127.0.0.1"
}

// LoopCount is the number of event loops that c comes to.
func (c Config) LoopCount() int {
	if c.Loops > 0 {
		return c.Loops
	}
	if !manyLoops {
		return 1
	}
	return max(1, cores/2)
}

// cores is how many the process may use, as of its start: those of the machine, or
// what a CPU quota (of its container) or GOMAXPROCS leaves of them. runtime.NumCPU
// knows no quota: loops for cores that are never given wait for each other.
var cores = runtime.GOMAXPROCS(0)

// sessionsMax is the bound on connections that c comes to. Running out of
// descriptors would end the event loops, so it is an error if the limit does
// not hold all that may be open.
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

// linkDescriptors are the link port's: its listener, links and hellos.
func (c Config) linkDescriptors() int {
	if c.LinkPort == LinkPortNone {
		return 0
	}
	return 2 + linksMax + 2*hellosMax
}
