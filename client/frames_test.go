package client

import (
	"bytes"
	"errors"
	"io"
	"net"
	"strings"
	"syscall"
	"testing"
	"time"

	"cim/proto"
)

// stream is a connection that delivers its bytes in pieces of up to size.
type stream struct {
	net.Conn
	rest []byte
	size int
}

func (s *stream) SetReadDeadline(time.Time) error { return nil }

func (s *stream) Read(p []byte) (int, error) {
	if len(s.rest) == 0 {
		return 0, io.EOF
	}
	n := copy(p, s.rest[:min(s.size, len(s.rest))])
	s.rest = s.rest[n:]
	return n, nil
}

// FuzzFrames reads any bytes of a server, in pieces: the result is the same as all at once, and no
// buffer is larger than a frame.
func FuzzFrames(f *testing.F) {
	large := proto.AppendDelivery(nil, bytes.Repeat([]byte{0x0a}, proto.FrameMax-100), 7)
	f.Add([]byte(proto.Pong+proto.Pong), uint16(1))
	f.Add(append(append([]byte(proto.Pong), large...), proto.Pong...), uint16(4097))
	f.Add([]byte{0xff, 0xff, 0xff, 0x7f}, uint16(3))
	f.Add([]byte{0, 0, 0x80}, uint16(2))
	f.Fuzz(func(t *testing.T, all []byte, size uint16) {
		in := frames{conn: &stream{rest: all, size: int(size) + 1}, silenceMax: time.Hour}
		for {
			want, taken, reason := proto.NextFrame(all, proto.FrameMax)
			got, err := in.next()
			if (err == nil) != (want != nil) || !bytes.Equal(got, want) {
				t.Fatalf("%d bytes, %v; want %d, %s", len(got), err, len(want), reason)
			}
			if len(in.buf) > frameRoom {
				t.Fatalf("a buffer of %d bytes", len(in.buf))
			}
			if err != nil {
				return
			}
			all = all[taken:]
		}
	})
}

// TestLargeFrame reads a frame as large as any, and keeps no buffer for it.
func TestLargeFrame(t *testing.T) {
	ours, theirs := net.Pipe()
	defer ours.Close()
	body := proto.AppendBody(nil, proto.MessageFrom(proto.CommandMessage, ann, 1, []string{
		strings.Repeat("x", proto.TextMax), strings.Repeat("y", proto.FrameMax-proto.TextMax-1024),
	}))
	large := proto.AppendDelivery(nil, body, ann.ID)
	wrote := make(chan error, 1)
	go func() {
		_, err := theirs.Write(append(large, proto.Pong...))
		wrote <- errors.Join(err, theirs.Close())
	}()
	f := frames{conn: ours, silenceMax: waitMax}
	if frame, err := f.next(); err != nil || len(frame) < len(large)-5 {
		t.Fatalf("%d bytes, %v", len(frame), err)
	}
	if frame, err := f.next(); err != nil || string(frame) != proto.Pong[1:] {
		t.Errorf("behind it comes %q, %v", frame, err)
	}
	if _, err := f.next(); err == nil || len(f.buf) != readSize {
		t.Errorf("%v with a buffer of %d bytes, want the end with %d", err, len(f.buf), readSize)
	}
	if err := await(t, wrote); err != nil {
		t.Error(err)
	}
}

// TestReset: the error of a broken connection is in plain words.
func TestReset(t *testing.T) {
	f := newFake(t, ticketOne)
	config := f.config()
	lost := make(chan error, 1)
	config.Reconnect = func(_ int, why error) bool { lost <- why; return false }
	_, p := f.logIn(config)
	if err := p.conn.(*net.TCPConn).SetLinger(0); err != nil {
		t.Fatal(err)
	}
	p.close()
	if why := await(t, lost); why.Error() != "client: connection: connection reset by peer" || !errors.Is(why, syscall.ECONNRESET) {
		t.Errorf("lost by %v", why)
	}
}
