package client

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"cim/proto"
)

// TestMain checks that nothing of a client is left. The examples and the crowd run a whole system,
// whose libraries keep what is ignored here.
func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m,
		goleak.IgnoreAnyFunction("github.com/panjf2000/ants/v2.(*poolCommon).purgeStaleWorkers"),
		goleak.IgnoreAnyFunction("github.com/panjf2000/ants/v2.(*poolCommon).ticktock"),
		goleak.IgnoreAnyFunction("github.com/panjf2000/ants/v2.(*goWorker).run.func1"),
		goleak.IgnoreAnyFunction("github.com/valyala/fasthttp.updateServerDate.func1"),
		goleak.IgnoreAnyFunction("github.com/valyala/fasthttp.(*HostClient).connsCleaner"),
		goleak.IgnoreAnyFunction("github.com/valyala/fasthttp.(*workerPool).Start.func2"))
}

// waitMax bounds every wait of a test.
const waitMax = 30 * time.Second

// ann is the user that logs in.
var ann = proto.User{ID: 7, Name: "ann"}

// fake is a route and a server that a test controls step by step.
type fake struct {
	t      *testing.T
	http   *httptest.Server
	listen net.Listener
	asked  chan asked // what the route was asked, in order
	conns  chan *peer // connections that the server accepted
	open   atomic.Int32
	closed chan struct{} // of open connections to the route one less

	noAck bool // the server knows nothing of acknowledgements

	mu  sync.Mutex     // guards what a test changes by now
	tcp []*net.TCPConn // all connections that the server accepted
	// peers are the connections that logged in.
	peers []*peer
	// ticket is in the answers to logins; "" is a route of the original.
	ticket string
	// ack is in the answers to logins: 1 allows acknowledgements.
	ack int
	// sent is the dataBody of answers to messages.
	sent string
	// codes says what a path is answered; not in it: 9000; 0: nothing, the
	// connection ends.
	codes map[string]proto.Code
	// status is the HTTP status of all answers; 0: 200.
	status int
	// held lets an answer wait for its value; not in it: none does.
	held map[string]chan struct{}
}

// now changes what the route says from now on.
func (f *fake) now(change func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	change()
}

// asked is one request to the route.
type asked struct {
	path string
	auth string // the header Authorization
	body map[string]any
}

func newFake(t *testing.T, ticket string) *fake {
	t.Helper()
	listen, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	f := &fake{
		t: t, listen: listen, ticket: ticket, codes: map[string]proto.Code{}, held: map[string]chan struct{}{},
		asked: make(chan asked, 100), conns: make(chan *peer, 10), closed: make(chan struct{}, 100),
	}
	f.http = httptest.NewUnstartedServer(http.HandlerFunc(f.answer))
	f.http.Config.ConnState = f.count
	f.http.Start()
	accepted := make(chan struct{})
	go func() {
		defer close(accepted)
		for {
			conn, err := listen.Accept()
			if err != nil {
				return
			}
			f.now(func() { f.tcp = append(f.tcp, conn.(*net.TCPConn)) })
			f.conns <- &peer{t: t, conn: conn, frames: frames{conn: conn, silenceMax: waitMax}}
		}
	}()
	t.Cleanup(func() {
		f.http.Close()
		if err := listen.Close(); err != nil {
			t.Error(err)
		}
		<-accepted
	})
	return f
}

// count counts the connections to the route.
func (f *fake) count(_ net.Conn, state http.ConnState) {
	switch state {
	case http.StateNew:
		f.open.Add(1)
	case http.StateClosed:
		f.open.Add(-1)
		select {
		case f.closed <- struct{}{}:
		default: // nothing was closed yet: one pass will do
		}
	}
}

