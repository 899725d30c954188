package server

// The backlog of a connection is the bytes that its socket has not taken. gnet's
// buffer holds it, but gnet rounds each write up to a power of two and allocates a
// node for it: messages of 65 bytes would take three times their size. So gnet gets
// whole blocks, and the last, incomplete block stays in the connection.
const (
	// blockBytes is a power of two.
	blockBytes = 8 << 10
	// writeBytesMax bounds one write to a socket that takes bytes: gnet rounds up
	// what the socket does not take of it.
	writeBytesMax = 32 << 10
)

// unsent returns how many bytes the socket has not taken.
func (c *connection) unsent() int { return c.conn.OutboundBuffered() + len(c.backlogBytes()) }

// backlogBytes returns the incomplete block at the end of the backlog.
func (c *connection) backlogBytes() []byte {
	if c.backlog == nil {
		return nil
	}
	return *c.backlog
}

// write hands data to the socket, and appends the rest to the backlog. If the write
// fails, it closes the connection inside the call.
func (c *connection) write(data []byte) {
	c.unwritten += int32(len(data))
	if !c.flush() {
		return
	}
	for len(data) > 0 && c.conn.OutboundBuffered() == 0 {
		n := min(len(data), writeBytesMax)
		taken, open := c.offer(data[:n])
		c.unwritten -= int32(taken)
		if !open || taken < n && !c.buffer(data[taken:n]) {
			return
		}
		c.unwritten -= int32(n - taken)
		data = data[n:]
	}
	c.unwritten -= int32(len(data))
	c.appendBacklog(data)
}

// flush writes the incomplete block if the socket has taken all before it, and
// reports whether the connection is still open.
func (c *connection) flush() bool {
	block := c.backlogBytes()
	if len(block) == 0 || c.conn.OutboundBuffered() > 0 {
		return true
	}
	taken, open := c.offer(block)
	if !open {
		return false
	}
	open = c.buffer(block[taken:]) // gnet copies it
	*c.backlog = block[:0]
	return open
}

// offer writes data to the socket and returns how many bytes it took. gnet's buffer
// must be empty. The system call is made directly, since gnet's call goes through
// Go's scheduler.
func (c *connection) offer(data []byte) (taken int, open bool) {
	taken, err := writeSocket(c.conn.Fd(), data)
	if err != nil {
		c.loop.close(c)
		return 0, false
	}
	return taken, true
}

// buffer gives gnet what the socket has not taken; gnet writes it when the socket
// is writable.
func (c *connection) buffer(data []byte) (open bool) {
	if len(data) == 0 {
		return true
	}
	_, err := c.conn.Write(data)
	return err == nil
}

// appendBacklog puts data at the end of the backlog.
func (c *connection) appendBacklog(data []byte) {
	for len(data) > 0 {
		if c.backlog == nil {
			c.backlog = new([]byte)
			*c.backlog = make([]byte, 0, blockBytes)
		}
		block := *c.backlog
		n := min(len(data), blockBytes-len(block))
		block = append(block, data[:n]...)
		data = data[n:]
		if len(block) == blockBytes {
			_, _ = c.conn.Write(block) // only buffers it, behind the rest
			block = block[:0]
		}
		*c.backlog = block
	}
}

func (l *loop) onWritten(c *connection) {
	again := l.shard.Wrote(c.ref.Slot, c.unsent())
	if again && !c.backlogged {
		c.backlogged = true
		l.backlogged = append(l.backlogged, c)
	}
}

// flushBacklogs checks once a tick which sockets have taken their backlog since:
// gnet does not report it.
func (l *loop) flushBacklogs() {
	kept := l.backlogged[:0]
	for _, c := range l.backlogged {
		if l.conns[c.ref.Slot] != c || !c.flush() {
			continue
		}
		if l.shard.Wrote(c.ref.Slot, c.unsent()) {
			kept = append(kept, c)
			continue
		}
		c.backlogged, c.backlog = false, nil
		if c.ending {
			l.shutSending(c)
		}
	}
	clear(l.backlogged[len(kept):])
	l.backlogged = kept
	l.sendAnswers()
	l.endConnections()
}

// discard keeps gnet from writing its buffer once more after OnClose: what is in
// the buffer counts as not sent, and may be returned to the box.
func (l *loop) discard(c *connection) {
	if c.conn.OutboundBuffered() > 0 {
		_ = shutSending(c.conn.Fd()) // it fails if the peer has gone: then nothing is written either
	}
}

// unacknowledged returns how many bytes that the shard has handed out are not
// acknowledged by the peer's kernel: never written, not taken by the socket, or
// waiting in the socket.
func (c *connection) unacknowledged() int {
	queued := outQueue(c.conn.Fd())
	if c.shut && queued > 0 {
		queued-- // the FIN
	}
	return int(c.unwritten) + c.unsent() + queued
}

// pollKernels reports to the shard, once a tick, what the peers of the watched
// connections have acknowledged, and forwards the results.
func (l *loop) pollKernels() {
	l.shard.PollWatched(func(slot uint32) int {
		if c := l.conns[slot]; c != nil {
			return c.unacknowledged()
		}
		return 0
	})
	l.forwardAcked() // before a goodbye is answered, which may wait for a Return
	l.forwardKept()
}

// pollFull reports to the shard what the peers have acknowledged for sessions that
// are near their bound of kept texts.
func (l *loop) pollFull() {
	for slot, some := l.shard.NextPoll(); some; slot, some = l.shard.NextPoll() {
		if c := l.conns[slot]; c != nil {
			l.shard.SetUnacked(slot, c.unacknowledged())
		}
	}
}

func (l *loop) shutSending(c *connection) {
	c.shut = true
	if err := shutSending(c.conn.Fd()); err != nil {
		l.close(c) // the peer is gone
	}
}
