package faults

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strconv"
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
	// floodMark stands before the number of each text.
	floodMark = "flood#"
	// floodMessages is how many each of the flooded gets: more than its server
	// keeps for it, its kernel's buffers included.
	floodMessages = 9
)

// sink is a client of the original that reads only while its flood says so, and
// logs in again when its connection has ended.
type sink struct {
	flood  *flood
	member *member
	conn   net.Conn
	mu     sync.Mutex
	came   map[int]bool // numbers of the texts that have arrived
}

// TestFlooded floods 1,000 clients that read, and then the same while they do
// not read: each takes its share of memory at most, the others do not notice
// more than before, and when the clients read again, they get every text, those
// that were closed as slow at their next login.
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
	if n := f.again.Load(); n > 0 {
		t.Fatalf("connections of sinks that read have ended %d times", n)
	}
	before := f.serversRSS()
	f.reads.Store(false)
	deaf := c.meter.begin("sinks do not read", c.now(), nil)
	most := f.serversPeak(f.pour)
	pass(t, pick(5*time.Second, time.Second))
	closed := s.servers[0].ends("slow") + s.servers[1].ends("slow")

	v := c.finish(l, c.mayComeTwice)
	readingAnswer, readingArrival := c.meter.p99(reading)
	answer, arrival := c.meter.p99(deaf)
	f.reads.Store(true)
	within(pick(4*time.Minute, waitMax), func() bool { return f.missing() == 0 })
	grown := most - before
	c.report(v, "sinks", len(f.sinks), "read", f.bytes.Load()>>20, "MiB closed as slow", closed, "servers grew by", grown>>10, "KiB, of them",
		grown/len(f.sinks)>>10, "KiB a sink, texts missing", f.missing(), c.meter.figures(reading), c.meter.figures(deaf))
	for k := range ledger.Kinds {
		c.wantNone(v, k)
	}
	if n := f.missing(); n > 0 {
		t.Errorf("%d of %d texts have not come to the sinks", n, len(f.sinks)*int(f.poured.Load()))
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
	crowd  *crowd
	sinks  []*sink
	reads  atomic.Bool
	bytes  atomic.Int64
	poured atomic.Int64 // texts to each sink
	again  atomic.Int64 // logins behind the first
	open   sync.WaitGroup
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

func (f *flood) newSink(i int) (*sink, error) {
	c := f.crowd
	k := &sink{flood: f, came: map[int]bool{}}
	k.member = &member{crowd: c, number: ledger.User(i), user: proto.User{Name: fmt.Sprintf("%s-sink-%d", c.system.run, i)}}
	if err := k.member.register(); err != nil {
		return nil, err
	}
	if err := k.enter(); err != nil {
		return nil, err
	}
	f.open.Go(k.swallow)
	return k, nil
}

// enter logs the sink in. Its receive buffer is set before it connects, when
// that still bounds its window.
func (k *sink) enter() error {
	at, err := k.member.login()
	if err != nil {
		return err
	}
	dialer := net.Dialer{Timeout: enterMax, Control: func(_, _ string, raw syscall.RawConn) error {
		var err error
		return cmp(raw.Control(func(fd uintptr) {
			err = syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_RCVBUF, windowMax)
		}), &err)
	}}
	conn, err := dialer.DialContext(k.flood.crowd.ctx, "tcp", at)
	if err != nil {
		return err
	}
	k.conn = conn
	_, err = k.conn.Write(append(proto.AppendLogin(nil, k.member.user, proto.DialectV2, proto.Ticket{}), proto.Ping...))
	return err
}

// cmp is the first of two errors, of which the second is known after the first.
func cmp(err error, then *error) error {
	if err != nil {
		return err
	}
	return *then
}