// answer is the route.
func (f *fake) answer(w http.ResponseWriter, r *http.Request) {
	a := asked{path: r.URL.Path, auth: r.Header.Get("Authorization")}
	if err := json.NewDecoder(r.Body).Decode(&a.body); err != nil && r.Method == http.MethodPost {
		f.t.Errorf("%s: %v", a.path, err)
	}
	f.mu.Lock()
	held := f.held[a.path]
	f.mu.Unlock()
	f.asked <- a
	if held != nil {
		<-held
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	code := proto.CodeSuccess
	if c, ok := f.codes[a.path]; ok {
		code = c
	}
	if code == 0 {
		panic(http.ErrAbortHandler)
	}
	if a.path == proto.PathOffLine && code == proto.CodeSuccess {
		for _, conn := range f.tcp { // the server ends the session
			_ = conn.CloseWrite() // it may be closed already
		}
	}
	if f.status != 0 {
		w.WriteHeader(f.status)
	}
	if _, err := w.Write(proto.AppendAnswer(nil, code, "", f.body(a.path))); err != nil {
		f.t.Error(err)
	}
}

func (f *fake) body(path string) string {
	address := f.listen.Addr().(*net.TCPAddr)
	switch path {
	case proto.PathRegister:
		return proto.Body(proto.UserBody{UserID: ann.ID, UserName: ann.Name})
	case proto.PathLogin:
		return proto.Body(proto.LoginBody{IP: "127.0.0.1", CIMServerPort: address.Port, HTTPPort: 1, Ticket: f.ticket, Ack: f.ack})
	case proto.PathPrivate, proto.PathGroup:
		return f.sent
	case proto.PathOnlineUser:
		return `[{"userId":7,"userName":"ann"},{"userId":9,"userName":"bob"}]`
	}
	return ""
}

// expect waits for the next request and checks its path.
func (f *fake) expect(path string) asked {
	f.t.Helper()
	a := await(f.t, f.asked)
	if a.path != path {
		f.t.Fatalf("the route was asked %s %v, want %s", a.path, a.body, path)
	}
	return a
}

func (f *fake) config() Config { return Config{Routes: []string{f.http.URL}, Name: ann.Name} }

// await returns the next value of c, within waitMax.
func await[T any](t *testing.T, c <-chan T) T {
	t.Helper()
	timeout := time.NewTimer(waitMax)
	defer timeout.Stop()
	select {
	case v := <-c:
		return v
	case <-timeout.C:
		t.Fatalf("no %T within %v", *new(T), waitMax)
		panic("unreachable")
	}
}

// peer is the server's end of a connection.
type peer struct {
	t      *testing.T
	conn   net.Conn
	frames frames
	view   proto.View
}

// read returns the next frame; it is valid until the next read.
func (p *peer) read() *proto.View {
	p.t.Helper()
	frame, err := p.frames.next()
	if err != nil {
		p.t.Fatalf("server reads: %v", err)
	}
	if reason := p.view.Parse(frame); reason != proto.ReasonNone {
		p.t.Fatalf("server reads a frame that is %s", reason)
	}
	return &p.view
}

// ended waits until the client has closed.
func (p *peer) ended() {
	p.t.Helper()
	for {
		if _, err := p.frames.next(); err != nil {
			if errors.Is(err, os.ErrDeadlineExceeded) {
				p.t.Fatalf("the client did not close within %v", waitMax)
			}
			return
		}
	}
}

func (p *peer) write(frames []byte) {
	p.t.Helper()
	if _, err := p.conn.Write(frames); err != nil {
		p.t.Fatalf("server writes: %v", err)
	}
}

func (p *peer) close() {
	if err := p.conn.Close(); err != nil {
		p.t.Error(err)
	}
}

// takeLogin takes the next connection and its login.
func (f *fake) takeLogin(answer proto.LoginAnswer) *peer {
	f.t.Helper()
	p := await(f.t, f.conns)
	f.t.Cleanup(func() { _ = p.conn.Close() }) // a test may have closed it
	if login := p.read(); login.Command != proto.CommandLogin || login.ID != int64(ann.ID) {
		f.t.Fatalf("the first frame is %+v, want ann's login", login)
	}
	f.now(func() { f.peers = append(f.peers, p) })
	if p.view.Dialect == uint64(proto.DialectCIM) {
		answer.Ack = p.view.Ack == proto.AckVersion && !f.noAck
		p.write(proto.AppendLoginAnswer(nil, answer))
		return p
	}
	if ping := p.read(); ping.Command != proto.CommandPing {
		f.t.Fatalf("behind a login of v2 comes %+v, want a ping", ping)
	}
	p.write([]byte(proto.Pong))
	return p
}

// dialed is a client that Dial is working on.
type dialed struct {
	client *Client
	err    error
}

func dial(config Config) <-chan dialed {
	done := make(chan dialed, 1)
	go func() {
		ctx, cancel := context.WithTimeout(context.Background(), waitMax)
		defer cancel()
		c, err := Dial(ctx, config)
		done <- dialed{c, err}
	}()
	return done
}

// logIn logs a client in; the test ends it.
func (f *fake) logIn(config Config) (*Client, *peer) {
	f.t.Helper()
	done := dial(config)
	p := f.takeLogin(proto.LoginAnswer{User: ann.ID, Heartbeat: 30})
	d := await(f.t, done)
	if d.err != nil {
		f.t.Fatal(d.err)
	}
	f.t.Cleanup(func() { f.answerPings(); shut(f.t, d.client) })
	f.expect(proto.PathRegister)
	f.expect(proto.PathLogin)
	if f.ticket == "" {
		f.expect(proto.PathFetchOffline)
	}
	return d.client, p
}

// answerPings answers the pings of all sessions from now on: the client asks for a
// pong behind its last ACK, and would wait for it a second. The test reads no more.
func (f *fake) answerPings() {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, p := range f.peers {
		ended := make(chan struct{})
		f.t.Cleanup(func() { <-ended }) // the client has closed by then
		go func() {
			defer close(ended)
			p.pong()
		}()
	}
}

// pong answers pings until the connection ends.
func (p *peer) pong() {
	for {
		frame, err := p.frames.next()
		if err != nil {
			return
		}
		if p.view.Parse(frame) == proto.ReasonNone && p.view.Command == proto.CommandPing {
			if _, err := p.conn.Write([]byte(proto.Pong)); err != nil {
				return
			}
		}
	}
}

// shut closes c, whatever the route answers.
func shut(t *testing.T, c *Client) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), waitMax)
	defer cancel()
	if err := c.Close(ctx); err != nil {
		t.Errorf("Close: %v", err)
	}
}

// newMute is the URL of a route that reads a request and closes.
func newMute(t *testing.T) string {
	t.Helper()
	mute := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		panic(http.ErrAbortHandler)
	}))
	t.Cleanup(mute.Close)
	return mute.URL
}

const (
	ticketOne = "000102030405060708090a0b0c0d0e0f"
	ticketTwo = "f0f1f2f3f4f5f6f7f8f9fafbfcfdfeff"
)

// states is a config's OnState that can be waited for.
func states(config *Config) <-chan State {
	seen := make(chan State, 100)
	config.OnState = func(s State, _ error) { seen <- s }
	return seen
}

func wantState(t *testing.T, seen <-chan State, want State) {
	t.Helper()
	if got := await(t, seen); got != want {
		t.Fatalf("state %v, want %v", got, want)
	}
}

// discard is a log that is thrown away.
var discard = slog.New(slog.DiscardHandler)

// contextFor ends with the test, and after most.
func contextFor(t *testing.T, most time.Duration) (context.Context, context.CancelFunc) {
	return context.WithTimeout(t.Context(), most)
}
