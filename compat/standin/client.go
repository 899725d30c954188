package standin

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"strings"
	"sync"
	"time"
)

// The habits of a client; see ClientConfig.Haste.
const (
	pingAfter  = 10 * time.Second // without a write
	fetchAfter = 5 * time.Second  // once, after the start
	pauseMin   = 3 * time.Second  // before the first login again
	pauseMax   = 9 * time.Second
	againAfter = 10 * time.Second // between logins that fail
)

// ClientConfig is what a client of the original is told.
type ClientConfig struct {
	RouteURL string // may be changed by SetRoute
	UserName string
	// Haste divides all its pauses; 0: 1.
	Haste int
	// Receive is called with each text, on the connection's goroutine; sender is
	// the property, "" if there is none. May be nil.
	Receive func(sender, text string, offline bool)
	// Ended is told why the client has ended for good, or nil.
	Ended func(error)
}

// ErrRepeat ends a client that was refused as a repeated login while it came
// back.
var ErrRepeat = errors.New("original: refused as a repeated login")

// BrokenError says that a frame came on which the original breaks.
type BrokenError struct{ what string }

func (e *BrokenError) Error() string { return "original: the client breaks: " + e.what }

// Client is a client of the original.
type Client struct {
	config ClientConfig
	caller *caller
	id     int64

	stop    context.CancelFunc
	ctx     context.Context
	running sync.WaitGroup

	mu     sync.Mutex
	route  string
	server place
	logins int
	broken error
}

// NewClient registers a user and returns his client, which is not logged in.
func NewClient(ctx context.Context, config ClientConfig) (*Client, error) {
	config.Haste = max(config.Haste, 1)
	own, stop := context.WithCancel(context.WithoutCancel(ctx))
	c := &Client{config: config, caller: newCaller(), route: config.RouteURL, stop: stop, ctx: own}
	var user account
	code, err := c.caller.post(ctx, c.url("/registerAccount"), account{UserName: config.UserName}, &user)
	if err != nil || code != CodeSuccess {
		stop()
		return nil, fmt.Errorf("original: register %s: code %s: %w", config.UserName, code, err)
	}
	c.id = user.UserID
	return c, nil
}

// ID is the user's.
func (c *Client) ID() int64 { return c.id }

// SetRoute points it to another route, as a name in front of them would.
func (c *Client) SetRoute(url string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.route = url
}

func (c *Client) url(path string) string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.route + path
}

// Server is the cim port of the server that it logged in at last.
func (c *Client) Server() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return fmt.Sprintf("%s:%d", c.server.IP, c.server.CIMServerPort)
}

// Logins is how often it has logged in.
func (c *Client) Logins() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.logins
}

// Broken is why it has broken, or nil.
func (c *Client) Broken() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.broken
}

func (c *Client) pause(d time.Duration) time.Duration { return d / time.Duration(c.config.Haste) }

// Start logs in and keeps the connection from then on.
func (c *Client) Start(ctx context.Context) error {
	conn, err := c.login(ctx)
	if err != nil {
		return err
	}
	c.running.Go(func() { c.keep(conn) })
	c.running.Go(func() {
		if c.sleep(c.pause(fetchAfter)) {
			_, _ = c.Fetch(c.ctx) // nobody looks
		}
	})
	return nil
}

