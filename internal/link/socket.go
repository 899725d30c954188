package link

import (
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"

	"cim/proto"
)

const (
	// writeMax is how long one write may take, and how long TCP waits for the
	// peer's kernel: a peer that takes nothing for that long is dead or stuck.
	writeMax = 10 * time.Second
	// writeSize bounds one write, to distinguish a slow peer, which takes some
	// bytes, from a peer that takes none.
	writeSize = 256 << 10
	// lingerMax is how long a closed end continues to write and read what was sent
	// before.
	lingerMax = time.Second
	// readSize is the size of the reader's buffer: always more than one record.
	readSize = 2 * proto.RecordMax
)

// socket is the transport of a Conn over TCP: a goroutine that writes what is
// queued, and Run as the reader.
type socket struct {
	conn    net.Conn
	out     *queue
	written chan struct{} // closed when the writer has ended

	mu      sync.Mutex
	closed  bool
	cause   error // the reason, if not Close
	running bool  // Run reads
	unread  bool  // the writer drops incoming bytes, since Run does not read
}

// newSocket returns the end of a link after its handshake, and starts its writer,
// which ends with the link.
func newSocket(conn net.Conn, waitingMax int) *Conn {
	s := &socket{conn: conn, out: newQueue(waitingMax), written: make(chan struct{})}
	go s.write()
	return &Conn{out: s.out, tcp: s}
}

// close has the writer end after the queued records.
func (s *socket) close() { s.end(nil) }

// end closes the link. The first cause counts.
func (s *socket) end(cause error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return
	}
	s.closed, s.cause = true, cause
	// If a socket refuses the deadline it is closed, and so ended.
	_ = s.conn.SetDeadline(time.Now().Add(lingerMax))
	s.out.close()
}

// abort ends the link, and drops what is queued here and in the kernel.
func (s *socket) abort(cause error) {
	s.end(cause)
	if tcp, ok := s.conn.(interface{ SetLinger(seconds int) error }); ok {
		_ = tcp.SetLinger(0) // fails only if the socket has no kernel buffer
	}
	_ = s.conn.Close() // ends the reader and the writer
}

// run reads until the link ends, and waits for the end of the writer: the socket is
// closed when run returns.
func (s *socket) run(handle Handler) error {
	var err error
	if s.begin() {
		err = s.read(handle)
	}
	s.end(err)
	<-s.written
	s.discard()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.cause != nil {
		return s.cause
	}
	return ErrClosed
}

// begin reports whether run may read: not if the link was closed before.
func (s *socket) begin() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.running = !s.unread
	return s.running
}

// read passes incoming records to handle. It returns nil if the stream ends between
// two records.
func (s *socket) read(handle Handler) error {
	buf := make([]byte, readSize)
	have := 0
	var r proto.Record
	for {
		n, err := s.conn.Read(buf[have:])
		have += n
		used, bad := each(buf[:have], &r, handle)
		if bad != nil {
			return bad
		}
		have = copy(buf, buf[used:have])
		switch {
		case err == io.EOF && have > 0:
			return fmt.Errorf("link: read: %w within a record", io.ErrUnexpectedEOF)
		case err == io.EOF:
			return nil
		case err != nil:
			return fmt.Errorf("link: read: %w", err)
		}
	}
}

// write writes what is queued until the link ends, then reports the end to the
// peer.
func (s *socket) write() {
	defer close(s.written)
	var segment []byte
	for {
		var some bool
		if segment, some = s.out.takeToWrite(segment); !some {
			s.shut()
			return
		}
		if err := s.writeSegment(segment); err != nil {
			s.end(fmt.Errorf("link: write: %w", err))
			_ = s.conn.Close() // ends the reader; unwritten records are lost
			return
		}
	}
}

func (s *socket) writeSegment(segment []byte) error {
	for len(segment) > 0 {
		part := segment[:min(len(segment), writeSize)]
		s.allowWrite()
		if _, err := s.conn.Write(part); err != nil {
			return err
		}
		s.out.wrote(len(part))
		segment = segment[len(part):]
	}
	return nil
}

// allowWrite sets the deadline of the next write; a closed end keeps its own.
func (s *socket) allowWrite() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.closed {
		_ = s.conn.SetWriteDeadline(time.Now().Add(writeMax))
	}
}

// shut shuts down the sending side after the written bytes.
func (s *socket) shut() {
	half, ok := s.conn.(interface{ CloseWrite() error })
	if !ok || half.CloseWrite() != nil {
		_ = s.conn.Close()
		return
	}
	s.mu.Lock()
	s.unread = !s.running
	unread := s.unread
	s.mu.Unlock()
	if unread {
		s.discard()
	}
}

// discard closes the socket of a closed link after the peer has closed too, or
// after lingerMax: closing with unread bytes would reset the connection, and the
// peer would lose what it was just sent.
func (s *socket) discard() {
	_, _ = io.Copy(io.Discard, s.conn)
	_ = s.conn.Close()
}

// tune makes a dead peer noticed within about writeMax: by keepalive if nothing is
// in flight, otherwise by its silence.
func tune(conn net.Conn) error {
	tcp, ok := conn.(*net.TCPConn)
	if !ok {
		return nil
	}
	err := tcp.SetKeepAliveConfig(net.KeepAliveConfig{Enable: true, Idle: 4 * time.Second, Interval: 2 * time.Second, Count: 3})
	if err != nil {
		return err
	}
	raw, err := tcp.SyscallConn()
	if err != nil {
		return err
	}
	var failed error
	err = raw.Control(func(fd uintptr) { failed = boundSilence(fd, writeMax) })
	return errors.Join(err, failed)
}
