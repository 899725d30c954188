package loadgen

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"cim/proto"
)

// fleet is the clients of one run of logins.
type fleet struct {
	cfg     Config
	clock   *clock
	faults  *faults
	clients []*client
	lanes   []*lane
	callers [][]*caller   // for logins: of each worker one for each route
	retries atomic.Int64  // logins that were refused for the moment
	ended   chan struct{} // capacity 1, of the lanes

	loginTime time.Duration // from the first request to the last pong
	rssBefore []int64       // of each process under test before the logins, in bytes

	stopPings context.CancelFunc
	pings     sync.WaitGroup
}

// openFleet registers and logs in conns clients. number tells the fleets of a
// process apart. The caller closes it.
func openFleet(ctx context.Context, cfg Config, number, conns int, faults *faults, progress io.Writer) (*fleet, error) {
	f := &fleet{cfg: cfg, faults: faults, ended: make(chan struct{}, 1), stopPings: func() {}}
	if err := f.open(ctx, number, conns, progress); err != nil {
		return nil, errors.Join(err, f.close())
	}
	return f, nil
}

func (f *fleet) open(ctx context.Context, number, conns int, progress io.Writer) (err error) {
	if f.clock, err = newClock(); err != nil {
		return err
	}
	for range f.cfg.Loops {
		l, err := newLane(f.clock, f.faults, f.ended)
		if err != nil {
			return err
		}
		f.lanes = append(f.lanes, l)
	}
	for range f.cfg.LoginsAtOnce {
		callers, err := newCallers(f.cfg.Routes, f.cfg.Drain)
		if err != nil {
			return err
		}
		f.callers = append(f.callers, callers)
	}
	f.makeClients(number, conns)
	say(progress, "registering %d users", conns)
	if err := inParallel(ctx, f.cfg.LoginsAtOnce, conns, f.register); err != nil {
		return err
	}
	if err := f.logInAll(ctx); err != nil {
		return err
	}
	f.closeCallers() // they would keep a route's connections from others
	say(progress, "%d logins in %.2f s, %d refused for the moment and tried again", conns, f.loginTime.Seconds(), f.retries.Load())
	f.startPings()
	return nil
}

func say(w io.Writer, format string, args ...any) {
	// Progress is for a human who watches; one who has gone misses nothing.
	_, _ = fmt.Fprintf(w, format+"\n", args...)
}

func (f *fleet) makeClients(number, conns int) {
	prefix := "load-" + strconv.FormatUint(f.cfg.Seed, 16) + "-" + strconv.Itoa(number) + "-"
	talkers := f.cfg.talkers(conns)
	f.clients = make([]*client, conns)
	for i := range f.clients {
		dialect := f.cfg.Dialect
		if i < talkers {
			dialect = proto.DialectCIM
		}
		f.clients[i] = &client{
			index: i, route: i % len(f.cfg.Routes), dialect: dialect, lane: f.lanes[i%len(f.lanes)],
			user:     proto.User{Name: prefix + strconv.Itoa(i)},
			loggedIn: make(chan error, 1),
		}
	}
}

// talkers is how many clients, from the first on, must speak our dialect since
// they send over their own connections.
func (c Config) talkers(conns int) int {
	if c.Mode == Idle || c.Via != ViaConn {
		return 0
	}
	most := 0
	for _, window := range c.windows() {
		most = max(most, c.senders(conns, window))
	}
	return most
}

func (f *fleet) register(_ context.Context, worker, i int) error {
	c := f.clients[i]
	var user proto.UserBody
	body := proto.Body(proto.RegisterRequest{UserName: c.user.Name})
	if err := f.callers[worker][c.route].ask(proto.PathRegister, body, &user); err != nil {
		return fmt.Errorf("loadgen: register %s: %w", c.user.Name, err)
	}
	c.user.ID = user.UserID
	c.tail = deliveryTail(user.UserID)
	return nil
}