// login gets a place of the route and logs in there. It gets no answer.
func (c *Client) login(ctx context.Context) (net.Conn, error) {
	var at place
	code, err := c.caller.post(ctx, c.url("/login"), account{c.id, c.config.UserName}, &at)
	switch {
	case err != nil:
		return nil, err
	case code == CodeRepeat:
		return nil, ErrRepeat
	case code != CodeSuccess:
		return nil, fmt.Errorf("original: login: code %s", code)
	}
	conn, err := net.DialTimeout("tcp", fmt.Sprintf("%s:%d", at.IP, at.CIMServerPort), requestMax)
	if err != nil {
		return nil, fmt.Errorf("original: connect: %w", err)
	}
	if _, err := conn.Write(frame{text: c.config.UserName, id: c.id, cmd: cmdLogin}.append(nil)); err != nil {
		conn.Close()
		return nil, fmt.Errorf("original: login frame: %w", err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.server, c.logins = at, c.logins+1
	return conn, nil
}

// keep serves connections until the client ends.
func (c *Client) keep(conn net.Conn) {
	for conn != nil {
		c.serve(conn)
		conn = c.comeBack()
	}
}

// serve reads one connection to its end, and pings.
func (c *Client) serve(conn net.Conn) {
	closed := context.AfterFunc(c.ctx, func() { conn.Close() })
	defer closed()
	defer conn.Close()
	ended := make(chan struct{})
	defer close(ended)
	c.running.Go(func() { c.ping(conn, ended) })
	reader := bufio.NewReader(conn)
	for {
		f, err := readFrame(reader)
		if err != nil || c.take(f) != nil {
			return
		}
	}
}

func (c *Client) ping(conn net.Conn, ended <-chan struct{}) {
	every := time.NewTicker(c.pause(pingAfter))
	defer every.Stop()
	for {
		select {
		case <-every.C:
			if _, err := conn.Write(frame{text: "ping", id: c.id, cmd: cmdPing}.append(nil)); err != nil {
				return
			}
		case <-ended:
			return
		}
	}
}

// take handles one frame: whatever is no PING is a message for the user that
// its property names.
func (c *Client) take(f frame) error {
	if f.cmd == cmdPing {
		return nil
	}
	if f.cmd != cmdMessage && f.cmd != cmdOffline {
		return c.breaks(fmt.Sprintf("cmd %d", f.cmd))
	}
	receiver, found := f.properties["receiveUserId"]
	if !found {
		return c.breaks("no receiveUserId")
	}
	if receiver != fmt.Sprint(c.id) {
		return c.breaks("a message for " + receiver + ", and I am " + fmt.Sprint(c.id))
	}
	if c.config.Receive != nil {
		for _, text := range f.texts() {
			c.config.Receive(f.properties["sendUserId"], text, f.cmd == cmdOffline)
		}
	}
	return nil
}

func (c *Client) breaks(what string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.broken = &BrokenError{what}
	return c.broken
}

// comeBack says goodbye, waits and logs in until it is in. A refusal as a
// repeated login ends the client.
func (c *Client) comeBack() net.Conn {
	if c.ctx.Err() != nil {
		return nil
	}
	_ = c.OffLine(c.ctx) // nobody looks
	pause := c.pause(pauseMin + rand.N(pauseMax-pauseMin))
	for c.sleep(pause) {
		conn, err := c.login(c.ctx)
		if err == nil {
			return conn
		}
		if errors.Is(err, ErrRepeat) {
			if c.config.Ended != nil {
				c.config.Ended(err)
			}
			return nil
		}
		pause = c.pause(againAfter)
	}
	return nil
}

// sleep reports false if the client ends meanwhile.
func (c *Client) sleep(d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-c.ctx.Done():
		return false
	}
}

// Close says goodbye and ends the client.
func (c *Client) Close() error {
	err := c.OffLine(c.ctx)
	c.stop()
	c.running.Wait()
	c.caller.close()
	return err
}

// OffLine says goodbye.
func (c *Client) OffLine(ctx context.Context) error {
	code, err := c.caller.post(ctx, c.url("/offLine"), goodbye{c.id, "offLine"}, nil)
	if err == nil && code != CodeSuccess {
		err = fmt.Errorf("original: offLine: code %s", code)
	}
	return err
}

// Private sends texts to one user, and returns the code.
func (c *Client) Private(ctx context.Context, receiver int64, texts ...string) (string, error) {
	m := message{UserID: c.id, ReceiveUserID: receiver}
	if len(texts) == 1 {
		m.Msg = &texts[0]
	} else {
		m.BatchMsg = texts
	}
	return c.caller.post(ctx, c.url("/p2pRoute"), m, nil)
}

// Group sends a text to everybody, and returns the code.
func (c *Client) Group(ctx context.Context, text string) (string, error) {
	return c.caller.post(ctx, c.url("/groupRoute"), message{UserID: c.id, Msg: &text}, nil)
}

// Fetch asks for what was stored, and returns the code.
func (c *Client) Fetch(ctx context.Context) (string, error) {
	return c.caller.post(ctx, c.url("/fetchOfflineMsgs"), message{ReceiveUserID: c.id}, nil)
}

// Online returns the names of those who are.
func (c *Client) Online(ctx context.Context) ([]string, error) {
	var users []account
	code, err := c.caller.get(ctx, c.url("/onlineUser"), &users)
	if err == nil && code != CodeSuccess {
		err = fmt.Errorf("original: onlineUser: code %s", code)
	}
	names := make([]string, 0, len(users))
	for _, user := range users {
		names = append(names, strings.Clone(user.UserName))
	}
	return names, err
}
