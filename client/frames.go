package client

import (
	"fmt"
	"net"
	"time"

	"cim/proto"
)

// frames splits what a connection brings into frames. One goroutine uses it.
type frames struct {
	conn net.Conn
	// silenceMax is how long a read may wait: past it the server is dead.
	silenceMax time.Duration

	buf        []byte // buf[start:end] has been read and not been returned
	start, end int
}

const (
	readSize = 4 << 10
	// frameRoom is the longest frame with its length prefix.
	frameRoom = proto.FrameMax + 5
)

// next returns one frame, which is valid until the next call.
func (f *frames) next() ([]byte, error) {
	for {
		frame, size, reason := proto.NextFrame(f.buf[f.start:f.end], proto.FrameMax)
		if reason != proto.ReasonNone {
			return nil, fmt.Errorf("the server sent a bad frame: %s", reason)
		}
		if frame != nil {
			f.start += size
			return frame, nil
		}
		if err := f.fill(size); err != nil {
			return nil, err
		}
	}
}

// fill reads more, with room for a frame of size.
func (f *frames) fill(size int) error {
	f.end = copy(f.buf, f.buf[f.start:f.end])
	f.start = 0
	if room := max(readSize, min(size, frameRoom)); len(f.buf) < room {
		f.buf = append(make([]byte, 0, room), f.buf[:f.end]...)[:room]
	}
	if err := f.conn.SetReadDeadline(time.Now().Add(f.silenceMax)); err != nil {
		return err
	}
	n, err := f.conn.Read(f.buf[f.end:])
	f.end += n
	if n > 0 {
		return nil
	}
	return err
}
