package faults

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"cim/internal/ledger"
	"cim/proto"
)

const (
	// deafMax is by how much a session that does not read may have its server's
	// memory grow, all that the allocator and the garbage collector add included.
	deafMax = 256 << 10
	// processMax is by how much the servers' memory may grow besides, where so
	// few are flooded that what all of them share counts.
	processMax = 48 << 20
	// windowMax is the client's receive buffer, in bytes: it takes little.
	windowMax = 4 << 10
	// floodText and floodBatch are the texts of one message of a flood.
	floodText  = 15 << 10
	floodBatch = 4
	// floodMessages is how many each of the flooded gets: more than its server
	// keeps for it, its kernel's buffers included.
	floodMessages = 9
)

// sink is a client of the original that reads while it is told to.
type sink struct {
	user  proto.User
	conn  net.Conn
	reads *atomic.Bool
	bytes *atomic.Int64
}

// TestFlooded floods 1,000 clients that read, and then the same while they do
// not: those are closed, each takes its share of memory at most, and the others
// do not notice more than before.
func TestFlooded(t *testing.T) {
	share(t)
	s := startSystem(t, needs{})
	size := usual()
	size.users, size.private = size.users/2, size.private/2
	c := gather(s, size)
	f := newFlood(c, pick(1000, 40))
	l := c.send()
	pass(t, pick(5*time.Second, time.Second))

	reading := c.meter.begin("sinks read", c.now(), nil)
	f.pour()
	if n := f.ended(); n > 0 {
		t.Fatalf("%d sinks that read were closed", n)
	}
	before := f.serversRSS()
	f.reads.Store(false)
	deaf := c.meter.begin("sinks do not read", c.now(), nil)
	most := f.serversPeak(f.pour)
	slow := func() float64 { return s.servers[0].ends("slow") + s.servers[1].ends("slow") }
	within(waitMax, func() bool { return slow() == float64(len(f.sinks)) })
	closed := slow()
	pass(t, pick(5*time.Second, time.Second))

	v := c.finish(l, c.mayComeTwice)
	readingAnswer, readingArrival := c.meter.p99(reading)
	answer, arrival := c.meter.p99(deaf)
	grown := most - before
	c.report(v, "sinks", len(f.sinks), "read", f.bytes.Load()>>20, "MiB closed as slow", closed, "servers grew by", grown>>10, "KiB, of them",
		grown/len(f.sinks)>>10, "KiB a sink", c.meter.figures(reading), c.meter.figures(deaf))
	for k := range ledger.Kinds {
		c.wantNone(v, k)
	}
	if closed != float64(len(f.sinks)) {
		t.Errorf("%v of %d sinks were closed as slow", closed, len(f.sinks))
	}
	if bound := len(f.sinks)*deafMax + pick(0, processMax); grown > bound {
		t.Errorf("the servers grew by %d KiB, want at most %d", grown>>10, bound>>10)
	}
	if *whole && (answer > readingAnswer*3/2+hangMax || arrival > readingArrival*3/2+hangMax) {
		t.Errorf("others' p99 %v answer, %v arrival; while the sinks read %v, %v", answer, arrival, readingAnswer, readingArrival)
	}
	if n := c.counts().ended; n > 0 {
		t.Errorf("%d sessions of others ended", n)
	}
}

// flood is many sinks, and what is sent to them.
type flood struct {
	crowd *crowd
	sinks []*sink
	reads atomic.Bool
	bytes atomic.Int64
	open  sync.WaitGroup
	gone  atomic.Int64
}

func newFlood(c *crowd, count int) *flood {
	c.t.Helper()
	f := &flood{crowd: c}
	f.reads.Store(true)
	c.t.Cleanup(f.close)
	f.sinks = make([]*sink, count)
	var all sync.WaitGroup
	faults := make([]error, count)
	next := make(chan int)
	for range 16 {
		all.Go(func() {
			for i := range next {
				f.sinks[i], faults[i] = f.newSink(i)
			}
		})
	}
	for i := range count {
		next <- i
	}
	close(next)
	all.Wait()
	for _, err := range faults {
		if err != nil {
			c.t.Fatal(err)
		}
	}
	return f
}

