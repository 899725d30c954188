package client

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"cim/proto"
)

// Message is one text that arrived.
type Message struct {
	ID      proto.TextID // the sender's Result has it too; 0 from a server of the original
	Sender  proto.User
	Text    string
	Offline bool // it was stored while the user was away
	// ToAll: it is a group message. Servers of older releases and of the original do not say so.
	ToAll bool
	// Kept: the server keeps it until the application's function for it has returned, and stores it
	// for the user's next login if that does not happen. Group messages are not kept, and servers
	// of older releases and of the original keep none.
	Kept bool
	// Sent is when it was sent, by the clock of a server or route; the zero time
	// from those that do not say it.
	Sent time.Time
}

// State is what a client is doing.
type State uint8

// The states. A client that Dial returned is ready.
const (
	StateInitialized  State = iota + 1 // not logged in yet
	StateReady                         // logged in
	StateReconnecting                  // the connection was lost; logging in again
	StateClosed                        // ended: by itself, see Err, or by Close, for which OnState is not called
)

// String is the state's name.
func (s State) String() string {
	switch s {
	case StateInitialized:
		return "initialized"
	case StateReady:
		return "ready"
	case StateReconnecting:
		return "reconnecting"
	case StateClosed:
		return "closed"
	}
	return fmt.Sprintf("state %d", s)
}

// ServerInfo is where a user is logged in.
type ServerInfo struct {
	Host     string
	Port     int // of the long connection
	HTTPPort int // of the server's own HTTP API
	// Dialect is what the connection speaks: DialectV2 with a server of the
	// original.
	Dialect proto.Dialect
	// Heartbeat is the silence after which the server closes.
	Heartbeat time.Duration
	// Ack: the session acknowledges texts (Message.Kept), and messages sent over it may be sent
	// again.
	Ack bool
}

// Address is the host and port of the long connection; "" if there is none.
func (s ServerInfo) Address() string {
	if s.Host == "" {
		return ""
	}
	return net.JoinHostPort(s.Host, strconv.Itoa(s.Port))
}

// goodbyeMax bounds the goodbye of Close, and the end after a Dial that failed.
const goodbyeMax = 5 * time.Second

// Client is one user's client. Its methods may be called by any goroutine.
type Client struct {
	config Config
	routes *routes
	user   proto.User
	ctx    context.Context // ends with Close
	stop   context.CancelFunc
	// loginCtx ends with ctx, or when Close no longer waits for a login that is under way.
	loginCtx   context.Context
	stopLogins context.CancelFunc
	inbox      *inbox // closed by run, or by Dial if it fails
	// workers is how many have not ended; the last one closes done.
	workers atomic.Int32
	done    chan struct{}

	// Of the goroutine that logs in: run's, or during a move the move's.
	dialect proto.Dialect
	ticket  proto.Ticket // of the last login; it proves that its session is ours

	duplicates atomic.Uint64 // second arrivals that were dropped
	outbox     outbox

	resending sync.Mutex     // held while messages are written again
	resends   sync.WaitGroup // goroutines that write messages again over a new session

	mu      sync.Mutex
	state   State
	server  ServerInfo    // of the last session
	session *session      // nil while there is no connection
	changed chan struct{} // closed when the session changes; nil: there will be no other session
	moving  chan struct{} // closed when sends may continue; nil: they need not wait
	err     error         // why the client ended, if Close did not end it

	outgoing   []*outgoing   // in the order of their first tries; <= outcomesMax
	resendsDue int           // of them that are to be written again
	resent     chan struct{} // closed when one of them has been written again; nil: no goroutine waits for that
}

// Dial registers the name, if it is given no id, and logs in, at each route in
// turn until one does it. ctx bounds this and nothing after it.
func Dial(ctx context.Context, config Config) (*Client, error) {
	if err := config.Check(); err != nil {
		return nil, fmt.Errorf("client: %w", err)
	}
	c := newClient(config)
	// What arrives before the login may find no reader.
	stop := context.AfterFunc(ctx, c.inbox.abandon)
	first, err := c.dial(ctx)
	if taken := stop(); err == nil && !taken {
		first.end()
		err = fmt.Errorf("client: log in: %w", context.Cause(ctx))
	}
	if err != nil {
		c.giveUp(ctx)
		return nil, err
	}
	c.setSession(first)
	go c.run(first)
	return c, nil
}

// giveUp ends a client that has not logged in.
func (c *Client) giveUp(ctx context.Context) {
	c.inbox.close()
	ctx, cancel := context.WithTimeout(ctx, goodbyeMax)
	defer cancel()
	_ = c.awaitEnd(ctx) // Dial's error says more
	c.stop()
	c.routes.rest()
}

// newClient starts a client's workers.
func newClient(config Config) *Client {
	if config.Log == nil {
		config.Log = slog.New(slog.DiscardHandler)
	}
	c := &Client{
		config: config, routes: newRoutes(config.Routes, config.Token), user: proto.User{ID: config.UserID, Name: config.Name},
		inbox: newInbox(), outbox: outbox{closing: make(chan struct{})}, done: make(chan struct{}), state: StateInitialized,
	}
	c.ctx, c.stop = context.WithCancel(context.Background())
	c.loginCtx, c.stopLogins = context.WithCancel(c.ctx)
	workers := max(config.Workers, 1)
	c.workers.Store(int32(workers))
	for range workers {
		go c.work()
	}
	return c
}

