package server

// What a socket has not taken lies in gnet's buffer, which rounds each write up
// to a power of two and takes a node for it: messages of 65 bytes would need
// three times their size. So it is given whole blocks, and the beginning of the
// next one stays here.
const (
	// blockBytes is a power of two.
	blockBytes = 8 << 10
	// writeBytesMax bounds one write to a socket that takes bytes: what it does
	// not take of it is rounded up too.
	writeBytesMax = 32 << 10
)

// unsent is how many bytes the socket has not taken.
func (c *connection) unsent() int { return c.conn.OutboundBuffered() + len(c.block) }

// write hands data to the socket, and keeps what it does not take. A write that
// fails closes the connection inside the call.
func (c *connection) write(data []byte) {
	if !c.flush() {
		return
	}
	for len(data) > 0 && c.conn.OutboundBuffered() == 0 {
		n := min(len(data), writeBytesMax)
		if _, err := c.conn.Write(data[:n]); err != nil {
			return
		}
		data = data[n:]
	}
	c.keep(data)
}

// flush writes the block that has begun if the socket has taken all before it,
// and reports whether the connection is still open.
func (c *connection) flush() bool {
	if len(c.block) == 0 || c.conn.OutboundBuffered() > 0 {
		return true
	}
	_, err := c.conn.Write(c.block)
	c.block = c.block[:0]
	return err == nil
}

// keep puts data behind what the socket has not taken.
func (c *connection) keep(data []byte) {
	for len(data) > 0 {
		if c.block == nil {
			c.block = make([]byte, 0, blockBytes)
		}
		n := min(len(data), blockBytes-len(c.block))
		c.block = append(c.block, data[:n]...)
		data = data[n:]
		if len(c.block) == blockBytes {
			_, _ = c.conn.Write(c.block) // only buffers it, behind the rest
			c.block = c.block[:0]
		}
	}
}

func (l *loop) wrote(c *connection) {
	again := l.shard.Wrote(c.ref.Slot, c.unsent())
	if again && !c.stalled {
		c.stalled = true
		l.stalled = append(l.stalled, c)
	}
}

// lookAtStalled asks once a tick which sockets have taken their bytes since:
// nothing tells.
func (l *loop) lookAtStalled() {
	kept := l.stalled[:0]
	for _, c := range l.stalled {
		if l.conns[c.ref.Slot] != c || !c.flush() {
			continue
		}
		if l.shard.Wrote(c.ref.Slot, c.unsent()) {
			kept = append(kept, c)
			continue
		}
		c.stalled, c.block = false, nil
		if c.ending {
			l.shutSending(c)
		}
	}
	clear(l.stalled[len(kept):])
	l.stalled = kept
	l.tellAnswers()
	l.endConnections()
}

func (l *loop) shutSending(c *connection) {
	if err := shutSending(c.conn.Fd()); err != nil {
		l.close(c) // the peer is gone
	}
}
