package httpserve

import (
	"errors"
	"io"
	"net"
	"strings"
	"syscall"
	"testing"
	"time"

	"cim/internal/admission"
	"cim/proto"
)

// wantEnd waits until the server has closed conn, without a byte.
func (s *stand) wantEnd(conn net.Conn) {
	s.Helper()
	n, err := conn.Read(make([]byte, 1))
	// Unread bytes make the end a reset.
	if n != 0 || err != io.EOF && !errors.Is(err, syscall.ECONNRESET) {
		s.Errorf("%d bytes, %v, want the end of the connection", n, err)
	}
	conn.Close()
}

// await waits for n requests that wait for the release.
func (s *stand) await(n int) {
	s.Helper()
	for range n {
		select {
		case <-s.waiting:
		case <-time.After(patience):
			s.Fatalf("no request within %v", patience)
		}
	}
}

// eventually waits for done.
func (s *stand) eventually(what string, done func() bool) {
	s.Helper()
	for deadline := time.Now().Add(patience); !done(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			s.Fatalf("%s: not within %v", what, patience)
		}
	}
}

// TestLongestIdleMakesWay fills the server with idle connections. Each new
// connection evicts the one that has idled longest, which ends without a byte.
func TestLongestIdleMakesWay(t *testing.T) {
	s := start(t, 3, 100)
	var conns []net.Conn
	open := func() net.Conn {
		conn := s.dial(post("/", 0))
		s.want(conn, 200, proto.CodeSuccess)
		conns = append(conns, conn)
		s.eventually("it idles", func() bool { return s.evictable() == min(len(conns), 3) })
		return conn
	}
	first, second, third := open(), open(), open()
	if _, err := io.WriteString(first, post("/", 0)); err != nil {
		t.Fatal(err)
	}
	s.want(first, 200, proto.CodeSuccess)
	s.eventually("idle", func() bool { return s.evictable() == 3 })
	open()
	s.wantEnd(second)
	open()
	s.wantEnd(third)
	if s.refused.Load() != 0 || s.evicted.Load() != 2 {
		t.Errorf("%d refused, %d evicted, want 0 and 2", s.refused.Load(), s.evicted.Load())
	}
	s.eventually("three are open", func() bool { return s.server.Conns() == 3 })
	s.drain()
	for _, conn := range conns {
		conn.Close()
	}
}

// evictable is the number of evictable connections.
func (s *stand) evictable() int {
	s.server.conns.mu.Lock()
	defer s.server.conns.mu.Unlock()
	return s.server.conns.table.Evictable()
}

// TestRequestsKeepTheirPlaces: if requests in progress have all places, a new
// connection is answered 429; when one has been answered there is room again.
func TestRequestsKeepTheirPlaces(t *testing.T) {
	s := start(t, 2, 100)
	busy := []net.Conn{s.dial(post("/wait", 0)), s.dial(post("/wait", 0))}
	s.await(2)
	surplus := s.dial("")
	s.want(surplus, 429, proto.CodeLimit)
	surplus.Close()
	close(s.release)
	for _, conn := range busy {
		s.want(conn, 200, proto.CodeSuccess)
	}
	s.eventually("idle", func() bool { return s.evictable() == 2 })
	next := s.dial(post("/", 0))
	s.want(next, 200, proto.CodeSuccess)
	if s.refused.Load() != 1 || s.evicted.Load() != 1 {
		t.Errorf("%d refused, %d evicted, want 1 of each", s.refused.Load(), s.evicted.Load())
	}
	s.drain()
	for _, conn := range append(busy, next) {
		conn.Close()
	}
}

