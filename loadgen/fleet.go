package loadgen

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"cim/proto"
)

// fleet is the clients of one run of logins.
type fleet struct {
	cfg       Config
	number    int // in its run, all processes counted
	clock     *clock
	dialer    Dialer
	prefix    string // of all its users' names
	faults    *faults
	clients   []*client
	remote    []*client // senders of group messages in another process; without a connection
	loops     []*eventLoop
	system    System
	traits    Traits
	retries   atomic.Int64  // logins that were refused for the moment
	ended     chan struct{} // capacity 1, of the event loops
	asks      loginRequests
	loginPace *loginPace

	logins    *logins       // of the last time that all logged in
	loginTime time.Duration // from the first request to the last pong
	loginUsed usage         // meanwhile

	trialsBefore int // of the run before this fleet
	trialNumber  int // in the run, of the running trial

	stopPings context.CancelFunc
	pings     sync.WaitGroup // and of the acknowledgements
}

// openFleet registers and logs in conns clients. number distinguishes the fleets of a process. The
// caller closes it.
func openFleet(ctx context.Context, cfg Config, number, conns int, faults *faults, progress io.Writer) (*fleet, error) {
	f := &fleet{cfg: cfg, number: number, faults: faults, dialer: Dialer{cfg.Sources}, ended: make(chan struct{}, 1), loginPace: newLoginPace(cfg.LoginsAtOnce), stopPings: func() {}}
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
		l, err := newEventLoop(f.clock, f.faults, f.ended)
		if err != nil {
			return err
		}
		f.loops = append(f.loops, l)
	}
	f.makeClients(number, conns)
	if err := f.makeSystem(number); err != nil {
		return err
	}
	printProgress(progress, "registering %d users", conns)
	if err := f.registerAll(ctx); err != nil {
		return err
	}
	if err := f.meet(ctx); err != nil {
		return err
	}
	f.startPings() // a client that is logged in may wait minutes for the others
	if err := f.logInAll(ctx); err != nil {
		return err
	}
	f.settled()
	printProgress(progress, "%d logins in %.2f s, %d refused for the moment and tried again", conns, f.loginTime.Seconds(), f.retries.Load())
	return nil
}

// settled is called once all are logged in.
func (f *fleet) settled() {
	f.system.Settled()
	f.asks.settled()
}

func printProgress(w io.Writer, format string, args ...any) {
	// Progress is for a human; if the output has gone, nothing is lost.
	_, _ = fmt.Fprintf(w, format+"\n", args...)
}

func (f *fleet) makeClients(number, conns int) {
	f.prefix = "load-" + strconv.FormatUint(f.cfg.Seed, 16) + "-" + strconv.Itoa(number) + "-"
	f.clients = make([]*client, conns)
	for i := range f.clients {
		f.clients[i] = &client{
			index: i, route: i % max(1, len(f.cfg.Routes)), loop: f.loops[i%len(f.loops)],
			user:     proto.User{Name: f.prefix + strconv.Itoa(i)},
			loggedIn: make(chan error, 1), gone: make(chan struct{}, 1), privateSlot: noSlot,
		}
	}
}

func (f *fleet) makeSystem(number int) (err error) {
	if f.cfg.System == nil {
		f.system, err = newCIM(f)
	} else {
		f.system, err = f.cfg.System(Plan{Config: f.cfg, Number: number, Clients: len(f.clients), Dialer: f.dialer})
	}
	if err != nil {
		return err
	}
	if f.asks, err = newLoginRequests(f.cfg); err != nil {
		return err
	}
	f.traits = f.system.Traits()
	if _, takes := f.system.(HTTPSystem); f.cfg.Via == ViaHTTP && !f.cfg.quiet() && !takes {
		return fmt.Errorf("loadgen: via %q: %s takes no messages over HTTP", f.cfg.Via, f.traits.Name)
	}
	return nil
}

func (f *fleet) registerAll(ctx context.Context) error {
	var registered atomic.Int64
	defer f.showStage("registering", len(f.clients), func() int { return int(registered.Load()) })()
	return inParallel(ctx, f.cfg.LoginsAtOnce, len(f.clients), func(ctx context.Context, worker, i int) error {
		if err := f.loginPace.begin(ctx); err != nil {
			return err
		}
		defer f.loginPace.end()
		defer registered.Add(1)
		return f.register(ctx, worker, i)
	})
}

func (f *fleet) register(ctx context.Context, worker, i int) error {
	if err := f.system.Register(ctx, worker, i); err != nil {
		return fmt.Errorf("loadgen: register %s: %w", f.clients[i].user.Name, err)
	}
	return nil
}

// startPings lets every client ping once in the system's PingEvery, spread
// evenly, and acknowledge in time.
func (f *fleet) startPings() {
	ctx, cancel := context.WithCancel(context.Background())
	f.stopPings = cancel
	if f.cfg.Want != proto.WantTaken {
		f.startAcks(ctx)
	}
	if f.traits.PingEvery != 0 {
		f.pings.Go(func() { f.ping(ctx) })
	}
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
		due := int((f.clock.now() - begin) * int64(len(f.clients)) / int64(f.traits.PingEvery))
		for ; sent < due; sent++ {
			f.pingOne(f.clients[sent%len(f.clients)])
		}
	}
}

func (f *fleet) pingOne(c *client) {
	// A lost connection has been reported already, and a client that is not connected yet is no
	// fault.
	if err := c.ping(); err != nil && !errors.Is(err, errClosed) {
		f.faults.add("client %d: ping: %v", c.index, err)
	}
}

// close ends all connections and loops.
func (f *fleet) close() error {
	err := f.disconnect()
	if f.system != nil {
		f.system.Close()
	}
	f.asks.settled()
	return err
}

// disconnect ends all connections and loops, and may be called again.
func (f *fleet) disconnect() error {
	f.stopPings()
	f.pings.Wait()
	loops := f.loops
	f.loops = nil
	return stopAll(loops)
}
