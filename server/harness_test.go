package server

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"runtime"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"cim/internal/budget"
	"cim/internal/link"
	"cim/internal/metrics"
	"cim/proto"
)

func TestMain(m *testing.M) {
	// gnet's pool of workers lives as long as the process, and fasthttp's cleaner
	// of idle workers checks only every 10 s whether it is stopped.
	goleak.VerifyTestMain(m,
		goleak.IgnoreAnyFunction("github.com/panjf2000/ants/v2.(*poolCommon).purgeStaleWorkers"),
		goleak.IgnoreAnyFunction("github.com/panjf2000/ants/v2.(*poolCommon).ticktock"),
		goleak.IgnoreAnyFunction("github.com/panjf2000/ants/v2.(*goWorker).run.func1"),
		goleak.IgnoreAnyFunction("github.com/valyala/fasthttp.updateServerDate.func1"),
		goleak.IgnoreAnyFunction("github.com/valyala/fasthttp.(*HostClient).connsCleaner"),
		goleak.IgnoreAnyFunction("github.com/valyala/fasthttp.(*workerPool).Start.func2"))
}

// patience bounds every wait of these tests.
const patience = 30 * time.Second

// world is one server with one link; the test is the route's end of it.
type world struct {
	*testing.T
	server *Server
	route  *routeEnd
	ahead  *atomic.Int64 // of the server's clock, ahead of the real one
}

// pauseTest is the pauseMin of these tests: longer than any pause of the machine.
const pauseTest = time.Minute

// silenceTest is their silenceMax for links over TCP: longer than any wait, since
// their routes send only what the test sends.
const silenceTest = patience * 3 / 2

// leap moves the server's clock on.
func (w *world) leap(d time.Duration) { w.ahead.Add(int64(d)) }

func start(t *testing.T, change func(*Config)) *world {
	t.Helper()
	return startLogging(t, change, t.Output())
}

func startLogging(t *testing.T, change func(*Config), log io.Writer) *world {
	t.Helper()
	return startWithin(t, change, log, nil)
}

// startBeside starts a server that admits clients of another system's routes.
func startBeside(t *testing.T, change func(*Config), others Ungranted) *world {
	t.Helper()
	return startWith(t, change, t.Output(), Deps{Ungranted: others})
}

// startWithin starts a server whose connections count against memory.
func startWithin(t *testing.T, change func(*Config), log io.Writer, memory *budget.Budget) *world {
	t.Helper()
	return startWith(t, change, log, Deps{Budget: memory})
}

// startWith starts a server with the given Deps.
func startWith(t *testing.T, change func(*Config), log io.Writer, deps Deps) *world {
	t.Helper()
	c := DefaultConfig()
	c.CIMPort, c.HTTPPort, c.LinkPort, c.Loops, c.SessionsMax = 0, 0, 0, 2, 1000
	if change != nil {
		change(&c)
	}
	started, ahead := time.Now(), new(atomic.Int64)
	deps.Log, deps.Metrics = slog.New(slog.NewTextHandler(log, nil)), metrics.NewSet()
	deps.clock = func() time.Duration { return time.Since(started) + time.Duration(ahead.Load()) }
	deps.pauseMin, deps.silenceMax = pauseTest, silenceTest
	s, err := Start(c, deps)
	if err != nil {
		t.Fatal(err)
	}
	w := &world{T: t, server: s, route: newRouteEnd(t, s), ahead: ahead}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		go w.route.storeReturns()
		if err := s.Drain(ctx); err != nil {
			t.Errorf("drain: %v", err)
		}
		<-w.route.ended
		<-w.route.served
	})
	return w
}

// routeEnd is the route's end of a link: it collects what the server sends.
type routeEnd struct {
	t       *testing.T
	conn    *link.Conn
	id      uint64
	records chan proto.Record
	aside   []proto.Record
	ended   chan struct{}
	served  chan struct{}
	broken  atomic.Bool // the server may break the link
}

