package httpserve

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"net"
	"sync/atomic"
	"time"

	"cim/proto"
)

const (
	// lingerTime and lingerBytesMax bound how long a connection that was
	// refused is still read from: closed with bytes unread it would be reset,
	// and the peer might never see why. It is more than the largest body.
	lingerTime     = time.Second
	lingerBytesMax = proto.IntakeBodyMax + 1<<20
	// aheadSize is what a connection holds of the next request before fasthttp
	// asks for more than its first byte. Most requests fit.
	aheadSize = 1 << 10
)

// httpConn is one connection. Its server closes it, or the drain does, or a
// newcomer that takes its place.
type httpConn struct {
	*occupant
	ahead   *bufio.Reader // of Conn: the first byte of a request costs no system call of its own
	conns   *conns
	asked   bool // fasthttp has set its first deadline
	linger  atomic.Bool
	refused atomic.Bool // there was no memory for the request

	bareLF   bool
	got      int   // bytes of the request that is being read
	reserved int64 // of conns' memory

	answers answerQueue // those that are owed
}

func newHTTPConn(one *occupant, conns *conns) *httpConn {
	c := &httpConn{occupant: one, ahead: bufio.NewReaderSize(one.Conn, aheadSize), conns: conns}
	c.answers.init(c)
	return c
}

// Read implements net.Conn. Nothing is read of an evicted connection, so that
// no request of it begins.
func (c *httpConn) Read(p []byte) (int, error) {
	if c.evicted.Load() {
		return 0, net.ErrClosed
	}
	if !c.reserve(c.got + len(p)) {
		return 0, errNoMemory
	}
	if c.bareLF {
		return 0, errBareLF
	}
	n, err := c.ahead.Read(p)
	if c.got == 0 {
		c.bareLF = c.endsInLF() // told at the next Read: fasthttp takes any error at the first byte for the end
	}
	c.got += n
	return n, err
}

// errBareLF is why a request is not read on.
var errBareLF = errors.New("the lines of the header end in LF, want CR LF")

// endsInLF reports whether the header that has come ends in a line without CR:
// fasthttp would wait for one until the time to send a request is over.
func (c *httpConn) endsInLF() bool {
	come, _ := c.ahead.Peek(c.ahead.Buffered())
	return bytes.Contains(come, []byte("\n\n")) && !bytes.Contains(come, []byte("\r\n\r\n"))
}

// SetReadDeadline implements net.Conn. The first request of a connection may
// take as long to begin as each later one: proxies connect ahead of need.
// fasthttp would give it the time to send a request.
func (c *httpConn) SetReadDeadline(t time.Time) error {
	if !c.asked {
		c.asked = true
		t = time.Now().Add(c.conns.idleMax)
	}
	return c.Conn.SetReadDeadline(t)
}

// Write implements net.Conn. Each write has its own deadline: fasthttp's is that
// of the answer before for all that it answers without the handler, so a peer that
// was idle for longer would not get it.
func (c *httpConn) Write(p []byte) (int, error) {
	if c.answers.hold(p) {
		return len(p), nil
	}
	if c.answers.wait() { // those before are written first
		// This may be 100 Continue: the rest of the request has its time from now on.
		if err := c.Conn.SetReadDeadline(time.Now().Add(SendTimeout)); err != nil {
			return 0, err
		}
	}
	if err := c.Conn.SetWriteDeadline(time.Now().Add(SendTimeout)); err != nil {
		return 0, err
	}
	return c.Conn.Write(p)
}

// Close closes once no answer is owed, and after a while of reading on if the peer
// was refused.
func (c *httpConn) Close() error {
	c.answers.wait()
	if c.linger.Load() {
		lingerOn(c.Conn)
	}
	return c.Conn.Close()
}

// lingerOn says that nothing more comes and reads what the peer still sends,
// within its bounds. Its errors are the peer's end, which is what it waits for.
func lingerOn(c net.Conn) {
	half, ok := c.(*net.TCPConn)
	if !ok || half.CloseWrite() != nil || c.SetReadDeadline(time.Now().Add(lingerTime)) != nil {
		return
	}
	_, _ = io.CopyN(io.Discard, c, lingerBytesMax)
}
