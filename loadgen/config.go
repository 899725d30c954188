package loadgen

import (
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"runtime"
	"slices"
	"time"

	"cim/proto"
)

// Mode is what the clients do.
type Mode string

// The modes.
const (
	Group   Mode = "group"   // each message goes to every client but its sender
	Private Mode = "private" // each sender has one receiver
	Mixed   Mode = "mixed"   // messages of both kinds, in the shares of Config.Mix
	Idle    Mode = "idle"    // log in, wait for Duration, measure the server's memory
	Storm   Mode = "storm"   // log in, then cut all connections at once and log all in again
	Churn   Mode = "churn"   // log in, then cut and log in clients in turn at Rates
)

// Modes are all of them.
var Modes = []Mode{Group, Private, Mixed, Idle, Storm, Churn}

// Via is the way that a message takes to the server.
type Via string

// The ways.
const (
	ViaHTTP Via = "http" // a request to a route
	ViaConn Via = "conn" // a SEND frame on the sender's own connection
)

// Config is what to simulate. Start from Defaults.
type Config struct {
	// Routes are the base URLs of the routes, as http://127.0.0.1:8083.
	// Clients are spread over them; each keeps its route, for its login and for
	// its messages.
	Routes []string
	// Conns are the numbers of clients: one fleet, with logins of its own, for
	// each. A fleet must fit the descriptor limit.
	Conns []int
	// Mode is Group, Private or Idle. Default Group.
	Mode Mode
	// Via is ViaHTTP or ViaConn. Default ViaHTTP. With ViaConn the senders speak dialect cim,
	// whatever Dialect is. In mode Private the senders are the first half of the clients and the
	// receivers the second.
	Via Via
	// Mix is the shares of mode Mixed. Default 1 group message in 100.
	Mix Mix
	// Rates are messages a second in open loop: each is due at a time set by Arrivals, whatever
	// happened to earlier ones. One trial for each, on the same fleet. None: Windows counts
	// instead.
	Rates []int
	// Arrivals is Constant or Poisson. Default Constant.
	Arrivals Arrivals
	// Windows are numbers of messages kept outstanding, which is not yet
	// received by all: one trial for each, on the same fleet.
	Windows []int
	// Think is how long a sender of a window waits before its next message.
	Think time.Duration
	// Duration is the measured time of each trial. Default 5 s.
	Duration time.Duration
	// Warmup comes before it and is not measured. Default 2 s.
	Warmup time.Duration
	// Drain bounds the wait for deliveries that are still owed at the end of a
	// trial, and the wait for an answer or for a message to reach all within
	// it. Default 10 s.
	Drain time.Duration
	// Dialect is the receivers'. Default proto.DialectV2. DialectV1 does not distinguish OFFLINE
	// from MESSAGE.
	Dialect proto.Dialect
	// Want is when a private message counts as done: proto.WantTaken, or
	// proto.WantReceived or WantStored, for which all clients log in in dialect cim
	// and acknowledge what they receive. Default WantTaken.
	Want proto.Want
	// Size is the length of the texts. Default 128 bytes; at least TextMin.
	Size Sizes
	// Verify accounts for each refused message, and checks at the end which users are online.
	Verify bool
	// HTTPConns is the number of keep-alive connections for messages. Default
	// 64. In mode Group it also bounds the senders of an open loop.
	HTTPConns int
	// Ramp is how many logins start in a second; 0: as many as LoginsAtOnce allows.
	Ramp int
	// Sources are addresses that the clients' connections come from, in turn.
	// Each has its own ports, so several hold more connections to one server.
	Sources []netip.Addr
	// LoginsAtOnce is how many clients log in at a time at most, each over a
	// connection of its own to each route. There are fewer for a while after a route
	// has refused a login, as the cluster has too much to do. Default 64.
	LoginsAtOnce int
	// Loops is the number of event loops. Default 1: a second one, on two cores shared with the
	// server, cost a quarter more CPU a delivery in window 1 and gained nothing.
	Loops int
	// Seed makes names and pairs. Two runs with one seed share their users, so two runs at the same
	// time need two seeds. Group messages of another seed, with texts of the same length, are
	// recognised and counted. Default 1.
	Seed uint64
	// ServerPIDs are the processes under test. Their CPU time and memory are reported, together and
	// each: in a cluster the servers, the routes and Redis. None: not reported.
	ServerPIDs []int
	// Procs is the number of worker processes that share clients and load, past the descriptors
	// that one process may have. Default 1: this process alone. In modes Group and Mixed the first
	// one sends all group messages.
	Procs int
	// Spawn makes a worker's command. Needed if Procs is more than 1.
	Spawn Spawn `json:"-"`
	// Token is the bearer token that the routes are shown with each request: of a
	// service, since the load generator acts for all of its users. "": none.
	Token string `json:"-"`
	// Watch, if set, is called for each second of a trial's measured time, and for the stages
	// before and after it. It must not wait.
	Watch func(Moment) `json:"-"`
	// LoginURL, of another system than ours, is where each login posts one empty
	// request before it connects, as ours asks a route for a place; "": none.
	LoginURL string
	// System makes the system under test; nil: our own.
	System NewSystem `json:"-"`

	worker    *worker // of this process, if it is one
	rssBefore []int64 // of each process under test before the run's first request, in bytes
}