// newRouteEnd returns the route's end of one more link, after the server has added
// the link.
func newRouteEnd(t *testing.T, s *Server) *routeEnd {
	a, b := link.Pair(8 << 20)
	before := len(s.links.all())
	r := &routeEnd{t: t, conn: a, records: make(chan proto.Record, 1<<16), ended: make(chan struct{}), served: make(chan struct{})}
	go r.read()
	go func() {
		defer close(r.served)
		_ = s.ServeLink(context.Background(), b)
	}()
	deadline := time.Now().Add(patience)
	for len(s.links.all()) <= before || s.Ready() != nil {
		if time.Now().After(deadline) {
			t.Fatalf("%d links, want more than %d; server not ready: %v", len(s.links.all()), before, s.Ready())
		}
		runtime.Gosched()
	}
	return r
}

// storeReturns answers the returns of sessions until the link ends, at the end of a
// test, since the server waits for that.
func (r *routeEnd) storeReturns() {
	store := func(rec *proto.Record) {
		if rec.Kind == proto.RecordReturn {
			_ = r.conn.Send(&proto.Record{Kind: proto.RecordReturned, ID: rec.ID, Verdict: proto.VerdictTaken})
		}
	}
	for i := range r.aside {
		store(&r.aside[i])
	}
	for {
		select {
		case rec := <-r.records:
			store(&rec)
		case <-r.ended:
			return
		}
	}
}

func (r *routeEnd) read() {
	defer close(r.ended)
	err := r.conn.Run(context.Background(), func(rec *proto.Record) error {
		kept := *rec
		kept.Name, kept.Body = append([]byte{}, rec.Name...), append([]byte{}, rec.Body...)
		r.records <- kept
		return nil
	})
	if !errors.Is(err, link.ErrClosed) && !r.broken.Load() {
		r.t.Errorf("route end: %v", err)
	}
}

// next returns the next record that matches; it keeps the others.
func (r *routeEnd) next(what string, want func(*proto.Record) bool) proto.Record {
	r.t.Helper()
	for i := range r.aside {
		if rec := r.aside[i]; want(&rec) {
			r.aside = append(r.aside[:i], r.aside[i+1:]...)
			return rec
		}
	}
	timeout := time.After(patience)
	for {
		select {
		case rec := <-r.records:
			if want(&rec) {
				return rec
			}
			r.aside = append(r.aside, rec)
		case <-timeout:
			r.t.Fatalf("no %s within %v; %d aside, the first: %v", what, patience, len(r.aside), r.aside[:min(len(r.aside), asideShown)])
		}
	}
}

// asideShown is how many records a failing test prints.
const asideShown = 10

func (r *routeEnd) kind(kind proto.RecordKind) proto.Record {
	r.t.Helper()
	return r.next("record of kind "+strconv.Itoa(int(kind)), func(rec *proto.Record) bool { return rec.Kind == kind })
}

// request sends a record and returns its id.
func (r *routeEnd) request(rec proto.Record) uint64 {
	r.t.Helper()
	r.id++
	rec.ID = r.id
	if err := r.conn.Send(&rec); err != nil {
		r.t.Fatalf("send record: %v", err)
	}
	return r.id
}

func (r *routeEnd) verdict(id uint64) proto.Record {
	r.t.Helper()
	return r.next("answer", func(rec *proto.Record) bool { return rec.Kind == proto.RecordAnswer && rec.ID == id })
}

func (r *routeEnd) ask(rec proto.Record) proto.Verdict {
	r.t.Helper()
	return r.verdict(r.request(rec)).Verdict
}

var ticket = proto.Ticket{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16}

// grantBody is the body of a grant of ticket.
var grantBody = proto.AppendGrant(nil, proto.Grant{Ticket: ticket})

func (r *routeEnd) grant(user proto.User, generation proto.Generation, demand bool) proto.Verdict {
	r.t.Helper()
	rec := proto.Record{Kind: proto.RecordGrant, User: user.ID, Generation: generation, Name: []byte(user.Name), Body: grantBody}
	if demand {
		rec.Flags = proto.FlagDemandTicket
	}
	return r.ask(rec)
}

