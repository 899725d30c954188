package loadgen

import (
	"errors"
	"fmt"
	"net/url"
	"time"

	"cim/proto"
)

// Mode is what the clients do.
type Mode string

// The modes.
const (
	Group   Mode = "group"   // each message goes to every client but its sender
	Private Mode = "private" // each sender has one receiver
	Idle    Mode = "idle"    // log in, wait for Duration, measure the server's memory
)

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
	// Clients and HTTP connections are spread over them.
	Routes []string
	// Conns are the numbers of clients: one fleet, with logins of its own, for
	// each. A fleet must fit the descriptor limit.
	Conns []int
	// Mode is Group, Private or Idle. Default Group.
	Mode Mode
	// Via is ViaHTTP or ViaConn. Default ViaHTTP. With ViaConn the senders
	// speak dialect cim whatever Dialect says; in mode Private they are the
	// first half of the clients and the receivers are the second.
	Via Via
	// Rate is messages a second in open loop: message i is due at i/Rate,
	// whatever became of those before. 0: Windows counts instead.
	Rate int
	// Windows are numbers of messages kept outstanding, which is not yet
	// received by all: one trial for each, on the same fleet.
	Windows []int
	// Duration is the measured time of each trial. Default 5 s.
	Duration time.Duration
	// Warmup comes before it and is not measured. Default 2 s.
	Warmup time.Duration
	// Drain bounds the wait for deliveries that are still owed at the end of a
	// trial, and the wait for an answer or for a message to reach all within
	// it. Default 10 s.
	Drain time.Duration
	// Dialect is the receivers'. Default proto.DialectV2.
	Dialect proto.Dialect
	// TextBytes is the length of each text. Default 128; at least TextMin.
	TextBytes int
	// HTTPConns is the number of keep-alive connections for messages. Default
	// 64. In mode Group it also bounds the senders of an open loop.
	HTTPConns int
	// LoginsAtOnce is how many clients log in at a time. Default 64.
	LoginsAtOnce int
	// Loops is the number of event loops. Default 1: a second one on two
	// cores that the server shares cost a quarter more CPU a delivery in window
	// 1 and brought none.
	Loops int
	// Seed makes names and pairs; two runs with one seed share their users.
	// Default 1.
	Seed uint64
	// ServerPID is the server's process, whose CPU time and memory are then
	// reported. 0: not reported.
	ServerPID int
}

// Defaults is a Config that lacks only Routes and Conns, and Rate or Windows.
func Defaults() Config {
	return Config{
		Mode: Group, Via: ViaHTTP,
		Duration: 5 * time.Second, Warmup: 2 * time.Second, Drain: 10 * time.Second,
		Dialect: proto.DialectV2, TextBytes: 128,
		HTTPConns: 64, LoginsAtOnce: 64, Loops: 1, Seed: 1,
	}
}

// Check reports all that is wrong with c, each fault with the value and what
// was wanted.
func (c Config) Check() error {
	return errors.Join(c.checkRoutes(), c.checkLoad(), c.checkConns(), c.checkNumbers())
}

func (c Config) checkRoutes() error {
	if len(c.Routes) == 0 {
		return errors.New("loadgen: no route, want at least one URL")
	}
	var faults []error
	for _, route := range c.Routes {
		u, err := url.Parse(route)
		if err != nil || u.Scheme != "http" || u.Host == "" {
			faults = append(faults, fmt.Errorf("loadgen: route %q, want http://host:port", route))
		}
	}
	return errors.Join(faults...)
}

func (c Config) checkLoad() error {
	var faults []error
	if c.Mode != Group && c.Mode != Private && c.Mode != Idle {
		faults = append(faults, fmt.Errorf("loadgen: mode %q, want %s, %s or %s", c.Mode, Group, Private, Idle))
	}
	if c.Via != ViaHTTP && c.Via != ViaConn {
		faults = append(faults, fmt.Errorf("loadgen: via %q, want %s or %s", c.Via, ViaHTTP, ViaConn))
	}
	if c.Dialect != proto.DialectV2 && c.Dialect != proto.DialectCIM {
		faults = append(faults, fmt.Errorf("loadgen: dialect %d, want v2 or cim", c.Dialect))
	}
	if c.Mode != Idle && (c.Rate > 0) == (len(c.Windows) > 0) {
		faults = append(faults, fmt.Errorf("loadgen: rate %d and windows %v, want one of them", c.Rate, c.Windows))
	}
	for _, w := range c.Windows {
		if w < 1 || w > c.HTTPConns {
			faults = append(faults, fmt.Errorf("loadgen: window %d, want 1 to the HTTP connections, %d", w, c.HTTPConns))
		}
	}
	return errors.Join(faults...)
}

func (c Config) checkConns() error {
	if len(c.Conns) == 0 {
		return errors.New("loadgen: no number of connections, want at least one")
	}
	var faults []error
	for _, n := range c.Conns {
		if least := c.connsMin(); n < least {
			faults = append(faults, fmt.Errorf("loadgen: %d connections, want at least %d for this load", n, least))
		}
	}
	return errors.Join(faults...)
}

// connsMin is the smallest fleet in which every sender has a receiver.
func (c Config) connsMin() int {
	senders := 1
	for _, w := range c.Windows {
		senders = max(senders, w)
	}
	switch {
	case c.Mode == Idle:
		return 1
	case c.Mode == Private && c.Via == ViaConn:
		return 2 * senders
	}
	return max(2, senders)
}

func (c Config) checkNumbers() error {
	var faults []error
	want := func(name string, value, least, most int64) {
		if value < least || value > most {
			faults = append(faults, fmt.Errorf("loadgen: %s %d, want %d to %d", name, value, least, most))
		}
	}
	want("rate", int64(c.Rate), 0, 1_000_000)
	want("text bytes", int64(c.TextBytes), TextMin, proto.TextMax)
	want("HTTP connections", int64(c.HTTPConns), 1, 1024)
	want("logins at once", int64(c.LoginsAtOnce), 1, 1024)
	want("loops", int64(c.Loops), 1, 64)
	want("duration in ms", c.Duration.Milliseconds(), 1, time.Hour.Milliseconds())
	want("warmup in ms", c.Warmup.Milliseconds(), 0, time.Hour.Milliseconds())
	want("drain in ms", c.Drain.Milliseconds(), 1, time.Hour.Milliseconds())
	want("server pid", int64(c.ServerPID), 0, 1<<22)
	return errors.Join(faults...)
}
