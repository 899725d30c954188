package httpserve

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/valyala/fasthttp"
	"go.uber.org/goleak"

	"cim/internal/admission"
	"cim/proto"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("github.com/valyala/fasthttp.updateServerDate.func1"))
}

// patience bounds every wait of these tests.
const patience = 30 * time.Second

// longAnswer is more than the kernels of both ends take.
const longAnswer = 20 << 20

// besideOf is the OverlapKey of a request for /beside, with the subject of its query.
func besideOf(ctx *fasthttp.RequestCtx) OverlapKey {
	if string(ctx.Path()) != "/beside" {
		return OverlapKey{}
	}
	return OverlapKey{Kind: "beside", Subject: [2]proto.UserID{0, proto.UserID(ctx.QueryArgs().GetUintOrZero("to"))}}
}

// stand is a server whose handler answers with the body's length, waits for release
// first at /wait, answers longAnswer bytes at /long, and owes the answers at /later
// and, side by side, at /beside.
type stand struct {
	*testing.T
	server  *Server
	refused atomic.Int64
	evicted atomic.Int64
	waiting chan struct{}
	release chan struct{}
	owed    chan *Later
	ended   chan error
}

func start(t *testing.T, connsMax, bodyMax int) *stand {
	return startWith(t, Config{ConnsMax: connsMax, BodyMax: bodyMax, Addresses: admission.DefaultPolicy(), IdleTimeout: patience})
}

func startWith(t *testing.T, config Config) *stand {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &stand{T: t, waiting: make(chan struct{}, 10), release: make(chan struct{}), owed: make(chan *Later, 2*owedMax), ended: make(chan error, 1)}
	config.Beside = besideOf
	config.Log = slog.New(slog.DiscardHandler)
	config.Refused = func(int, net.Addr) { s.refused.Add(1) }
	config.Evicted = func(net.Addr) { s.evicted.Add(1) }
	config.Handler = s.handle
	s.server = New(listener, config)
	go func() { s.ended <- s.server.Run() }()
	return s
}

func (s *stand) handle(ctx *fasthttp.RequestCtx) {
	body, ok := s.server.Body(ctx)
	if !ok {
		return
	}
	switch string(Path(ctx)) {
	case "/wait":
		s.waiting <- struct{}{}
		<-s.release
	case "/later":
		s.owed <- s.server.Later(ctx, OverlapKey{})
		return
	case "/beside":
		s.owed <- s.server.Later(ctx, besideOf(ctx))
		return
	case "/later/given":
		s.server.Later(ctx, OverlapKey{}).Answer(proto.CodeSuccess, "", "")
		return
	case "/long":
		s.server.Answer(ctx, proto.CodeSuccess, "", proto.Body(strings.Repeat("a", longAnswer)))
		return
	case "/no":
		s.server.Refuse(ctx, fasthttp.StatusNotFound, "there is no such path")
		return
	}
	s.server.Answer(ctx, proto.CodeSuccess, fmt.Sprint(len(body)), "")
}

// drain ends the server, at once.
func (s *stand) drain() {
	s.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	s.server.Drain(ctx)
	if err := <-s.ended; err != nil {
		s.Error(err)
	}
}

// dial opens a connection and sends request.
func (s *stand) dial(request string) net.Conn {
	s.Helper()
	return s.dialFrom("127.0.0.1", request)
}

// dialFrom does the same from an address of loopback.
func (s *stand) dialFrom(address, request string) net.Conn {
	s.Helper()
	dialer := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(address)}}
	conn, err := dialer.Dial("tcp", s.server.Addr().String())
	if err != nil {
		s.Fatal(err)
	}
	_ = conn.SetDeadline(time.Now().Add(patience))
	if _, err := io.WriteString(conn, request); err != nil {
		s.Fatal(err)
	}
	return conn
}

// want reads one response and compares it.
func (s *stand) want(conn net.Conn, status int, code proto.Code) {
	s.Helper()
	response, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		s.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		s.Fatal(err)
	}
	a, err := proto.ParseAnswer(body)
	if err != nil || response.StatusCode != status || a.Code != proto.Number(code) ||
		response.Header.Get("Content-Type") != "application/json" {
		s.Errorf("%d %s %s (%v), want %d and code %d", response.StatusCode, response.Header, body, err, status, code)
	}
}

func post(path string, body int) string {
	return fmt.Sprintf("POST %s HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s", path, body, strings.Repeat("b", body))
}

// TestBody sends bodies at the bound, one byte past it, and far past it: a client
// that is still sending reads the answer.
func TestBody(t *testing.T) {
	s := start(t, 10, 100)
	for _, c := range []struct {
		body, status int
		code         proto.Code
	}{{100, 200, proto.CodeSuccess}, {101, 413, proto.CodeInvalid}, {200 << 10, 413, proto.CodeInvalid}} {
		conn := s.dial(post("/", c.body))
		s.want(conn, c.status, c.code)
		conn.Close()
	}
	s.drain()
}

// TestUnreadable sends invalid requests, and half a request.
func TestUnreadable(t *testing.T) {
	s := start(t, 10, 100)
	for request, status := range map[string]int{
		"nonsense\r\n\r\n": 400,
		"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nhalf": 408,
	} {
		conn := s.dial(request)
		code := proto.CodeInvalid
		if status == 408 {
			code = proto.CodeFailure
		}
		s.want(conn, status, code)
		conn.Close()
	}
	s.drain()
}

// TestDrain ends an idle connection at once and waits for a request in progress.
func TestDrain(t *testing.T) {
	s := start(t, 10, 100)
	idle, busy := s.dial(post("/", 0)), s.dial(post("/wait", 0))
	s.want(idle, 200, proto.CodeSuccess)
	s.await(1)
	drained := make(chan struct{})
	go func() { s.drain(); close(drained) }()
	if n, err := idle.Read(make([]byte, 1)); n != 0 || err != io.EOF {
		t.Errorf("idle connection: %d bytes, %v", n, err)
	}
	select {
	case <-drained:
		t.Error("drained with a request in flight")
	default:
	}
	close(s.release)
	s.want(busy, 200, proto.CodeSuccess)
	<-drained
	idle.Close()
	busy.Close()
}

// TestDrainDeadline does not wait for a request in progress beyond its context.
func TestDrainDeadline(t *testing.T) {
	s := start(t, 10, 100)
	busy := s.dial(post("/wait", 0))
	s.await(1)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	drained := make(chan struct{})
	go func() { s.server.Drain(ctx); close(drained) }()
	if n, err := busy.Read(make([]byte, 1)); n != 0 || err == nil {
		t.Errorf("busy connection: %d bytes, %v", n, err)
	}
	close(s.release)
	<-drained
	if err := <-s.ended; err != nil {
		t.Error(err)
	}
	busy.Close()
}
