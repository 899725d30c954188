package httpserve

import (
	"bufio"
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httputil"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"cim/proto"
)

// response reads one response, without its Date, which differs.
func (s *stand) response(from *bufio.Reader) string {
	s.Helper()
	response, err := http.ReadResponse(from, nil)
	if err != nil {
		s.Fatal(err)
	}
	defer response.Body.Close()
	dump, err := httputil.DumpResponse(response, true)
	if err != nil {
		s.Fatal(err)
	}
	return regexp.MustCompile(`Date: [^\r]*\r\n`).ReplaceAllString(string(dump), "")
}

// TestLaterAnswer: an answer that is given later equals the one that the handler
// would have given, whatever its length, and the connection goes on.
func TestLaterAnswer(t *testing.T) {
	s := start(t, 10, 100)
	conn := s.dial(post("/later", 3))
	reader := bufio.NewReader(conn)
	l := <-s.owed
	l.Answer(proto.CodeSuccess, "3", "")
	later := s.response(reader)
	if _, err := io.WriteString(conn, post("/", 3)); err != nil {
		t.Fatal(err)
	}
	if now := s.response(reader); later != now {
		t.Errorf("later:\n%q\nat once:\n%q", later, now)
	}
	body := proto.Body(strings.Repeat("a", 2000))
	if _, err := io.WriteString(conn, post("/later", 0)); err != nil {
		t.Fatal(err)
	}
	(<-s.owed).Answer(proto.CodeOffline, "", body)
	want := string(proto.AppendAnswer(nil, proto.CodeOffline, "", body))
	if long := s.response(reader); !strings.HasSuffix(long, "\r\n\r\n"+want) {
		t.Errorf("a long one: %q", long)
	}
	conn.Close()
	s.drain()
}

// TestLaterAtOnce gives the answer before the handler has returned.
func TestLaterAtOnce(t *testing.T) {
	s := start(t, 10, 100)
	conn := s.dial(post("/later/given", 0) + post("/later/given", 0))
	reader := bufio.NewReader(conn)
	for range 2 {
		if response, err := http.ReadResponse(reader, nil); err != nil || response.StatusCode != http.StatusOK {
			t.Fatalf("%v, %v", response, err)
		} else if _, err := io.Copy(io.Discard, response.Body); err != nil {
			t.Fatal(err)
		}
	}
	conn.Close()
	s.drain()
}

// TestLaterOrder: a request behind an owed answer begins when that is given, and
// the answers come in order.
func TestLaterOrder(t *testing.T) {
	s := start(t, 10, 100)
	conn := s.dial(post("/later", 0) + post("/later", 0) + post("/", 7))
	reader := bufio.NewReader(conn)
	for i, message := range []string{"one", "two"} {
		l := <-s.owed
		if len(s.owed) > 0 {
			t.Errorf("request %d has begun before the one before it was answered", i+2)
		}
		l.Answer(proto.CodeSuccess, message, "")
		if got := s.response(reader); !strings.Contains(got, `"`+message+`"`) {
			t.Errorf("answer %d is %q", i+1, got)
		}
	}
	if got := s.response(reader); !strings.Contains(got, `"7"`) {
		t.Errorf("the last answer is %q", got)
	}
	conn.Close()
	s.drain()
}

// TestLaterClosing: a client that asked for the end of the connection, or has
// closed its sending side, gets the answer first.
func TestLaterClosing(t *testing.T) {
	s := start(t, 10, 100)
	asked := s.dial(strings.Replace(post("/later", 0), "Host: x", "Host: x\r\nConnection: close", 1))
	(<-s.owed).Answer(proto.CodeSuccess, "", "")
	s.want(asked, 200, proto.CodeSuccess)
	half := s.dial(post("/later", 0))
	l := <-s.owed
	if err := half.(*net.TCPConn).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	l.Answer(proto.CodeSuccess, "", "")
	s.want(half, 200, proto.CodeSuccess)
	for _, conn := range []net.Conn{asked, half} {
		if n, err := conn.Read(make([]byte, 1)); n != 0 || err != io.EOF {
			t.Errorf("behind the answer: %d bytes, %v", n, err)
		}
		conn.Close()
	}
	s.drain()
}