// grantFrom sends a grant for a login from an address, which demands the ticket.
func (r *routeEnd) grantFrom(user proto.User, generation proto.Generation, from string) proto.Verdict {
	r.t.Helper()
	return r.ask(proto.Record{
		Kind: proto.RecordGrant, Flags: proto.FlagDemandTicket, User: user.ID, Generation: generation, Name: []byte(user.Name),
		Body: proto.AppendGrant(nil, proto.Grant{Ticket: ticket, From: netip.MustParseAddr(from)}),
	})
}

// resume ends the hold that every session begins with.
func (r *routeEnd) resume(user proto.UserID, generation proto.Generation) {
	r.t.Helper()
	up := r.next("up", func(rec *proto.Record) bool { return rec.Kind == proto.RecordUp && rec.User == user })
	if up.Generation != generation {
		r.t.Fatalf("up of generation %d, want %d", up.Generation, generation)
	}
	v := r.ask(proto.Record{Kind: proto.RecordResume, User: user, Generation: generation, Value: up.Value})
	if v != proto.VerdictTaken {
		r.t.Fatalf("resume: %v", v)
	}
}

func body(sender proto.User, text string) []byte {
	return proto.AppendBody(nil, proto.MessageFrom(proto.CommandMessage, sender, 0, []string{text}))
}

// peer is a client's connection.
type peer struct {
	t    *testing.T
	conn net.Conn
	buf  []byte
}

func (w *world) dial() *peer {
	w.Helper()
	conn, err := net.Dial("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(w.server.Member().CIMPort)))
	if err != nil {
		w.Fatal(err)
	}
	w.Cleanup(func() { conn.Close() })
	return &peer{t: w.T, conn: conn}
}

// login grants and logs in user, and ends the hold.
func (w *world) login(user proto.User, generation proto.Generation, dialect proto.Dialect) *peer {
	w.Helper()
	if v := w.route.grant(user, generation, dialect == proto.DialectCIM); v != proto.VerdictTaken {
		w.Fatalf("grant: %v", v)
	}
	p := w.dial()
	show := ticket
	if dialect == proto.DialectV2 {
		show = proto.Ticket{}
	}
	if dialect == proto.DialectV1 {
		p.write(proto.AppendV1Login(nil, user))
	} else {
		p.write(proto.AppendLogin(nil, user, dialect, show))
	}
	if dialect == proto.DialectCIM {
		if a := p.read(); a.Command != proto.CommandLoginAnswer || a.Reason != proto.ReasonNone {
			w.Fatalf("login answer %+v", a)
		}
	}
	w.route.resume(user.ID, generation)
	return p
}

func (p *peer) write(b []byte) {
	p.t.Helper()
	if _, err := p.conn.Write(b); err != nil {
		p.t.Fatalf("write: %v", err)
	}
}

// read returns the next frame.
func (p *peer) read() proto.View {
	p.t.Helper()
	v, err := p.tryRead()
	if err != nil {
		p.t.Fatalf("read: %v", err)
	}
	return v
}

func (p *peer) tryRead() (v proto.View, err error) {
	for {
		frame, size, reason := proto.NextFrame(p.buf, 2*proto.FrameMax)
		if reason != proto.ReasonNone {
			p.t.Fatalf("frame: %v", reason)
		}
		if frame != nil {
			if reason := v.Parse(append([]byte{}, frame...)); reason != proto.ReasonNone {
				p.t.Fatalf("frame: %v", reason)
			}
			p.buf = p.buf[size:]
			return v, nil
		}
		chunk := make([]byte, 4096)
		_ = p.conn.SetReadDeadline(time.Now().Add(patience))
		n, err := p.conn.Read(chunk)
		if err != nil {
			return v, err
		}
		p.buf = append(p.buf, chunk[:n]...)
	}
}

// end reads until the server has closed the connection.
func (p *peer) end() {
	p.t.Helper()
	for {
		if v, err := p.tryRead(); err == io.EOF || errors.Is(err, net.ErrClosed) || isReset(err) {
			return
		} else if err != nil {
			p.t.Fatalf("wait for the end: %v (last frame %+v)", err, v)
		}
	}
}

func isReset(err error) bool {
	var op *net.OpError
	return errors.As(err, &op) && !op.Timeout()
}
