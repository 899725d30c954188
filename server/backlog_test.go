package server

import (
	"context"
	"net"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/panjf2000/gnet/v2"

	"cim/proto"
	"cim/server/shard"
)

// slowReaders has one loop, and ends no session for silence.
func slowReaders(c *Config) { c.Loops, c.Heartbeat = 1, heartbeatMax }

// loginSlowReader logs in a client of the original whose kernel takes little, and
// that reads only when the test says so.
func (w *world) loginSlowReader(user proto.User) *peer {
	w.Helper()
	dialer := net.Dialer{Control: func(_, _ string, raw syscall.RawConn) (err error) {
		_ = raw.Control(func(fd uintptr) { err = syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_RCVBUF, 4<<10) })
		return err
	}}
	conn, err := dialer.Dial("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(w.server.Member().CIMPort)))
	if err != nil {
		w.Fatal(err)
	}
	w.Cleanup(func() { conn.Close() })
	p := &peer{t: w.T, conn: conn}
	w.route.grant(user, 1, false)
	p.write(proto.AppendLogin(nil, user, proto.DialectV2, proto.Ticket{}))
	w.route.resume(user.ID, 1)
	return p
}

// unsent is how many bytes of user's session have not left the process. The
// server has one loop.
func (w *world) unsent(user proto.UserID) int {
	w.Helper()
	ref, _, _ := w.server.directory.find(user)
	l, unsent := w.server.loops[0], make(chan int, 1)
	err := l.events.Execute(w.Context(), gnet.RunnableFunc(func(context.Context) error {
		seen, _ := l.shard.Info(ref)
		unsent <- seen.Unsent
		return nil
	}))
	if err != nil {
		w.Fatal(err)
	}
	return <-unsent
}

// push pushes a text to user, in a write of its own.
func (w *world) push(user proto.UserID, text string) {
	w.Helper()
	v := w.route.ask(proto.Record{Kind: proto.RecordPush, User: user, Generation: 1, Body: body(ann, text)})
	if v != proto.VerdictTaken {
		w.Fatalf("push: %v", v)
	}
}

// heapBytes is the size of the heap after garbage collection.
func heapBytes() int {
	var m runtime.MemStats
	runtime.GC()
	runtime.GC() // a pool gives up with the second
	runtime.ReadMemStats(&m)
	return int(m.HeapAlloc)
}

// TestMemoryOfSlowReaders sends clients that do not read as much as a session may
// have unsent, in writes of one size: each takes less than 256 KiB.
func TestMemoryOfSlowReaders(t *testing.T) {
	const deaf, memoryMax = 6, 256 << 10
	w := start(t, slowReaders)
	first := proto.UserID(0)
	for _, size := range []int{60, 1100, 9 << 10, 17 << 10, proto.TextMax} {
		first += 100
		for i := range proto.UserID(deaf) {
			w.loginSlowReader(proto.User{ID: first + i, Name: "u" + strconv.Itoa(int(first+i))})
		}
		before, text := heapBytes(), strings.Repeat("x", size)
		for i := range proto.UserID(deaf) {
			for w.unsent(first+i)+len(body(ann, text))+100 <= shard.UnsentBytesMax {
				w.push(first+i, text)
			}
		}
		if each := (heapBytes() - before) / deaf; each > memoryMax {
			t.Errorf("with texts of %d bytes %d take %d KiB each, want at most %d", size, deaf, each>>10, memoryMax>>10)
		} else {
			t.Logf("with texts of %d bytes: %d KiB", size, each>>10)
		}
	}
}

// TestSlowReaderCatchesUp: when a slow reader reads again, it gets its backlog
// whole and in order.
func TestSlowReaderCatchesUp(t *testing.T) {
	w := start(t, slowReaders)
	p := w.loginSlowReader(bob)
	text := func(n int) string {
		sizes := []int{8, 100, 3 << 10, 8 << 10, 20 << 10, proto.TextMax}
		head := strconv.Itoa(n) + " "
		return head + strings.Repeat("x", sizes[n%len(sizes)]-len(head))
	}
	sent := 0
	for ; w.unsent(bob.ID) < shard.UnsentBytesMax-2*proto.TextMax; sent++ {
		w.push(bob.ID, text(sent))
	}
	for want := range sent {
		if m := p.read(); string(m.Text) != text(want) {
			t.Fatalf("received number %d of %d bytes, want %d", number(m.Text), len(m.Text), want)
		}
	}
	w.eventually("nothing is unsent", func() bool { return w.unsent(bob.ID) == 0 })
	w.push(bob.ID, "0 afterwards")
	if m := p.read(); string(m.Text) != "0 afterwards" {
		t.Errorf("then received %q", m.Text)
	}
}

// TestNothingIsWrittenBehindTheEnd closes a connection whose socket has room again,
// while a backlog waits in gnet's buffer: the peer gets none of it, since the
// buffer counts as not sent.
func TestNothingIsWrittenBehindTheEnd(t *testing.T) {
	w := start(t, slowReaders)
	p := w.loginSlowReader(bob)
	text := strings.Repeat("x", 8<<10)
	for w.unsent(bob.ID) < shard.UnsentBytesMax/2 {
		w.push(bob.ID, text)
	}
	ref, _, _ := w.server.directory.find(bob.ID)
	l := w.server.loops[0]
	closed, received, want := make(chan struct{}), 0, 0
	read := func() error {
		n, err := p.conn.Read(make([]byte, 64<<10))
		received += n
		return err
	}
	err := l.events.Execute(w.Context(), gnet.RunnableFunc(func(context.Context) error {
		defer close(closed)
		c := l.conns[ref.Slot]
		for outQueue(c.conn.Fd()) > 0 { // the loop stands still meanwhile, so nothing is added
			if err := read(); err != nil {
				return err
			}
		}
		want = int(l.shard.Stats().BytesOut) - c.unsent()
		l.close(c)
		return nil
	}))
	if err != nil {
		t.Fatal(err)
	}
	<-closed
	for read() == nil {
	}
	if want == 0 || received != want {
		t.Errorf("received %d bytes, want the %d that the socket had taken before the end", received, want)
	}
}