// TestLaterKeepsItsPlace: a connection that is owed an answer keeps its place from
// new connections and from the drain until the answer is given.
func TestLaterKeepsItsPlace(t *testing.T) {
	s := start(t, 1, 100)
	conn := s.dial(post("/later", 0))
	l := <-s.owed
	second := s.dial(post("/", 0))
	s.want(second, 429, proto.CodeLimit)
	second.Close()
	drained := make(chan struct{})
	go func() { s.drain(); close(drained) }()
	s.eventually("the drain begins", s.server.Draining)
	if s.server.Conns() != 1 {
		t.Errorf("%d connections while an answer is owed", s.server.Conns())
	}
	l.Answer(proto.CodeSuccess, "", "")
	s.want(conn, 200, proto.CodeSuccess)
	<-drained
	conn.Close()
	if s.evicted.Load() != 0 {
		t.Error("it was evicted")
	}
}

// TestLaterRests: a connection whose answer has been given can be evicted.
func TestLaterRests(t *testing.T) {
	s := start(t, 1, 100)
	conn := s.dial(post("/later", 0))
	(<-s.owed).Answer(proto.CodeSuccess, "", "")
	s.want(conn, 200, proto.CodeSuccess)
	second := s.dial(post("/", 0))
	s.want(second, 200, proto.CodeSuccess)
	second.Close()
	conn.Close()
	s.drain()
}

// TestLaterSlowReader: a slow reader does not block the goroutine that gives the
// answer, and gets it whole.
func TestLaterSlowReader(t *testing.T) {
	s := start(t, 10, 100)
	conn := s.dial(post("/later", 0) + post("/", 5))
	given := make(chan struct{})
	go func() {
		(<-s.owed).AnswerWhole(proto.AppendAnswer(nil, proto.CodeSuccess, "", proto.Body(strings.Repeat("a", longAnswer))))
		close(given)
	}()
	select {
	case <-given: // before anything was read
	case <-time.After(patience):
		t.Fatal("the answer is waited for")
	}
	reader := bufio.NewReader(conn)
	if long := s.response(reader); len(long) < longAnswer {
		t.Errorf("%d bytes of the answer have come", len(long))
	}
	if got := s.response(reader); !strings.Contains(got, `"5"`) {
		t.Errorf("the next answer is %.100q", got)
	}
	conn.Close()
	s.drain()
}

// halfConn takes the first byte of a write and no more within the deadline.
type halfConn struct {
	net.Conn
	closed chan struct{}
}

func (halfConn) SetWriteDeadline(time.Time) error { return nil }

func (halfConn) Write([]byte) (int, error) { return 1, os.ErrDeadlineExceeded }

func (c halfConn) Close() error {
	close(c.closed)
	return nil
}

// TestLaterHalf: if the peer takes only a part of an answer in time, nothing may
// follow it, so the connection is closed.
func TestLaterHalf(t *testing.T) {
	half := halfConn{closed: make(chan struct{})}
	conn := newHTTPConn(&occupant{Conn: half}, &conns{log: slog.New(slog.DiscardHandler)})
	l := conn.answers.push(OverlapKey{}, 0)
	if _, err := conn.Write([]byte("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")); err != nil {
		t.Fatal(err)
	}
	l.Answer(proto.CodeSuccess, "", "")
	select {
	case <-half.closed:
	case <-time.After(patience):
		t.Error("the connection goes on")
	}
}

// TestLaterDrainDeadline: an answer that is given after its connection was cut off
// does no harm.
func TestLaterDrainDeadline(t *testing.T) {
	s := start(t, 10, 100)
	conn := s.dial(post("/later", 0))
	l := <-s.owed
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	drained := make(chan struct{})
	go func() { s.server.Drain(ctx); close(drained) }()
	if n, err := conn.Read(make([]byte, 1)); n != 0 || err == nil {
		t.Errorf("%d bytes, %v", n, err)
	}
	l.Answer(proto.CodeSuccess, "", "")
	<-drained
	if err := <-s.ended; err != nil {
		t.Error(err)
	}
	conn.Close()
}