// TestSurplusMax: SurplusMax connections without a place are answered, and one more
// is closed at once; those with a place go on.
func TestSurplusMax(t *testing.T) {
	s := start(t, 1, 100)
	busy := s.dial(post("/wait", 0))
	s.await(1)
	var open []net.Conn
	began := time.Now()
	for range SurplusMax + 1 {
		open = append(open, s.dial(""))
	}
	late := time.Since(began) >= lingerTime // the first ones have left
	answered := 0
	for _, conn := range open {
		answer, err := io.ReadAll(conn)
		if err != nil {
			t.Fatal(err)
		}
		if strings.HasPrefix(string(answer), "HTTP/1.1 429 ") {
			answered++
		}
	}
	for _, conn := range open {
		conn.Close()
	}
	if answered < SurplusMax || answered > SurplusMax && !late {
		t.Errorf("%d answered, want %d", answered, SurplusMax)
	}
	if n := s.refused.Load(); n != SurplusMax+1 {
		t.Errorf("%d are counted as refused, want %d: the answered ones and the one that was not answered", n, SurplusMax+1)
	}
	close(s.release)
	s.want(busy, 200, proto.CodeSuccess)
	busy.Close()
	s.drain()
}

// TestSlowMakeWay: a connection with half a header or half a body is evicted after
// a while, without an answer. New connections wait for that.
func TestSlowMakeWay(t *testing.T) {
	s := start(t, 2, 100)
	slow := []net.Conn{s.dial("POST / HT"), s.dial("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nhalf")}
	s.eventually("both have begun", func() bool { return s.phases(phaseReading) == 2 })
	began := time.Now()
	newcomers := []net.Conn{s.dial(post("/wait", 0)), s.dial(post("/wait", 0))}
	s.await(2)
	if took := time.Since(began); took < slowAfter/2 {
		t.Errorf("they made way after %v, want %v", took, slowAfter)
	}
	for _, conn := range slow {
		s.wantEnd(conn)
	}
	close(s.release)
	for _, conn := range newcomers {
		s.want(conn, 200, proto.CodeSuccess)
		conn.Close()
	}
	if s.refused.Load() != 0 || s.evicted.Load() != 2 {
		t.Errorf("%d refused, %d evicted, want 0 and 2", s.refused.Load(), s.evicted.Load())
	}
	s.drain()
	if s.server.conns.come != 0 {
		t.Errorf("%d requests come in after the end", s.server.conns.come)
	}
}

// TestShareOfRequestsThatCome: half requests of one address keep no more than its
// share of places from new connections, at once.
func TestShareOfRequestsThatCome(t *testing.T) {
	policy := admission.Policy{Share: 0.25, LoopbackCounts: true}
	s := startWith(t, Config{ConnsMax: 8, BodyMax: 100, Addresses: policy, IdleTimeout: patience})
	var conns []net.Conn
	for range 8 {
		conns = append(conns, s.dial("POST / HT"))
	}
	s.eventually("all have begun", func() bool { return s.phases(phaseReading) == 8 })
	if got := s.evictable(); got != 6 {
		t.Errorf("%d may be evicted of 8 half requests, want all but a quarter", got)
	}
	for range 6 {
		conn := s.dialFrom("127.0.0.2", post("/wait", 0))
		s.await(1)
		conns = append(conns, conn)
	}
	if s.refused.Load() != 0 || s.evicted.Load() != 6 {
		t.Errorf("%d refused, %d evicted, want 0 and 6", s.refused.Load(), s.evicted.Load())
	}
	close(s.release)
	for _, conn := range conns {
		conn.Close()
	}
	s.drain()
	if len(s.server.conns.coming) != 0 {
		t.Errorf("counted after the end: %v", s.server.conns.coming)
	}
}

// TestHalfRequestsLeaveSpare: half requests, even of exempt addresses, leave a
// quarter of the places to new connections, at once.
func TestHalfRequestsLeaveSpare(t *testing.T) {
	s := start(t, 8, 100)
	var conns []net.Conn
	for range 8 {
		conns = append(conns, s.dial("POST / HT"))
	}
	s.eventually("all have begun", func() bool { return s.phases(phaseReading) == 8 })
	if got := s.evictable(); got != 2 {
		t.Errorf("%d may be evicted of 8 half requests, want a quarter", got)
	}
	for range 2 {
		conns = append(conns, s.dial(post("/wait", 0)))
		s.await(1)
	}
	if s.refused.Load() != 0 || s.evicted.Load() != 2 {
		t.Errorf("%d refused, %d evicted, want 0 and 2", s.refused.Load(), s.evicted.Load())
	}
	close(s.release)
	for _, conn := range conns {
		conn.Close()
	}
	s.drain()
}

