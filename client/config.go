package client

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/url"
	"slices"
	"strings"
	"time"

	"cim/proto"
)

// Config holds a client's settings. Only Routes and Name are required.
type Config struct {
	// Routes are the base URLs of one or more routes, as
	// http://127.0.0.1:8083. When one fails the next is asked.
	Routes []string
	// Name is the user's. See proto.CheckUserName, and for a new
	// account proto.CheckNewName.
	Name string
	// UserID is the id of Name's account. 0: the client looks it up, and registers a new name.
	UserID proto.UserID
	// Token gives the bearer token that routes with --auth check or require ask
	// for. nil: none is shown.
	Token TokenSource

	// OnMessage is called with each message that arrives, or Messages receives it, or Accept is
	// called with it and may refuse it: at most one of the three is set. Functions may send, but
	// must not call Close. The client never closes Messages.
	//
	// A message that the server keeps (Message.Kept) is acknowledged once the function has
	// returned, or Messages has taken it, and the same holds for all messages before it. If it is
	// not acknowledged when the session ends, it is stored and arrives again.
	OnMessage func(Message)
	Messages  chan<- Message
	// Accept returns false for a message that must arrive again, for example one that could not be
	// written down. It is not acknowledged then, and no other kept message is passed; the
	// application should Close the client.
	Accept func(Message) bool
	// Seen reports whether an earlier process of the application has handled a text; the text is
	// then dropped and acknowledged. It is called before each message that has an id, by the
	// goroutine that handles the message. Sender and id together identify a text, not the id alone.
	// nil: the client knows only the texts that arrived since Dial.
	Seen func(sender proto.UserID, id proto.TextID) bool
	// OnState is called with each change of state after Dial, in their order.
	// With one worker it stands in one order with the messages.
	OnState func(State, error)
	// OnLeftOut is called with the number of group messages that the server has left out because
	// this client reads too slowly: once for all that are missing before the next message. With one
	// worker it is ordered with the messages. Private messages are never left out.
	OnLeftOut func(texts uint64)
	// Workers is how many of these functions run at once, 1 if it is 0. The
	// messages of one sender never overtake each other.
	Workers int

	// Heartbeat is the pause between pings. 0 is a third of what the server
	// says, which it is at most.
	Heartbeat time.Duration
	// Retries bounds the logins that are tried after a lost connection. 0: no
	// bound.
	Retries int
	// Backoff says how long to wait before each of them; nil: a random time
	// below 1 s, then below twice as much each time, up to 15 s.
	Backoff Backoff
	// Reconnect is called before each of these logins, and decides whether to try. why is the error
	// that ended the connection or the try before. nil: always. It is not called if a login is
	// useless, for example after a login elsewhere.
	Reconnect func(attempt int, why error) bool

	// Events is called with each Event, for logs and metrics. Any of the client's goroutines calls
	// it, and it must return at once. nil: none.
	Events func(Event)
	// Log may be nil.
	Log *slog.Logger
}

// TokenSource returns a token to show to a route. Any of the client's goroutines calls it, for each
// request, so that each login has a fresh token. The issuer decides how long tokens live. It must
// return when ctx ends. After an error the request is not sent.
type TokenSource func(ctx context.Context) (string, error)

// workersMax bounds the workers of one client.
const workersMax = 256

// heartbeatMin is the shortest pause between pings.
const heartbeatMin = 10 * time.Millisecond

// Check reports all faults of c, each with its value and the allowed ones.
func (c Config) Check() error {
	faults := []error{c.checkRoutes(), c.checkNumbers()}
	if err := proto.CheckNameSpelling(c.Name); err != nil {
		faults = append(faults, fmt.Errorf("name: %w", err))
	}
	if set := c.receivers(); len(set) > 1 {
		faults = append(faults, fmt.Errorf("%s are set, want at most one of them", strings.Join(set, " and ")))
	}
	return errors.Join(faults...)
}

// receivers names the fields that messages are passed to.
func (c Config) receivers() (set []string) {
	for name, is := range map[string]bool{"OnMessage": c.OnMessage != nil, "Messages": c.Messages != nil, "Accept": c.Accept != nil} {
		if is {
			set = append(set, name)
		}
	}
	slices.Sort(set)
	return set
}

func (c Config) checkRoutes() error {
	var faults []error
	if len(c.Routes) == 0 {
		faults = append(faults, errors.New("route: there is none, want at least one URL"))
	}
	for _, route := range c.Routes {
		u, err := url.Parse(route)
		if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
			faults = append(faults, fmt.Errorf("route %q is not a URL as http://host:port", route))
		}
	}
	return errors.Join(faults...)
}

func (c Config) checkNumbers() error {
	var faults []error
	if c.UserID < 0 {
		faults = append(faults, fmt.Errorf("user id %d is negative, want an account's, or 0", c.UserID))
	}
	if c.Workers < 0 || c.Workers > workersMax {
		faults = append(faults, fmt.Errorf("%d workers, want 0 to %d", c.Workers, workersMax))
	}
	if c.Heartbeat != 0 && c.Heartbeat < heartbeatMin {
		faults = append(faults, fmt.Errorf("heartbeat %v, want 0, or at least %v", c.Heartbeat, heartbeatMin))
	}
	if c.Retries < 0 {
		faults = append(faults, fmt.Errorf("%d retries, want 0 or more", c.Retries))
	}
	return errors.Join(faults...)
}

// Backoff says how long to wait before a login is tried again. attempt is 1
// first, one more each time, and 1 again once a connection has lasted for a
// while. It is asked by one goroutine at a time.
type Backoff interface {
	Pause(attempt int) time.Duration
}

// The pauses before a login is tried again: a random time up to pauseMin, then
// up to twice as much each time, up to pauseMax. So the clients of a server
// that went down do not come back at once.
const (
	pauseMin = time.Second
	pauseMax = 15 * time.Second
)

// pause is how long to wait before attempt.
func (c Config) pause(attempt int) time.Duration {
	if c.Backoff != nil {
		return c.Backoff.Pause(attempt)
	}
	return rand.N(longest(attempt))
}

// longest is what the pause before attempt is less than.
func longest(attempt int) time.Duration {
	const doublings = 4 // past pauseMax
	return min(pauseMin<<min(attempt-1, doublings), pauseMax)
}
