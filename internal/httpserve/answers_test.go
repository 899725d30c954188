package httpserve

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"cim/internal/admission"
	"cim/proto"
)

// owedLaters waits for n requests whose answers are owed.
func (s *stand) owedLaters(n int) []*Later {
	s.Helper()
	var all []*Later
	for range n {
		select {
		case l := <-s.owed:
			all = append(all, l)
		case <-time.After(patience):
			s.Fatalf("%d of %d requests have begun", len(all), n)
		}
	}
	return all
}

func giveTo(l *Later, message string) { l.Answer(proto.CodeSuccess, message, "") }

// wantMessages reads responses in this order.
func (s *stand) wantMessages(from *bufio.Reader, messages ...string) {
	s.Helper()
	for i, message := range messages {
		if got := s.response(from); !strings.Contains(got, `"`+message+`"`) {
			s.Errorf("answer %d is %q, want %q", i+1, got, message)
		}
	}
}

// TestBesideOrder: requests begin side by side, and are answered in their order,
// whatever the order of their answers. A request that may not overlap them, one for
// the same subject and an invalid one wait.
func TestBesideOrder(t *testing.T) {
	for next, begun := range map[string]string{
		post("/", 7): "7", post("/later", 0): "last", post("/beside?to=2", 0): "last", "nonsense\r\n\r\n": "no HTTP request",
	} {
		s := start(t, 10, 100)
		conn := s.dial(post("/beside?to=1", 0) + post("/beside", 0) + post("/beside?to=2", 0) + post("/beside", 0) + next)
		reader := bufio.NewReader(conn)
		all := s.owedLaters(4)
		for _, i := range []int{3, 1, 2, 0} {
			if len(s.owed) > 0 {
				t.Errorf("%.20q has begun before answer %d was given", next, i)
			}
			giveTo(all[i], fmt.Sprint("answer ", i))
		}
		s.wantMessages(reader, "answer 0", "answer 1", "answer 2", "answer 3")
		if begun == "last" {
			giveTo(<-s.owed, begun)
		}
		if got := s.response(reader); !strings.Contains(got, begun) {
			t.Errorf("%.20q: %q", next, got)
		}
		conn.Close()
		s.drain()
	}
}

// TestBesideCut: a connection that ends while answers are owed keeps its place
// until they are given, which does no harm, and holds no memory after that.
func TestBesideCut(t *testing.T) {
	s := start(t, 10, 100)
	conn := s.dial(post("/beside", 100) + post("/beside", 100) + post("/beside", 100))
	all := s.owedLaters(3)
	if err := conn.(*net.TCPConn).SetLinger(0); err != nil {
		t.Fatal(err)
	}
	if held, _, _ := s.server.conns.Held(); held != 2*(owedBytes+100) {
		t.Errorf("%d bytes are held for two requests behind another", held)
	}
	conn.Close()
	for _, i := range []int{1, 2, 0} {
		if s.server.Conns() != 1 {
			t.Errorf("%d connections while an answer is owed", s.server.Conns())
		}
		giveTo(all[i], "late")
	}
	s.eventually("it has left", func() bool { return s.server.Conns() == 0 })
	if held, _, _ := s.server.conns.Held(); held != 0 {
		t.Errorf("%d bytes are held", held)
	}
	s.drain()
}

// TestBesideNoMemory: if there is no memory for an owed answer behind another one,
// the request waits for the earlier ones.
func TestBesideNoMemory(t *testing.T) {
	s := start(t, 10, 100)
	s.server.conns.memory.most = owedBytes + 50
	conn := s.dial(post("/beside", 50) + post("/beside", 50) + post("/beside", 50))
	reader := bufio.NewReader(conn)
	all := s.owedLaters(2)
	giveTo(all[1], "two")
	if len(s.owed) > 0 {
		t.Error("the third has begun")
	}
	giveTo(all[0], "one")
	giveTo(s.owedLaters(1)[0], "three")
	s.wantMessages(reader, "one", "two", "three")
	conn.Close()
	s.drain()
}

// TestBesideDrain: the drain waits for all owed answers.
func TestBesideDrain(t *testing.T) {
	s := start(t, 10, 100)
	conn := s.dial(post("/beside", 0) + post("/beside", 0) + post("/beside", 0))
	reader := bufio.NewReader(conn)
	all := s.owedLaters(3)
	drained := make(chan struct{})
	go func() { s.drain(); close(drained) }()
	s.eventually("the drain begins", s.server.Draining)
	for i, l := range all {
		if s.server.Conns() != 1 {
			t.Errorf("%d connections before answer %d", s.server.Conns(), i)
		}
		giveTo(l, fmt.Sprint("answer ", i))
		s.wantMessages(reader, fmt.Sprint("answer ", i))
	}
	if n, err := reader.Read(make([]byte, 1)); n != 0 || err != io.EOF {
		t.Errorf("behind the last answer: %d bytes, %v", n, err)
	}
	<-drained
	conn.Close()
}

// TestBesideHalfRequest: a connection that is owed answers keeps its place however
// slowly its next request comes in. After they are given it counts as slow, and may
// be evicted.
func TestBesideHalfRequest(t *testing.T) {
	s := start(t, 1, 100)
	conn := s.dial(post("/beside", 0) + post("/beside", 0) + "POST /half")
	reader := bufio.NewReader(conn)
	all := s.owedLaters(2)
	second := s.dial(post("/", 0))
	s.want(second, 429, proto.CodeLimit)
	second.Close()
	giveTo(all[0], "one")
	giveTo(all[1], "two")
	s.wantMessages(reader, "one", "two")
	third := s.dial(post("/", 0))
	s.want(third, 200, proto.CodeSuccess)
	third.Close()
	conn.Close()
	s.drain()
	if s.evicted.Load() != 1 {
		t.Errorf("%d evicted", s.evicted.Load())
	}
}

