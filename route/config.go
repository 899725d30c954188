package route

import (
	"errors"
	"fmt"
	"net"
	"time"

	"cim/internal/admission"
	"cim/internal/httpserve"
	"cim/proto"
	"cim/route/access"
)

// ServerChoice is how a login's server is picked among the live ones.
type ServerChoice string

// The choices.
const (
	ChoiceHash       ServerChoice = "hash"        // by a consistent hash of the user's id
	ChoiceRoundRobin ServerChoice = "round-robin" // the next one in the order of their names
	ChoiceRandom     ServerChoice = "random"
)

// RepeatLogin says how to treat a login whose user has a live session.
type RepeatLogin string

// The ways.
const (
	RepeatRefuse  RepeatLogin = "refuse"  // code 5000, unless the last ticket is shown
	RepeatReplace RepeatLogin = "replace" // the newest wins, but never over an old client's session
)

// LoginAddress says where an old client, which shows no ticket when it connects, must connect from.
type LoginAddress string

// The addresses.
const (
	// LoginAddressAuto is LoginAddressSame with access.Require, and otherwise
	// while others try to get the session.
	LoginAddressAuto LoginAddress = "auto"
	LoginAddressSame LoginAddress = "same" // the address of its login over HTTP
	LoginAddressAny  LoginAddress = "any"  // where addresses are translated on one of the two ways
)

// Config holds the settings of a route.
type Config struct {
	// Bind is the address to listen on, without a port: an IP address or a host name. Default
	// 127.0.0.1, since by default the route checks no credentials.
	Bind string
	// Port is the port to listen on, 0 to 65535; 0 takes a free one. Default
	// 8083, the contract's.
	Port int
	// ServerChoice picks a login's server. Default hash, as in the contract: a
	// user comes back to the same server while it lives.
	ServerChoice ServerChoice
	// RepeatLogin decides about a second login of one user. Default refuse,
	// as in the contract.
	RepeatLogin RepeatLogin
	// LoginAddress is where an old client must connect from, which shows no ticket. Default LoginAddressAuto.
	LoginAddress LoginAddress
	// HTTPConnsMax bounds the HTTP connections that are open at once, 1 to
	// 100000. The next one takes the place of an idle one, or is answered 429 and
	// closed. Default 4096: about 20 MB of stacks and small buffers, and well
	// below the descriptor limit that the sessions of a server in the same process
	// need.
	HTTPConnsMax int
	// HTTPIdle is how long an HTTP connection may wait for its next request,
	// httpserve.IdleTimeoutMin to httpserve.IdleTimeoutMax. Default
	// httpserve.IdleTimeoutDefault.
	HTTPIdle time.Duration
	// OnlineAge is how old the list of /onlineUser may be, 0 to a minute: making
	// one costs time for each session, and asking for it a stranger next to
	// nothing. 0 makes one for each request. Default 1 s.
	OnlineAge time.Duration
	// Addresses divides the places of a full port among the addresses that
	// connections come from. Default admission.DefaultPolicy.
	Addresses admission.Policy
	// Access says which callers may make which requests. Default access.DefaultConfig: no
	// credential is needed.
	Access access.Config
}

// onlineAgeMax bounds OnlineAge.
const onlineAgeMax = time.Minute

// httpConnsLimit keeps HTTPConnsMax below what any descriptor limit allows.
const httpConnsLimit = 100_000

// DefaultConfig returns the defaults.
func DefaultConfig() Config {
	return Config{
		Bind:         "127.0.0.1",
		Port:         8083,
		ServerChoice: ChoiceHash,
		RepeatLogin:  RepeatRefuse,
		LoginAddress: LoginAddressAuto,
		HTTPConnsMax: 4096,
		HTTPIdle:     httpserve.IdleTimeoutDefault,
		OnlineAge:    time.Second,
		Addresses:    admission.DefaultPolicy(),
		Access:       access.DefaultConfig(),
	}
}

// Check reports all faults of c, each with its value and the allowed ones.
func (c Config) Check() error {
	return errors.Join(c.checkAddress(), c.checkLogin(), c.checkBounds(), c.Access.Check())
}

func (c Config) checkAddress() error {
	var faults []error
	if c.Bind == "" {
		faults = append(faults, fmt.Errorf("route: bind %q, want an address to listen on", c.Bind))
	}
	if c.Port < 0 || c.Port > 65535 {
		faults = append(faults, fmt.Errorf("route: port %d, want 0 to 65535", c.Port))
	}
	return errors.Join(faults...)
}

func (c Config) checkLogin() error {
	var faults []error
	switch c.ServerChoice {
	case ChoiceHash, ChoiceRoundRobin, ChoiceRandom:
	default:
		faults = append(faults, fmt.Errorf("route: server choice %q, want %s, %s or %s",
			c.ServerChoice, ChoiceHash, ChoiceRoundRobin, ChoiceRandom))
	}
	switch c.RepeatLogin {
	case RepeatRefuse, RepeatReplace:
	default:
		faults = append(faults, fmt.Errorf("route: repeat login %q, want %s or %s",
			c.RepeatLogin, RepeatRefuse, RepeatReplace))
	}
	switch c.LoginAddress {
	case LoginAddressAuto, LoginAddressSame, LoginAddressAny:
	default:
		faults = append(faults, fmt.Errorf("route: login address %q, want %s, %s or %s",
			c.LoginAddress, LoginAddressAuto, LoginAddressSame, LoginAddressAny))
	}
	return errors.Join(faults...)
}

// addressRule is LoginAddress as servers get it.
func (c Config) addressRule() proto.AddressRule {
	switch {
	case c.LoginAddress == LoginAddressAny:
		return proto.AddressAny
	case c.LoginAddress == LoginAddressSame, c.Access.Mode == access.Require:
		return proto.AddressSame
	}
	return proto.AddressAuto
}

func (c Config) checkBounds() error {
	var faults []error
	if err := c.Addresses.Check(); err != nil {
		faults = append(faults, fmt.Errorf("route: %w", err))
	}
	if err := httpserve.CheckIdleTimeout(c.HTTPIdle); err != nil {
		faults = append(faults, fmt.Errorf("route: %w", err))
	}
	if c.OnlineAge < 0 || c.OnlineAge > onlineAgeMax {
		faults = append(faults, fmt.Errorf("route: age of the list of online users %v, want 0 to %v", c.OnlineAge, onlineAgeMax))
	}
	if c.HTTPConnsMax < 1 || c.HTTPConnsMax > httpConnsLimit {
		faults = append(faults, fmt.Errorf("route: HTTP connections %d, want 1 to %d", c.HTTPConnsMax, httpConnsLimit))
	}
	return errors.Join(faults...)
}

func (c Config) address() string { return net.JoinHostPort(c.Bind, fmt.Sprint(c.Port)) }
