package httpserve

import (
	"bufio"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/valyala/fasthttp"

	"cim/internal/admission"
	"cim/proto"
)

// pipelines is a server whose answers name their request, some given at once and
// some later by other goroutines.
type pipelines struct {
	*testing.T
	server *Server
	givers sync.WaitGroup
	ended  chan error

	mu   sync.Mutex
	owed map[uint64][]OverlapKey // by connection: answers that have not been given
}

func startPipelines(t *testing.T, config Config) *pipelines {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &pipelines{T: t, owed: map[uint64][]OverlapKey{}, ended: make(chan error, 1)}
	config.BodyMax, config.IdleTimeout, config.Log = 64<<10, patience, slog.New(slog.DiscardHandler)
	config.Refused, config.Evicted = func(int, net.Addr) {}, func(net.Addr) {}
	config.Beside, config.Handler = besideOf, p.handle
	p.server = New(listener, config)
	go func() { p.ended <- p.server.Run() }()
	return p
}

// handle answers with the number of the request: at once, or later at /later and
// /beside.
func (p *pipelines) handle(ctx *fasthttp.RequestCtx) {
	number, bytes := ctx.QueryArgs().GetUintOrZero("n"), ctx.QueryArgs().GetUintOrZero("bytes")
	if want := ctx.QueryArgs().GetUintOrZero("body"); len(ctx.PostBody()) != want {
		p.Errorf("request %d has a body of %d bytes, want %d", number, len(ctx.PostBody()), want)
	}
	message, body := strconv.Itoa(number), ""
	if bytes > 0 {
		body = proto.Body(strings.Repeat("a", bytes))
	}
	key := besideOf(ctx)
	p.begins(ctx.ConnID(), key, number)
	switch string(ctx.Path()) {
	case "/no":
		p.server.Refuse(ctx, fasthttp.StatusNotFound, message)
	case "/later", "/beside":
		p.giveLater(ctx, key, func(l *Later) { l.Answer(proto.CodeSuccess, message, body) })
	default:
		p.server.Answer(ctx, proto.CodeSuccess, message, body)
	}
}

// begins fails if a request may not begin beside those with owed answers.
func (p *pipelines) begins(conn uint64, key OverlapKey, number int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, before := range p.owed[conn] {
		if !key.beside(before) {
			p.Errorf("request %d of key %v has begun beside %v", number, key, before)
		}
	}
}

func (p *pipelines) giveLater(ctx *fasthttp.RequestCtx, key OverlapKey, give func(*Later)) {
	conn := ctx.ConnID()
	p.mu.Lock()
	p.owed[conn] = append(p.owed[conn], key)
	p.mu.Unlock()
	l := p.server.Later(ctx, key)
	end := func() {
		p.mu.Lock()
		all := p.owed[conn]
		for i := range all {
			if all[i] == key {
				p.owed[conn] = append(all[:i], all[i+1:]...)
				break
			}
		}
		p.mu.Unlock()
		give(l)
	}
	switch pause := rand.N(4); pause {
	case 0:
		end()
	case 1:
		p.givers.Go(end)
	default:
		p.givers.Go(func() {
			time.Sleep(time.Duration(rand.N(pause*pause*500)) * time.Microsecond)
			end()
		})
	}
}

// pipeline is the requests of one client, and the expected answers.
type pipeline struct {
	requests strings.Builder
	wants    []wanted
}

type wanted struct {
	method, message string
	status          int
	proceeds        bool // 100 Continue comes first
	last            bool
}

// draw adds request number, of a random kind.
func (p *pipeline) draw(random *rand.Rand, number int) {
	want := wanted{method: "POST", message: strconv.Itoa(number), status: fasthttp.StatusOK}
	path, head, version, body := "/beside", "", "1.1", random.IntN(200)
	query := fmt.Sprintf("?n=%d&to=%d", number, random.IntN(8))
	switch random.IntN(24) {
	case 0:
		path = "/"
	case 1:
		path = "/later"
	case 2:
		path, want.status = "/no", fasthttp.StatusNotFound
	case 3:
		path, want.method, want.status, body = "/no", "HEAD", fasthttp.StatusNotFound, 0
	case 4:
		head, want.proceeds = "Expect: 100-continue\r\n", true
	case 5:
		head, version = "Connection: keep-alive\r\n", "1.0"
	case 6:
		body = HeaderMax + random.IntN(30<<10)
	case 7:
		query += fmt.Sprint("&bytes=", random.IntN(40<<10))
	case 8:
		path, query = "/", query+fmt.Sprint("&bytes=", random.IntN(40<<10))
	}
	chunked := version == "1.1" && want.method == "POST" && random.IntN(8) == 0
	if random.IntN(100) == 0 {
		head, want.last = head+"Connection: close\r\n", true
		head = strings.Replace(head, "Connection: keep-alive\r\n", "", 1)
	}
	text := strings.Repeat("b", body)
	if chunked {
		cut := random.IntN(body + 1)
		head += "Transfer-Encoding: chunked\r\n"
		whole := ""
		for _, part := range []string{text[:cut], text[cut:]} {
			if part != "" {
				whole += fmt.Sprintf("%x\r\n%s\r\n", len(part), part)
			}
		}
		text = whole + "0\r\n\r\n"
	} else if want.method == "POST" {
		head += fmt.Sprintf("Content-Length: %d\r\n", body)
	}
	fmt.Fprintf(&p.requests, "%s %s%s&body=%d HTTP/%s\r\nHost: x\r\n%s\r\n%s", want.method, path, query, body, version, head, text)
	p.wants = append(p.wants, want)
}

