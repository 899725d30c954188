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
	// lingerTime and lingerBytesMax bound how long a refused connection is still
	// read: closing it with unread bytes would reset it, and the peer might not see
	// the answer. lingerBytesMax is more than the largest body.
	lingerTime     = time.Second
	lingerBytesMax = proto.IntakeBodyMax + 1<<20
	// aheadSize is what a connection buffers of the next request before fasthttp
	// reads beyond its first byte. Most requests fit.
	aheadSize = 1 << 10
)

// httpConn is one connection. Its server closes it, or the drain, or an eviction.
type httpConn struct {
	*occupant
	ahead   *bufio.Reader // the first byte of a request needs no system call of its own
	conns   *conns
	asked   bool // fasthttp has set its first deadline
	linger  atomic.Bool
	refused atomic.Bool // there was no memory for the request

	bareLF   bool
	got      int   // bytes of the request that is being read
	reserved int64 // of conns' memory

	answers answerQueue // the owed answers
}

func newHTTPConn(one *occupant, conns *conns) *httpConn {
	c := &httpConn{occupant: one, ahead: bufio.NewReaderSize(one.Conn, aheadSize), conns: conns}
	c.answers.init(c)
	return c
}

// Read implements net.Conn. It fails for an evicted connection, so that no request
// of it begins.
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
		c.bareLF = c.endsInLF() // reported by the next Read: fasthttp takes any error at the first byte for the end
	}
	c.got += n
	return n, err
}

// errBareLF: the request is not read on.
var errBareLF = errors.New("the lines of the header end in LF, want CR LF")

// endsInLF reports whether the header read so far has a line that ends without CR:
// fasthttp would wait for more until the time-out.
func (c *httpConn) endsInLF() bool {
	come, _ := c.ahead.Peek(c.ahead.Buffered())
	return bytes.Contains(come, []byte("\n\n")) && !bytes.Contains(come, []byte("\r\n\r\n"))
}

// SetReadDeadline implements net.Conn. The first request of a connection may take
// as long to begin as each later one, since proxies connect in advance. fasthttp
// would give it only the time to send a request.
func (c *httpConn) SetReadDeadline(t time.Time) error {
	if !c.asked {
		c.asked = true
		t = time.Now().Add(c.conns.idleMax)
	}
	return c.Conn.SetReadDeadline(t)
}

// Write implements net.Conn. Each write has its own deadline: for answers without
// the handler, fasthttp leaves that of the answer before, so a peer that was idle
// for longer would not get the answer.
func (c *httpConn) Write(p []byte) (int, error) {
	if c.answers.hold(p) {
		return len(p), nil
	}
	if c.answers.wait() { // earlier answers are written first
		// This may be 100 Continue: the time for the rest of the request starts
		// now.
		if err := c.Conn.SetReadDeadline(time.Now().Add(SendTimeout)); err != nil {
			return 0, err
		}
	}
	if err := c.Conn.SetWriteDeadline(time.Now().Add(SendTimeout)); err != nil {
		return 0, err
	}
	return c.Conn.Write(p)
}

// Close closes after all owed answers are written, and after lingering if the peer
// was refused.
func (c *httpConn) Close() error {
	c.answers.wait()
	if c.linger.Load() {
		lingerOn(c.Conn)
	}
	return c.Conn.Close()
}

// lingerOn shuts down the sending side and reads what the peer still sends, within
// the bounds. It ignores errors, which are the peer's end.
func lingerOn(c net.Conn) {
	half, ok := c.(*net.TCPConn)
	if !ok || half.CloseWrite() != nil || c.SetReadDeadline(time.Now().Add(lingerTime)) != nil {
		return
	}
	_, _ = io.CopyN(io.Discard, c, lingerBytesMax)
}