// Defaults is a Config that lacks only Routes and Conns, and Rate or Windows.
func Defaults() Config {
	return Config{
		Mode: Group, Via: ViaHTTP, Mix: Mix{Group: 1, Private: 99}, Arrivals: Constant,
		Duration: 5 * time.Second, Warmup: 2 * time.Second, Drain: 10 * time.Second,
		Dialect: proto.DialectV2, Size: OneSize(128),
		HTTPConns: 64, LoginsAtOnce: 64, Loops: 1, Procs: 1, Seed: 1,
	}
}

// Check reports all faults of c: one for each wrong setting, by the name of its flag, with its
// value and the allowed ones.
func (c Config) Check() error {
	return errors.Join(c.checkRoutes(), c.checkWords(), c.checkLoad(), c.checkConns(), c.checkNumbers(), c.checkTimes())
}

func (c Config) checkRoutes() error {
	if c.System != nil && (c.Via == ViaConn || c.quiet()) {
		return nil // no caller asks them
	}
	if len(c.Routes) == 0 {
		return errors.New("give --route, at least one URL")
	}
	var faults []error
	for _, route := range c.Routes {
		if !isHTTP(route) {
			faults = append(faults, fmt.Errorf("route %q is not http://host:port", route))
		}
	}
	return errors.Join(faults...)
}

func isHTTP(text string) bool {
	u, err := url.Parse(text)
	return err == nil && u.Scheme == "http" && u.Host != ""
}

func (c Config) checkWords() error {
	var faults []error
	if !c.modeKnown() {
		faults = append(faults, fmt.Errorf("mode %q is not one of %v", c.Mode, Modes))
	}
	if c.Via != ViaHTTP && c.Via != ViaConn {
		faults = append(faults, fmt.Errorf("via %q is not %s or %s", c.Via, ViaHTTP, ViaConn))
	}
	if c.Arrivals != Constant && c.Arrivals != Poisson {
		faults = append(faults, fmt.Errorf("arrivals %q is not %s or %s", c.Arrivals, Constant, Poisson))
	}
	if c.Mode == Mixed && (c.Mix.Group < 1 || c.Mix.Private < 1 || c.Mix.Group+c.Mix.Private > mixMax) {
		faults = append(faults, fmt.Errorf("mix %s is not two shares of at least 1 and %d together", c.Mix, mixMax))
	}
	if c.LoginURL != "" && (c.System == nil || !isHTTP(c.LoginURL)) {
		faults = append(faults, fmt.Errorf("login-url %q is not http://host:port, or system is cim, whose logins ask a route", c.LoginURL))
	}
	if dialectName(c.Dialect) == "" {
		faults = append(faults, fmt.Errorf("dialect %d is not v1, v2 or cim", c.Dialect))
	}
	return errors.Join(append(faults, c.checkWant())...)
}

