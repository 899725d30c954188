package httpserve

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"cim/internal/admission"
	"cim/internal/budget"
	"cim/proto"
)

// half is a request that announces a body and sends all but one byte of it.
func half(body int) string {
	return fmt.Sprintf("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s", body, strings.Repeat("b", body-1))
}

// TestBodiesTogether: the memory of incoming long bodies is bounded together; one
// more is refused with a message, and served after the slow one has been ended.
func TestBodiesTogether(t *testing.T) {
	const body = 200 << 10
	s := start(t, 100, 1<<20)
	s.server.conns.memory.most = body - smallBytes + HeaderMax + 10_000
	held := func() int64 { return s.server.conns.memory.held.Load() }
	slow := s.dial(half(body))
	s.eventually("it holds memory", func() bool { return held() >= body-smallBytes })
	one := s.dial(post("/", smallBytes/2)) // a small one takes no memory
	s.want(one, 200, proto.CodeSuccess)
	one.Close()
	s.eventually("a long body is served", func() bool {
		conn := s.dial("POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n" +
			fmt.Sprintf("%x\r\n%s\r\n0\r\n\r\n", body, strings.Repeat("b", body)))
		defer conn.Close()
		response, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil {
			t.Fatal(err)
		}
		text, _ := io.ReadAll(response.Body)
		if response.StatusCode == 503 && !strings.Contains(string(text), `"code":"6000","message":"too many long bodies`) {
			t.Errorf("503 with %s", text)
		}
		time.Sleep(10 * time.Millisecond)
		return response.StatusCode == 200
	})
	s.wantEnd(slow)
	s.eventually("it is counted", func() bool { return s.evicted.Load() > 0 })
	if s.refused.Load() == 0 || s.evicted.Load() != 1 {
		t.Errorf("%d refused, %d evicted, want some and 1", s.refused.Load(), s.evicted.Load())
	}
	s.drain()
	if held() != 0 {
		t.Errorf("%d bytes are held after the end", held())
	}
}

// TestBodiesInTurn: memory of one request is free for the next one of its
// connection and of others.
func TestBodiesInTurn(t *testing.T) {
	const body = 200 << 10
	s := start(t, 100, 1<<20)
	s.server.conns.memory.most = body
	conn := s.dial("")
	for range 10 {
		if _, err := io.WriteString(conn, post("/", body)); err != nil {
			t.Fatal(err)
		}
		s.want(conn, 200, proto.CodeSuccess)
	}
	conn.Close()
	s.drain()
}

// TestShed: when the budget is exceeded, the connection with the largest incomplete
// request is closed; one that is being served goes on.
func TestShed(t *testing.T) {
	s := startWith(t, Config{
		ConnsMax: 100, BodyMax: 1 << 20, Addresses: admission.DefaultPolicy(), IdleTimeout: patience,
		Budget: budget.New(800<<10, nil),
	})
	served := s.dial(post("/wait", 500<<10))
	s.await(1)
	large := s.dial(half(400 << 10))
	s.wantEnd(large)
	s.eventually("it is counted", func() bool { return s.evicted.Load() == 1 })
	close(s.release)
	s.want(served, 200, proto.CodeSuccess)
	s.eventually("nothing is held", func() bool { return s.server.conns.memory.held.Load() == 0 })
	served.Close()
	s.drain()
}

// TestShedAnswers: a long answer that its peer does not take counts, and ends its
// connection when the budget is exceeded. A peer that reads gets its answer.
func TestShedAnswers(t *testing.T) {
	s := startWith(t, Config{
		ConnsMax: 100, BodyMax: 1 << 20, Addresses: admission.DefaultPolicy(), IdleTimeout: patience,
		Budget: budget.New(longAnswer+1<<20, nil),
	})
	read := s.dial(post("/long", 1))
	s.want(read, 200, proto.CodeSuccess)
	deaf := []net.Conn{s.dial(post("/long", 1)), s.dial(post("/long", 1))}
	s.eventually("one ends", func() bool { return s.evicted.Load() > 0 })
	for _, conn := range deaf {
		conn.Close()
	}
	s.want(s.dial(post("/", 1)), 200, proto.CodeSuccess)
	s.eventually("nothing is held", func() bool { return s.server.conns.memory.held.Load() == 0 })
	if n := len(s.server.conns.memory.holders); n != 0 {
		t.Errorf("%d are kept as holders", n)
	}
	read.Close()
	s.drain()
}

// TestAnswersTogether: no room for one more long answer is reported.
func TestAnswersTogether(t *testing.T) {
	s := start(t, 100, 1<<20)
	s.server.conns.memory.most = longAnswer - 1<<20
	conn := s.dial(post("/long", 1))
	s.want(conn, 503, proto.CodeLimit)
	s.want(s.dial(post("/", 1)), 200, proto.CodeSuccess)
	conn.Close()
	s.drain()
}