// dial gives each route one chance.
func (c *Client) dial(ctx context.Context) (*session, error) {
	var faults []error
	for range c.config.Routes {
		s, err := c.dialAt(ctx, c.routes.first())
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

func (c *Client) dialAt(ctx context.Context, route *routes) (*session, error) {
	if c.user.ID == 0 {
		user, err := route.register(ctx, c.config.Name, false)
		if err != nil {
			return nil, err
		}
		c.user = user
	}
	return c.logIn(ctx, route)
}

// User is the user that is logged in.
func (c *Client) User() proto.User { return c.user }

// State is what the client is doing.
func (c *Client) State() State {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ctx.Err() != nil {
		return StateClosed
	}
	return c.state
}

// Server is where the user is logged in, or was last.
func (c *Client) Server() ServerInfo {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.server
}

// Online lists the connected users.
func (c *Client) Online(ctx context.Context) ([]proto.User, error) {
	users, err := c.routes.online(ctx)
	if err != nil {
		return nil, err
	}
	// The route learns of a new session a moment after its client.
	if c.State() == StateReady && !slices.Contains(users, c.user) {
		users = append(users, c.user)
	}
	return users, nil
}

// Find returns the user called name. The error is ErrNoSuchUser if there is
// none. A route of the original registers such a name, as Register does.
func (c *Client) Find(ctx context.Context, name string) (proto.User, error) {
	return c.routes.account(ctx, name, true)
}

// Register returns the user called name, and makes an account if there is none.
func (c *Client) Register(ctx context.Context, name string) (proto.User, error) {
	return c.routes.account(ctx, name, false)
}

// Duplicates counts the texts that came a second time and were dropped.
func (c *Client) Duplicates() uint64 { return c.duplicates.Load() }

// Done is closed after the end.
func (c *Client) Done() <-chan struct{} { return c.done }

// Err is why the client ended by itself, or nil.
func (c *Client) Err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err
}

// Close refuses further sends, waits for the outcomes that are due, lets the functions for received
// messages return, acknowledges those messages, and logs the user out. Messages that arrive
// meanwhile and that the server keeps are left to the server, for the next login; others that it
// has sent by then are read and handled. Close returns when all of that is done and all goroutines
// of the client have ended, or when ctx ends. The error says what was not done: outcomes that did
// not arrive, messages that were not taken, a function that still runs, a goodbye that reached no
// route.
func (c *Client) Close(ctx context.Context) error {
	late := c.outbox.flush(ctx, c.done)
	c.acknowledge(ctx)
	said := c.leave(ctx)
	c.stop()
	late = errors.Join(late, c.awaitEnd(ctx))
	defer c.routes.rest()
	if c.Err() != nil {
		return late // the user may have a session elsewhere by now
	}
	ctx, cancel := context.WithTimeout(ctx, goodbyeMax)
	defer cancel()
	return errors.Join(late, c.goodbye(ctx, said))
}

// acknowledge waits until all received messages have been handled, and acknowledges them. Messages
// that the server sends afterwards are left to it: they are stored when the session ends.
func (c *Client) acknowledge(ctx context.Context) {
	s, _ := c.currentSession()
	if s == nil || s.acks == nil {
		return
	}
	select {
	case <-c.inbox.leave():
	case <-c.done:
	case <-ctx.Done():
	}
	if s, _ := c.currentSession(); s != nil {
		s.acknowledgeAndWait(ctx)
	}
}

// leave says goodbye while there is a connection, and waits until the server has ended it: closing
// it here could lose messages that the server has sent and the client has not read. If a login is
// under way, for a move or after a loss, leave waits for it, and then ends its connection too. It
// returns the last ticket with which a route accepted the goodbye. A server of the original ends
// nothing.
func (c *Client) leave(ctx context.Context) (said proto.Ticket) {
	looking := time.AfterFunc(leaveMax, c.stopLogins)
	defer looking.Stop()
	for {
		s, changed := c.currentSession()
		if changed == nil || s != nil && s.dialect != proto.DialectCIM {
			return said
		}
		if s != nil {
			if c.sayGoodbye(ctx, s.ticket) != nil {
				return said // it is said again after the end, and that error counts
			}
			said = s.ticket
			// The connection may have ended already, as intended.
			_ = s.frames.readRest(leaveMax)
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return said
		}
	}
}

// sayGoodbye has leaveMax for it.
func (c *Client) sayGoodbye(ctx context.Context, shown proto.Ticket) error {
	ctx, cancel := context.WithTimeout(ctx, leaveMax)
	defer cancel()
	return c.routes.goodbye(ctx, c.user.ID, shown)
}

// currentSession is the session that is sent over, nil if there is none, and what is
// closed when that changes, nil if it will not.
func (c *Client) currentSession() (*session, <-chan struct{}) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.session, c.changed
}

// awaitEnd waits until the workers have ended.
func (c *Client) awaitEnd(ctx context.Context) error {
	select {
	case <-c.done:
		return nil
	case <-ctx.Done():
	}
	c.inbox.abandon()
	return fmt.Errorf("client: close: what arrived was not taken, %d messages at least: %w", c.inbox.losses(), ctx.Err())
}

// goodbye says goodbye with the ticket of the last login, unless leave did. After done no other
// login follows.
func (c *Client) goodbye(ctx context.Context, said proto.Ticket) error {
	select {
	case <-c.done:
		if !said.IsZero() && said == c.ticket {
			return nil
		}
		return c.routes.goodbye(ctx, c.user.ID, c.ticket)
	default:
		return nil // the server misses the user soon
	}
}