func (c Config) checkWant() error {
	switch {
	case !c.Want.Valid():
		return fmt.Errorf("want %d is not 0, 1 or 2", c.Want)
	case c.Want == proto.WantTaken:
		return nil
	case c.System != nil:
		return fmt.Errorf("want %d is for system cim, others have no such thing", c.Want)
	case c.Dialect == proto.DialectV1:
		return fmt.Errorf("want %d is not for dialect v1, whose clients cannot acknowledge", c.Want)
	}
	return nil
}

// dialect is the receivers': only clients of dialect cim acknowledge.
func (c Config) dialect() proto.Dialect {
	if c.Want != proto.WantTaken {
		return proto.DialectCIM
	}
	return c.Dialect
}

// dialectName is what the report calls d; empty: not one of ours.
func dialectName(d proto.Dialect) string {
	switch d {
	case proto.DialectV1:
		return "v1"
	case proto.DialectV2:
		return "v2"
	case proto.DialectCIM:
		return "cim"
	}
	return ""
}

// quiet reports whether no messages are sent.
func (c Config) quiet() bool { return c.Mode == Idle || c.Mode == Storm || c.Mode == Churn }

// mixMax bounds the sum of the shares.
const mixMax = 1_000_000

func (c Config) modeKnown() bool { return slices.Contains(Modes, c.Mode) }

func (c Config) checkLoad() error {
	var faults []error
	rated, windowed := len(c.Rates) > 0, len(c.Windows) > 0
	switch {
	case c.Mode == Idle || c.Mode == Storm || !c.modeKnown():
	case c.Mode == Churn && !rated:
		faults = append(faults, errors.New("give --rate, the logins a second of mode churn"))
	case rated && windowed:
		faults = append(faults, errors.New("give --rate or --window, not both"))
	case !rated && !windowed:
		faults = append(faults, errors.New("give --rate or --window"))
	}
	for _, w := range c.Windows {
		if !c.windowFits(w) {
			faults = append(faults, fmt.Errorf("window %d is not %d to %d", w, c.windowMin(), c.windowMax()))
		}
	}
	return errors.Join(faults...)
}

// windowMax is one message for each HTTP connection.
func (c Config) windowMax() int { return max(1, c.HTTPConns) }

func (c Config) windowFits(w int) bool { return w >= c.windowMin() && w <= c.windowMax() }

// windowMin is a message of each kind.
func (c Config) windowMin() int {
	if c.Mode == Mixed {
		return 2
	}
	return 1
}

func (c Config) checkConns() error {
	if len(c.Conns) == 0 {
		return errors.New("give --conns, at least one number")
	}
	var faults []error
	for _, n := range c.Conns {
		if least := c.connsMin(); n < least {
			faults = append(faults, fmt.Errorf("conns %d is not at least %d", n, least))
		}
	}
	return errors.Join(faults...)
}

// connsMin is the smallest fleet in which every sender has a receiver. A window that is itself a
// fault does not count.
func (c Config) connsMin() int {
	senders := 1
	for _, w := range c.Windows {
		if c.windowFits(w) {
			groups, privates := c.windowSenders(w)
			senders = max(senders, groups+privates)
		}
	}
	switch {
	case c.quiet():
		return 1
	case c.Mode == Mixed:
		return max(6, 2*senders+2)
	case c.Mode == Private && c.Via == ViaConn:
		return 2 * senders
	}
	return max(2, senders)
}