// newSink logs a sink in. Its receive buffer is set before it connects, when
// that still bounds its window.
func (f *flood) newSink(i int) (*sink, error) {
	c := f.crowd
	k := &sink{reads: &f.reads, bytes: &f.bytes}
	m := &member{crowd: c, number: ledger.User(i), user: proto.User{Name: fmt.Sprintf("%s-sink-%d", c.system.run, i)}}
	if err := m.register(); err != nil {
		return nil, err
	}
	k.user = m.user
	at, err := m.login()
	if err != nil {
		return nil, err
	}
	dialer := net.Dialer{Timeout: enterMax, Control: func(_, _ string, raw syscall.RawConn) error {
		var err error
		return cmp(raw.Control(func(fd uintptr) {
			err = syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_RCVBUF, windowMax)
		}), &err)
	}}
	if k.conn, err = dialer.DialContext(c.ctx, "tcp", at); err != nil {
		return nil, err
	}
	if _, err := k.conn.Write(append(proto.AppendLogin(nil, k.user, proto.DialectV2, proto.Ticket{}), proto.Ping...)); err != nil {
		return nil, err
	}
	f.open.Go(func() { f.swallow(k) })
	return k, nil
}

// cmp is the first of two errors, of which the second is known after the first.
func cmp(err error, then *error) error {
	if err != nil {
		return err
	}
	return *then
}

// swallow reads while the flood is to be read, and pings all the time.
func (f *flood) swallow(k *sink) {
	const look = 100 * time.Millisecond
	ticker := time.NewTicker(look)
	defer ticker.Stop()
	part := make([]byte, 16<<10)
	pinged := time.Now()
	for {
		if now := time.Now(); now.Sub(pinged) > originalPing {
			pinged = now
			_, _ = k.conn.Write([]byte(proto.Ping)) // it may have been closed
		}
		if !f.reads.Load() {
			select {
			case <-f.crowd.ctx.Done():
				return
			case <-ticker.C:
			}
			continue
		}
		_ = k.conn.SetReadDeadline(time.Now().Add(look))
		n, err := k.conn.Read(part)
		f.bytes.Add(int64(n))
		var e net.Error
		if err != nil && !(errors.As(err, &e) && e.Timeout()) {
			f.gone.Add(1)
			return
		}
	}
}

// ended counts the sinks whose connection has ended while they read.
func (f *flood) ended() int { return int(f.gone.Load()) }

// pour sends each sink its messages, one round after the other, at an even
// pace.
func (f *flood) pour() {
	t := f.crowd.t
	t.Helper()
	const callers = 4
	batch := slices.Repeat([]string{strings.Repeat("flood ", floodText/6)}, floodBatch)
	from := proto.Number(f.crowd.members[0].user.ID)
	urls := f.crowd.system.routeURLs()
	pace := time.NewTicker(time.Second / time.Duration(pick(200, 80)))
	defer pace.Stop()
	client := &http.Client{Timeout: callMax, Transport: &http.Transport{MaxIdleConnsPerHost: callers}}
	defer client.CloseIdleConnections()
	next := make(chan *sink)
	var all sync.WaitGroup
	for i := range callers {
		all.Go(func() {
			for k := range next {
				request := proto.PrivateRequest{UserID: from, ReceiveUserID: proto.Number(k.user.ID), BatchMsg: batch}
				// Stored, once the sink is closed; then refused, when its box is full.
				if _, err := call(context.Background(), client, urls[i%len(urls)]+proto.PathPrivate, request); err != nil {
					t.Error(err)
				}
			}
		})
	}
	for range floodMessages {
		for _, k := range f.sinks {
			<-pace.C
			next <- k
		}
	}
	close(next)
	all.Wait()
}

// serversRSS is the resident memory of the servers, in bytes.
func (f *flood) serversRSS() int {
	sum := 0
	for _, p := range f.crowd.system.servers {
		size, err := rssKiB(p.PID)
		if err != nil {
			f.crowd.t.Error(err)
		}
		sum += size << 10
	}
	return sum
}

// serversPeak is the most that the servers had while work was done.
func (f *flood) serversPeak(work func()) int {
	done, most := make(chan struct{}), 0
	var looking sync.WaitGroup
	looking.Go(func() {
		ticker := time.NewTicker(50 * time.Millisecond)
		defer ticker.Stop()
		for {
			most = max(most, f.serversRSS())
			select {
			case <-done:
				return
			case <-ticker.C:
			}
		}
	})
	work()
	close(done)
	looking.Wait()
	return most
}

func (f *flood) close() {
	f.reads.Store(false)
	f.crowd.stop()
	f.open.Wait()
	for _, k := range f.sinks {
		if k != nil && k.conn != nil {
			_ = k.conn.Close() // it may have ended
		}
	}
}

// ends counts the sessions that the server has ended for this reason.
func (p *process) ends(reason string) float64 {
	return p.labelled(fmt.Sprintf("cim_server_ends_total{reason=%q}", reason))
}