// swallow reads while the flood is to be read, and pings all the time. It
// enters again when the connection has ended, at most once a look.
func (k *sink) swallow() {
	const look = 100 * time.Millisecond
	ticker := time.NewTicker(look)
	defer ticker.Stop()
	defer func() { _ = k.conn.Close() }() // it may have ended
	buffer, unread := make([]byte, 16<<10), 0
	pinged := time.Now()
	for k.flood.crowd.ctx.Err() == nil {
		if now := time.Now(); now.Sub(pinged) > originalPing {
			pinged = now
			_, _ = k.conn.Write([]byte(proto.Ping)) // it may have been closed
		}
		if !k.flood.reads.Load() {
			select {
			case <-k.flood.crowd.ctx.Done():
			case <-ticker.C:
			}
			continue
		}
		_ = k.conn.SetReadDeadline(time.Now().Add(look))
		n, err := k.conn.Read(buffer[unread:])
		k.flood.bytes.Add(int64(n))
		unread = copy(buffer, k.take(buffer[:unread+n]))
		var e net.Error
		if err == nil || errors.As(err, &e) && e.Timeout() {
			continue
		}
		<-ticker.C
		k.flood.again.Add(1)
		unread = 0
		_ = k.conn.Close()
		if err := k.enter(); err != nil && k.flood.crowd.ctx.Err() == nil {
			k.flood.crowd.t.Logf("a sink enters again: %v", err)
		}
	}
}

// take notes the texts that begin in part, and returns the rest, in which
// another may begin.
func (k *sink) take(part []byte) (rest []byte) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for {
		at := bytes.Index(part, []byte(floodMark))
		if at < 0 {
			return part[max(len(part)-len(floodMark), 0):]
		}
		end := bytes.IndexByte(part[at+len(floodMark):], ' ')
		if end < 0 {
			return part[at:]
		}
		number, err := strconv.Atoi(string(part[at+len(floodMark) : at+len(floodMark)+end]))
		if err != nil {
			k.flood.crowd.t.Errorf("a sink received a text of number %v", err)
		}
		k.came[number] = true
		part = part[at+len(floodMark)+end:]
	}
}

// missing counts the texts that have not come to their sinks.
func (f *flood) missing() (n int) {
	for _, k := range f.sinks {
		k.mu.Lock()
		n += int(f.poured.Load()) - len(k.came)
		k.mu.Unlock()
	}
	return n
}

// pour sends each sink its messages, one round after the other, at an even
// pace. Each is answered as delivered or stored.
func (f *flood) pour() {
	t := f.crowd.t
	t.Helper()
	const callers = 4
	from := proto.Number(f.crowd.members[0].user.ID)
	urls := f.crowd.system.routeURLs()
	pace := time.NewTicker(time.Second / time.Duration(pick(200, 80)))
	defer pace.Stop()
	client := &http.Client{Timeout: callMax, Transport: &http.Transport{MaxIdleConnsPerHost: callers}}
	defer client.CloseIdleConnections()
	for range floodMessages {
		batch := f.batch()
		next := make(chan *sink)
		var all sync.WaitGroup
		for i := range callers {
			all.Go(func() {
				for k := range next {
					request := proto.PrivateRequest{UserID: from, ReceiveUserID: proto.Number(k.member.user.ID), BatchMsg: batch}
					a, err := call(context.Background(), client, urls[i%len(urls)]+proto.PathPrivate, request)
					if err != nil || a.code != proto.CodeSuccess && a.code != proto.CodeOffline {
						t.Errorf("a message to a sink: code %s, %v", a.code, err)
					}
				}
			})
		}
		for _, k := range f.sinks {
			<-pace.C
			next <- k
		}
		close(next)
		all.Wait()
	}
}

// batch is the texts of the next message. Each begins with its number.
func (f *flood) batch() []string {
	texts := make([]string, floodBatch)
	for i := range texts {
		texts[i] = fmt.Sprint(floodMark, f.poured.Add(1), strings.Repeat(" flood", floodText/6))
	}
	return texts
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
}

// ends counts the sessions that the server has ended for this reason.
func (p *process) ends(reason string) float64 {
	return p.labelled(fmt.Sprintf("cim_server_ends_total{reason=%q}", reason))
}
