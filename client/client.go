// Package client is a client of cim: it registers a name, logs in, keeps the
// long connection up, sends private and group messages and brings what
// arrives, in order, to one function.
//
// A Client owns four kinds of goroutine: one that logs in and reads the
// connection, one that pings while a connection lasts, one that finds a new
// server when the present one asks to be left, and one that calls the user's
// functions. It speaks our dialect where the route knows it, and v2
// with a route and a server of the original, where it sends over HTTP.
//
// It never sends a message twice: if the connection ends before a message's
// outcome has come, the caller is told that it is unknown. Nor does it bring
// one twice: a text has an id by which a second arrival is known, over whatever
// connection it comes.
package client

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"sync"
	"sync/atomic"
	"time"

	"cim/proto"
)

// Config is what a client is told.
type Config struct {
	// Routes are the base URLs of one or more routes, as
	// http://127.0.0.1:8083. When one fails the next is asked.
	Routes []string
	// Name is the user's: registered if it is new, logged in with if it is
	// known. See proto.CheckUserName.
	Name string
	// OnMessage is called with each message that arrives, in their order, and
	// OnState with each change of state; never both at once. Either may be
	// nil. They may send, but must not call Close. While they take their time
	// up to eventsMax events wait; then the connection is not read. What has
	// arrived before Close is still brought.
	OnMessage func(Message)
	OnState   func(State, error)
	// Log may be nil.
	Log *slog.Logger
}

// Check reports all that is wrong with c, each fault with its value and what
// was wanted.
func (c Config) Check() error {
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
	if err := proto.CheckUserName(c.Name); err != nil {
		faults = append(faults, fmt.Errorf("name: %w", err))
	}
	return errors.Join(faults...)
}

// Message is one text that arrived.
type Message struct {
	Sender  proto.User
	Text    string
	Offline bool // it was stored while the user was away
}

// State is what a client is doing.
type State uint8

// The states. A client that Dial returned is ready.
const (
	StateReady        State = iota + 1 // logged in
	StateReconnecting                  // the connection was lost; logging in again
	StateClosed                        // ended by itself, the error tells why; not told after Close
)

// String is the state's name.
func (s State) String() string {
	switch s {
	case StateReady:
		return "ready"
	case StateReconnecting:
		return "reconnecting"
	case StateClosed:
		return "closed"
	}
	return fmt.Sprintf("state %d", s)
}

var (
	// ErrNotConnected refuses to send: the connection is down, and being
	// brought up again. Nothing was sent.
	ErrNotConnected = errors.New("client: not connected")
	// ErrUnknown is the fate of a message whose connection ended before its
	// outcome came: it may have been delivered or not.
	ErrUnknown = errors.New("client: the connection ended before the outcome came, which is unknown")
	// ErrClosed refuses what is asked after the end.
	ErrClosed = errors.New("client: closed")
)

// Refusal is the answer of a route that does not do what it was asked.
type Refusal struct {
	Path    string
	Code    proto.Code
	Message string
}

func (r *Refusal) Error() string {
	return fmt.Sprintf("client: %s: code %s: %s", r.Path, r.Code, r.Message)
}

// Ended is what a server said as it ended or refused a session.
type Ended struct{ Reason proto.Reason }

func (e *Ended) Error() string { return "client: the server ended the session: " + e.Reason.String() }

const (
	// eventsMax bounds the messages and changes of state that wait for the
	// user's functions.
	eventsMax = 256
	// goodbyeMax bounds the goodbye of Close.
	goodbyeMax = 5 * time.Second
)

// Client is one user's client. Its methods may be called by any goroutine.
type Client struct {
	config Config
	routes *routes
	user   proto.User
	ctx    context.Context // ends with Close
	stop   context.CancelFunc
	events chan *event   // to deliver; closed by run, or by Dial if it fails
	done   chan struct{} // closed when both have ended

	// Of the goroutine that logs in: run's, or during a move the move's.
	dialect proto.Dialect
	ticket  proto.Ticket // of the last login; it proves that its session is ours

	// Of the goroutine that reads.
	arrivals arrivals

	duplicates atomic.Uint64 // second arrivals that were dropped

	mu      sync.Mutex
	session *session      // nil while there is no connection
	moving  chan struct{} // closed when what is sent need not wait any more; nil: it need not
	err     error         // why the client ended by itself
}

// event is a message, or a change of state if state is not 0.
type event struct {
	message Message
	state   State
	why     error
}

// Dial registers the name and logs in, at each route in turn until one does
// it. ctx bounds this and nothing after it.
func Dial(ctx context.Context, config Config) (*Client, error) {
	if err := config.Check(); err != nil {
		return nil, fmt.Errorf("client: %w", err)
	}
	if config.Log == nil {
		config.Log = slog.New(slog.DiscardHandler)
	}
	c := &Client{
		config: config, routes: newRoutes(config.Routes),
		events: make(chan *event, eventsMax), done: make(chan struct{}),
	}
	c.ctx, c.stop = context.WithCancel(context.Background())
	go c.deliver()
	first, err := c.dial(ctx)
	if err != nil {
		close(c.events)
		<-c.done
		c.stop()
		c.routes.rest()
		return nil, err
	}
	c.setSession(first)
	go c.run(first)
	return c, nil
}

// dial gives each route one chance.
func (c *Client) dial(ctx context.Context) (*session, error) {
	var faults []error
	for range c.config.Routes {
		var s *session
		user, err := c.routes.register(ctx, c.config.Name)
		if err == nil {
			c.user = user
			s, err = c.logIn(ctx)
		}
		if err == nil {
			return s, nil
		}
		faults = append(faults, err)
		if final(err) || ctx.Err() != nil {
			break
		}
		c.routes.turn()
	}
	return nil, errors.Join(faults...)
}

// User is who is logged in.
func (c *Client) User() proto.User { return c.user }

// Online lists the users who are connected.
func (c *Client) Online(ctx context.Context) ([]proto.User, error) { return c.routes.online(ctx) }

// Duplicates counts the texts that came a second time and were dropped.
func (c *Client) Duplicates() uint64 { return c.duplicates.Load() }

// Done is closed after the end.
func (c *Client) Done() <-chan struct{} { return c.done }

// Err tells why the client ended by itself, or nil.
func (c *Client) Err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err
}

// Close ends the connection and says goodbye, so that the user is offline at
// once. It returns when no goroutine of the client runs any more; the error is
// that the goodbye did not reach a route.
func (c *Client) Close(ctx context.Context) error {
	c.stop()
	<-c.done
	defer c.routes.rest()
	if c.Err() != nil {
		return nil // the user may have a session elsewhere by now
	}
	ctx, cancel := context.WithTimeout(ctx, goodbyeMax)
	defer cancel()
	return c.routes.goodbye(ctx, c.user.ID, c.ticket)
}

// deliver calls the user's functions until events is closed.
func (c *Client) deliver() {
	defer close(c.done)
	for e := range c.events {
		switch {
		case e.state == 0 && c.config.OnMessage != nil:
			c.config.OnMessage(e.message)
		case e.state != 0 && c.config.OnState != nil:
			c.config.OnState(e.state, e.why)
		}
	}
}

// tell queues an event. It waits while eventsMax of them wait, or until Close.
func (c *Client) tell(e event) {
	select {
	case c.events <- &e:
	case <-c.ctx.Done():
	}
}