// TestNewcomerWaitsForAnAnswer: if requests being served have all places, a new
// connection gets the first that is answered.
func TestNewcomerWaitsForAnAnswer(t *testing.T) {
	s := start(t, 1, 100)
	busy := s.dial(post("/wait", 0))
	s.await(1)
	newcomer := s.dial(post("/", 0))
	s.eventually("it waits", func() bool {
		s.server.conns.mu.Lock()
		defer s.server.conns.mu.Unlock()
		return s.server.conns.refusing == 1
	})
	close(s.release)
	s.want(busy, 200, proto.CodeSuccess)
	s.want(newcomer, 200, proto.CodeSuccess)
	if s.refused.Load() != 0 {
		t.Errorf("%d refused, want none", s.refused.Load())
	}
	busy.Close()
	newcomer.Close()
	s.drain()
}

// phases counts the connections in one phase.
func (s *stand) phases(p phase) int {
	s.server.conns.mu.Lock()
	defer s.server.conns.mu.Unlock()
	n := 0
	for conn := range s.server.conns.open {
		if conn.phase == p {
			n++
		}
	}
	return n
}

// TestShareOfTheIdle: connections of an address above its share are evicted first,
// even if those of others have idled longer.
func TestShareOfTheIdle(t *testing.T) {
	policy := admission.Policy{Share: 0.25, LoopbackCounts: true}
	s := startWith(t, Config{ConnsMax: 8, BodyMax: 100, Addresses: policy, IdleTimeout: patience})
	old := s.dialFrom("127.0.0.2", post("/", 0))
	s.want(old, 200, proto.CodeSuccess)
	s.eventually("idle", func() bool { return s.evictable() == 1 })
	var many []net.Conn
	for range 40 {
		conn := s.dial(post("/", 0))
		s.want(conn, 200, proto.CodeSuccess)
		many = append(many, conn)
	}
	if _, err := io.WriteString(old, post("/", 3)); err != nil {
		t.Fatal(err)
	}
	s.want(old, 200, proto.CodeSuccess)
	s.drain()
	for _, conn := range append(many, old) {
		conn.Close()
	}
}

// TestQuietEnd: a connection without a request, or without another one, ends after
// the idle time-out without a byte.
func TestQuietEnd(t *testing.T) {
	s := startWith(t, Config{ConnsMax: 8, BodyMax: 100, Addresses: admission.DefaultPolicy(), IdleTimeout: time.Second})
	began := time.Now()
	silent, served := s.dial(""), s.dial(post("/", 0))
	s.want(served, 200, proto.CodeSuccess)
	s.wantEnd(silent)
	s.wantEnd(served)
	if took := time.Since(began); took < time.Second {
		t.Errorf("ended after %v", took)
	}
	if s.refused.Load() != 0 {
		t.Errorf("%d refused, want none", s.refused.Load())
	}
	s.drain()
}

// TestAnswerAfterIdle: a peer that has been idle for longer than a write may take
// still gets its answer, also without the handler.
func TestAnswerAfterIdle(t *testing.T) {
	for request, want := range map[string]int{
		"nonsense\r\n\r\n": 400,
		"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 101\r\n\r\n":                       413,
		"POST / HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\n": 100,
	} {
		s := start(t, 8, 100)
		conn := s.dial(post("/", 0))
		s.want(conn, 200, proto.CodeSuccess)
		s.server.conns.mu.Lock()
		for one := range s.server.conns.open {
			if err := one.SetWriteDeadline(time.Unix(1, 0)); err != nil { // as an old answer leaves it
				t.Error(err)
			}
		}
		s.server.conns.mu.Unlock()
		if _, err := io.WriteString(conn, request); err != nil {
			t.Fatal(err)
		}
		status := make([]byte, len("HTTP/1.1 100"))
		if _, err := io.ReadFull(conn, status); err != nil || string(status[len("HTTP/1.1 "):]) != statusText(want) {
			t.Errorf("%.30q: %q, %v, want %d", request, status, err, want)
		}
		conn.Close()
		s.drain()
	}
}