func (f *fleet) logInAll(ctx context.Context) error {
	var err error
	if f.rssBefore, err = memoryOf(f.cfg.ServerPIDs); err != nil {
		return err
	}
	begin := f.clock.now()
	if err := inParallel(ctx, f.cfg.LoginsAtOnce, len(f.clients), f.logIn); err != nil {
		return err
	}
	f.loginTime = time.Duration(f.clock.now() - begin)
	return nil
}

func (f *fleet) logIn(ctx context.Context, worker, i int) error {
	c := f.clients[i]
	ctx, cancel := context.WithTimeout(ctx, f.cfg.Drain)
	defer cancel()
	if err := f.connect(ctx, c, f.callers[worker][c.route]); err != nil {
		return fmt.Errorf("loadgen: log in %s: %w", c.user.Name, err)
	}
	return nil
}

// connect logs c in and returns at the pong to the PING that it sent right
// behind its login.
func (f *fleet) connect(ctx context.Context, c *client, route *caller) error {
	request := proto.LoginRequest{UserID: proto.Number(c.user.ID), UserName: c.user.Name}
	if c.dialect == proto.DialectCIM {
		request.Client = 1
	}
	place, err := f.askPlace(ctx, route, proto.Body(request))
	if err != nil {
		return err
	}
	ticket, err := proto.ParseTicket(place.Ticket)
	if err != nil {
		return err
	}
	var dialer net.Dialer
	conn, err := dialer.DialContext(ctx, "tcp", net.JoinHostPort(place.IP, strconv.Itoa(place.CIMServerPort)))
	if err != nil {
		return err
	}
	if _, err := conn.Write(c.appendPing(c.appendLogin(nil, ticket))); err != nil {
		return errors.Join(err, conn.Close())
	}
	if err := c.lane.enroll(conn, c); err != nil {
		return err
	}
	select {
	case err := <-c.loggedIn:
		return err
	case <-ctx.Done():
		return fmt.Errorf("no pong: %w", context.Cause(ctx))
	}
}

// loginPauseMin and loginPauseMax bound the pause before a login that was
// refused for the moment is tried again.
const (
	loginPauseMin = 50 * time.Millisecond
	loginPauseMax = time.Second
)

// askPlace asks a route for a place until ctx ends: a cluster that settles, or
// one whose store is away, refuses for the moment, and a user of an earlier run
// may be taken for logged in until its end is known.
func (f *fleet) askPlace(ctx context.Context, route *caller, body string) (place proto.LoginBody, err error) {
	for pause := loginPauseMin; ; pause = min(2*pause, loginPauseMax) {
		err = route.ask(proto.PathLogin, body, &place)
		var refused codeError
		if !errors.As(err, &refused) || !refused.passes() {
			return place, err
		}
		// Those who were refused together do not come back together.
		if f.clock.wait(ctx, f.clock.now()+rand.Int64N(int64(pause))) != nil {
			return place, err
		}
		f.retries.Add(1)
	}
}

// pingEvery is the silence after which a client of the original pings.
const pingEvery = 10 * time.Second

// startPings lets every client ping once in pingEvery, spread evenly.
func (f *fleet) startPings() {
	ctx, cancel := context.WithCancel(context.Background())
	f.stopPings = cancel
	f.pings.Go(func() { f.ping(ctx) })
}

func (f *fleet) ping(ctx context.Context) {
	const step = 10 * time.Millisecond
	ticker := time.NewTicker(step)
	defer ticker.Stop()
	begin := f.clock.now()
	for sent := 0; ; {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		due := int((f.clock.now() - begin) * int64(len(f.clients)) / int64(pingEvery))
		for ; sent < due; sent++ {
			f.pingOne(f.clients[sent%len(f.clients)])
		}
	}
}

func (f *fleet) pingOne(c *client) {
	// One whose connection is lost has been named already.
	if err := c.write(c.appendPing(nil)); err != nil && !errors.Is(err, errClosed) {
		f.faults.add("client %d: ping: %v", c.index, err)
	}
}

// close ends all connections and loops.
func (f *fleet) close() error {
	f.stopPings()
	f.pings.Wait()
	f.closeCallers()
	return stopAll(f.lanes)
}

func (f *fleet) closeCallers() {
	for _, callers := range f.callers {
		closeCallers(callers)
	}
}