// writesConn records its writes, each of which waits for free.
type writesConn struct {
	net.Conn
	free chan error

	mu     sync.Mutex
	writes []string
	closed bool
	readBy time.Time // deadline
}

func (c *writesConn) Write(p []byte) (int, error) {
	if err := <-c.free; err != nil {
		return 0, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.writes = append(c.writes, string(p))
	return len(p), nil
}

func (c *writesConn) RemoteAddr() net.Addr { return nil }

func (c *writesConn) SetWriteDeadline(time.Time) error { return nil }

func (c *writesConn) SetReadDeadline(t time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.readBy = t
	return nil
}

func (c *writesConn) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed = true
	return nil
}

// newQueue is the queue of a connection that writes to c.
func newQueue(c *writesConn) *answerQueue {
	all := &conns{places: newPlaces(1, admission.Policy{}, func(net.Addr) {})}
	all.memory.most = BodiesBytesMax
	one, _ := all.enter(c)
	return &newHTTPConn(one, all).answers
}

// pushWhole adds an answer whose head fasthttp has written.
func pushWhole(q *answerQueue) *Later {
	l := q.push(OverlapKey{Kind: "beside"}, 0)
	q.hold([]byte("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"))
	return l
}

// TestAnswersJoined: responses that are complete together are one write, and so are
// those that become complete during a write.
func TestAnswersJoined(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &writesConn{free: make(chan error)}
		q := newQueue(c)
		one, two, three, four := pushWhole(q), pushWhole(q), pushWhole(q), pushWhole(q)
		q.give(two, []byte("two"))
		q.give(one, []byte("one"))
		q.give(four, []byte("four"))
		q.give(three, []byte("three"))
		c.free <- nil
		c.free <- nil
		synctest.Wait()
		head := "HTTP/1.1 200 OK\r\nContent-Length: "
		want := fmt.Sprintf("%q", []string{
			head + "3\r\n\r\none" + head + "3\r\n\r\ntwo", head + "5\r\n\r\nthree" + head + "4\r\n\r\nfour",
		})
		if got := fmt.Sprintf("%q", c.writes); got != want || !q.settled() {
			t.Errorf("%s, want %s", got, want)
		}
	})
}

// TestAnswersBound: at the bound the next request waits until an answer has been
// written, even if the socket takes none.
func TestAnswersBound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &writesConn{free: make(chan error)}
		q := newQueue(c)
		var all []*Later
		for range owedMax {
			q.onFirstByte()
			all = append(all, pushWhole(q))
			q.onResponse()
		}
		begun := false
		go func() { q.onFirstByte(); begun = true }()
		synctest.Wait()
		if q.give(all[1], []byte("1")); begun {
			t.Error("it has begun beyond the bound")
		}
		if q.stage != stageReading {
			t.Error("the connection would rest behind its last answer, while a request is under way")
		}
		q.give(all[0], []byte("0")) // is being written
		synctest.Wait()
		if !begun {
			t.Error("it waits although there is room")
		}
		for _, l := range all[2:] {
			q.give(l, []byte("x"))
		}
		for range 2 {
			c.free <- nil
		}
		synctest.Wait()
		if !q.settled() || len(c.writes) != 2 {
			t.Errorf("%d writes, %d owed", len(c.writes), len(q.owed))
		}
	})
}

// TestAnswersFailed: if a response cannot be written the connection ends, and the
// next one is not waited for.
func TestAnswersFailed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &writesConn{free: make(chan error)}
		q := newQueue(c)
		one, two := pushWhole(q), pushWhole(q)
		q.give(one, []byte("one"))
		q.give(two, []byte("two"))
		for range 2 {
			c.free <- errors.New("broken")
		}
		q.wait()
		if !c.closed || len(c.writes) != 0 {
			t.Errorf("closed %v, writes %q", c.closed, c.writes)
		}
	})
}

// TestAnswersClose: a connection that fasthttp has closed is closed after its owed
// answers are written.
func TestAnswersClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &writesConn{free: make(chan error)}
		q := newQueue(c)
		l := pushWhole(q)
		go func() { _ = q.conn.Close() }()
		if synctest.Wait(); c.closed {
			t.Error("closed while an answer is owed")
		}
		q.give(l, []byte("late"))
		if synctest.Wait(); c.closed {
			t.Error("closed while an answer is written")
		}
		c.free <- nil
		if synctest.Wait(); !c.closed || len(c.writes) != 1 {
			t.Errorf("closed %v, writes %q", c.closed, c.writes)
		}
	})
}

// TestAnswersBeforeContinue: if a request's body waits for 100 Continue, its time
// to be sent starts then, however long the earlier answers took.
func TestAnswersBeforeContinue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &writesConn{free: make(chan error)}
		q := newQueue(c)
		l := pushWhole(q)
		q.onResponse()
		q.onFirstByte()
		go func() { _, _ = q.conn.Write([]byte("HTTP/1.1 100 Continue\r\n\r\n")) }()
		time.Sleep(2 * SendTimeout)
		q.give(l, []byte("late"))
		c.free <- nil
		c.free <- nil
		synctest.Wait()
		if len(c.writes) != 2 || !c.readBy.Equal(time.Now().Add(SendTimeout)) {
			t.Errorf("writes %q; the body has %v, want %v", c.writes, time.Until(c.readBy), SendTimeout)
		}
	})
}