func (c Config) checkNumbers() error {
	var faults []error
	want := func(name string, value, least, most int) {
		if value < least || value > most {
			faults = append(faults, fmt.Errorf("%s %d is not %d to %d", name, value, least, most))
		}
	}
	for _, rate := range c.Rates {
		want("rate", rate, 1, 1_000_000)
	}
	if err := c.Size.Check(); err != nil {
		faults = append(faults, err)
	}
	want("ramp", c.Ramp, 0, 1_000_000)
	want("HTTP connections", c.HTTPConns, max(1, len(c.Routes)), 1024)
	want("logins at once", c.LoginsAtOnce, 1, 1024)
	want("loops", c.Loops, 1, 64)
	want("procs", c.Procs, 1, procsMax)
	if c.Procs > 1 {
		faults = append(faults, checkPipes(runtime.GOOS), c.checkProcs())
	}
	for i, pid := range c.ServerPIDs {
		want("server-pid", pid, 1, pidMax)
		if slices.Contains(c.ServerPIDs[:i], pid) {
			faults = append(faults, fmt.Errorf("server-pid %d is given twice", pid))
		}
	}
	return errors.Join(faults...)
}

// procsMax bounds the worker processes.
const procsMax = 64

// checkPipes reports a system on which workers cannot be talked to: a pipe of
// Windows has no time-out, and a worker that hangs would hang all.
func checkPipes(goos string) error {
	if goos == "windows" {
		return errors.New("worker processes do not run on Windows: leave procs at 1")
	}
	return nil
}

// checkProcs reports what cannot be shared by that many workers.
func (c Config) checkProcs() error {
	var faults []error
	if c.shares() {
		faults = append(faults, c.checkShared())
	}
	if len(c.Conns)*c.Procs > fleetsMax {
		faults = append(faults, fmt.Errorf("procs %d and %d numbers of clients are more than %d fleets", c.Procs, len(c.Conns), fleetsMax))
	}
	for _, l := range c.loads() {
		if n := max(l.rate, l.window); n < c.Procs && !c.shares() {
			faults = append(faults, fmt.Errorf("procs %d is more than can share %s", c.Procs, l))
		}
	}
	// The last one has the fewest clients, the first one may have more to send.
	faults = append(faults, c.checkPart(c.Procs-1, "last"), c.checkPart(0, "first"))
	return errors.Join(faults...)
}

func (c Config) checkPart(number int, name string) error {
	part := c.part(number, c.Procs)
	part.worker = &worker{number: number, of: c.Procs}
	if err := part.checkConns(); err != nil {
		return fmt.Errorf("procs %d leaves the %s one too few: %w", c.Procs, name, err)
	}
	return nil
}

// checkShared reports what workers that share group messages cannot do.
func (c Config) checkShared() error {
	var faults []error
	if c.System != nil {
		faults = append(faults, fmt.Errorf("procs %d in mode %s is not for other systems, which keep their fleets apart", c.Procs, c.Mode))
	}
	for _, rate := range c.Rates {
		if n := c.sentMax(load{rate: rate}); n > sharedMax {
			faults = append(faults, fmt.Errorf("procs %d in mode %s: %d a second for %s are up to %d messages, and %d can be shared",
				c.Procs, c.Mode, rate, c.Warmup+c.Duration, n, sharedMax))
		}
	}
	return errors.Join(faults...)
}

// fleetsMax is how many fleets a trial's id can name.
const fleetsMax = 256

// pidMax is the kernel's largest process id.
const pidMax = 1 << 22

func (c Config) checkTimes() error {
	var faults []error
	want := func(name string, value, least time.Duration) {
		if value < least || value > time.Hour {
			faults = append(faults, fmt.Errorf("%s %s is not %s to %s", name, value, least, time.Hour))
		}
	}
	want("duration", c.Duration, time.Millisecond)
	want("warmup", c.Warmup, 0)
	want("drain", c.Drain, time.Millisecond)
	want("think", c.Think, 0)
	return errors.Join(faults...)
}