// drawPipeline is a connection's requests, the last of which may be invalid.
func drawPipeline(random *rand.Rand) *pipeline {
	p := &pipeline{}
	for i := range 1 + random.IntN(150) {
		if p.draw(random, i); p.wants[i].last {
			return p
		}
	}
	if random.IntN(4) == 0 {
		p.requests.WriteString("nonsense\r\n\r\n")
		p.wants = append(p.wants, wanted{method: "POST", status: fasthttp.StatusBadRequest, last: true})
	}
	return p
}

// run sends the pipeline in pieces and reads the answers. killed closes the
// connection in the middle; then, and if the server may cut it, the answers may end
// early.
func (p *pipeline) run(t *testing.T, random *rand.Rand, addr string, killed, cut bool) {
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Error(err)
		return
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(patience))
	var writing sync.WaitGroup
	defer writing.Wait()
	sendMax := p.requests.Len()
	if killed {
		sendMax = random.IntN(sendMax)
	}
	seed := random.Uint64()
	writing.Go(func() {
		random := rand.New(rand.NewPCG(seed, 0))
		for left := p.requests.String()[:sendMax]; left != ""; {
			n := min(1+random.IntN(8<<10), len(left))
			if _, err := io.WriteString(conn, left[:n]); err != nil {
				if !killed && !cut {
					t.Errorf("write: %v", err)
				}
				return
			}
			left = left[n:]
			if random.IntN(4) == 0 {
				time.Sleep(time.Duration(random.IntN(2000)) * time.Microsecond)
			}
		}
		switch {
		case killed && random.IntN(2) == 0:
			_ = conn.(*net.TCPConn).SetLinger(0)
			conn.Close()
		case killed || random.IntN(4) == 0:
			_ = conn.(*net.TCPConn).CloseWrite() // answers still come
		}
	})
	defer conn.Close() // before the wait for the writing
	reader := bufio.NewReader(conn)
	for i, want := range p.wants {
		status, err := want.read(reader)
		if err == nil {
			continue
		}
		switch {
		case status == 0 && (killed || cut): // the connection has ended
		case status == fasthttp.StatusBadRequest && killed: // in the middle of the request
		case status == fasthttp.StatusTooManyRequests && cut && i == 0:
		case status == fasthttp.StatusServiceUnavailable && cut: // no memory
			continue
		default:
			t.Errorf("answer %d of %d: %v", i, len(p.wants), err)
		}
		return
	}
}

// read reads the answer; status is 0 if none has come.
func (w wanted) read(from *bufio.Reader) (status int, err error) {
	request := &http.Request{Method: w.method}
	response, err := http.ReadResponse(from, request)
	if err == nil && response.StatusCode == fasthttp.StatusContinue {
		if !w.proceeds {
			return response.StatusCode, fmt.Errorf("want %+v, got 100", w)
		}
		response, err = http.ReadResponse(from, request)
	}
	if err != nil {
		return 0, err
	}
	body, err := io.ReadAll(response.Body)
	if err != nil {
		return 0, err
	}
	message := ""
	if w.method != "HEAD" {
		a, err := proto.ParseAnswer(body)
		if message = a.Message; err != nil {
			return response.StatusCode, fmt.Errorf("want %+v, got %q: %w", w, body, err)
		}
	}
	if w.method == "HEAD" || w.message == "" {
		message = w.message
	}
	if response.StatusCode != w.status || message != w.message {
		return response.StatusCode, fmt.Errorf("want %+v, got %d %.100q", w, response.StatusCode, body)
	}
	return response.StatusCode, nil
}

// settled fails unless the listener is as before the first connection.
func (p *pipelines) settled() {
	p.Helper()
	c := p.server.conns
	for deadline := time.Now().Add(patience); p.server.Conns() > 0; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			p.Fatalf("%d connections are left", p.server.Conns())
		}
	}
	p.givers.Wait() // no handler runs any more
	c.mu.Lock()
	defer c.mu.Unlock()
	held := c.memory.held.Load()
	if held != 0 || len(c.open)+len(c.coming)+c.come+c.refusing+len(c.memory.holders) != 0 {
		p.Errorf("%d bytes held by %d; %d open, %d and %d come, %d being refused", held, len(c.memory.holders), len(c.open), len(c.coming), c.come, c.refusing)
	}
}

// TestPipelines: whatever is pipelined on a connection, the answers belong to its
// requests, in order; and nothing is left of ended connections, even if they were
// killed in the middle.
func TestPipelines(t *testing.T) {
	const clients, turns = 12, 2
	const seed = 1
	for name, config := range map[string]Config{
		"room for all": {ConnsMax: 2 * clients},
		"few places":   {ConnsMax: clients / 2},
		"little room":  {ConnsMax: 2 * clients},
	} {
		t.Run(name, func(t *testing.T) {
			t.Logf("seed %d", seed)
			config.Addresses = admission.DefaultPolicy()
			p := startPipelines(t, config)
			if name == "little room" {
				p.server.conns.memory.most = 20 << 10
			}
			var all sync.WaitGroup
			for i := range clients {
				all.Go(func() {
					random := rand.New(rand.NewPCG(seed, uint64(i)))
					for range turns {
						drawPipeline(random).run(t, random, p.server.Addr().String(), random.IntN(4) == 0, name != "room for all")
					}
				})
			}
			all.Wait()
			p.settled()
			p.server.Drain(t.Context())
			if err := <-p.ended; err != nil {
				t.Error(err)
			}
		})
	}
}
