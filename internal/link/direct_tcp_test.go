//go:build unix

package link

import (
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"testing"
	"time"

	"cim/proto"
)

// socketPair returns an end of a link over loopback, whose socket takes little, and
// the bare connection at its other end.
func socketPair(t *testing.T) (c *Conn, theirs *net.TCPConn) {
	listener := listen(t)
	other, err := net.Dial("tcp", listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { other.Close() })
	ours, err := listener.Accept()
	if err != nil {
		t.Fatal(err)
	}
	if err := ours.(*net.TCPConn).SetWriteBuffer(4 << 10); err != nil {
		t.Fatal(err)
	}
	if err := other.SetDeadline(time.Now().Add(30 * time.Second)); err != nil {
		t.Fatal(err)
	}
	return newSocket(ours, waitingMax), other.(*net.TCPConn)
}

// readRecords reads records from conn until all of them have come, and wants their
// ids from 1 on.
func readRecords(conn net.Conn, all int) error {
	buf, have, last := make([]byte, readSize), 0, uint64(0)
	var r proto.Record
	for last < uint64(all) {
		n, err := conn.Read(buf[have:])
		if err != nil {
			return fmt.Errorf("behind record %d: %w", last, err)
		}
		have += n
		used, err := each(buf[:have], &r, func(r *proto.Record) error {
			if r.ID != last+1 {
				return fmt.Errorf("record %d came behind %d", r.ID, last)
			}
			last = r.ID
			return nil
		})
		if err != nil {
			return err
		}
		have = copy(buf, buf[used:have])
	}
	return nil
}

// TestDirectTCP: the sender writes a record that comes alone, so that nothing of it
// has waited when SendDirect returns.
func TestDirectTCP(t *testing.T) {
	c, theirs := socketPair(t)
	for id := uint64(1); id <= 3; id++ {
		if err := c.SendDirect(text(id, 9)); err != nil || c.Waiting() != 0 {
			t.Fatalf("record %d: %v, %d bytes wait", id, err, c.Waiting())
		}
	}
	if entered := c.out.entered.Load(); entered != 0 {
		t.Errorf("%d bytes have waited for the writer", entered)
	}
	if err := readRecords(theirs, 3); err != nil {
		t.Error(err)
	}
	c.Close()
	if err := c.SendDirect(text(4, 0)); !errors.Is(err, ErrClosed) {
		t.Errorf("after the end: %v", err)
	}
	if n, err := io.Copy(io.Discard, theirs); n != 0 || err != nil {
		t.Errorf("behind the end %d bytes and %v", n, err)
	}
}

// TestDirectTCPPart: what the socket does not take of a record, the writer writes,
// before what was sent meanwhile and later.
func TestDirectTCPPart(t *testing.T) {
	c, theirs := socketPair(t)
	writeNow := c.out.writeNow
	c.out.writeNow = func(p []byte) int {
		send(t, c, text(2, 9))
		return writeNow(p[:len(p)/2])
	}
	if err := c.SendDirect(text(1, proto.FrameMax)); err != nil {
		t.Fatal(err)
	}
	if c.out.entered.Load() == 0 {
		t.Error("nothing waits for the writer")
	}
	if err := c.SendDirect(text(3, 9)); err != nil {
		t.Fatal(err)
	}
	if err := readRecords(theirs, 3); err != nil {
		t.Error(err)
	}
	c.Close()
	<-c.tcp.written
}

// TestDirectTCPRoom: what a sender is writing counts among what waits.
func TestDirectTCPRoom(t *testing.T) {
	c, theirs := socketPair(t)
	if err := c.SendDirect(text(1, waitingMax)); !errors.Is(err, ErrFull) {
		t.Errorf("a record above the bound: %v", err)
	}
	writeNow := c.out.writeNow
	c.out.writeNow = func(p []byte) int {
		if c.Waiting() != len(p) {
			t.Errorf("%d bytes wait while %d are written", c.Waiting(), len(p))
		}
		if err := c.Send(text(2, 0)); err != nil {
			t.Error(err)
		}
		if got, want := c.Waiting(), len(p)+proto.RecordSize(text(2, 0)); got != want {
			t.Errorf("%d bytes wait, want %d", got, want)
		}
		return writeNow(p)
	}
	if err := c.SendDirect(text(1, 100)); err != nil {
		t.Fatal(err)
	}
	if err := readRecords(theirs, 2); err != nil {
		t.Error(err)
	}
	c.Close()
	<-c.tcp.written
}

// TestDirectTCPOrder: the records of each of many senders come in order, however they
// are sent, and none is torn by another.
func TestDirectTCPOrder(t *testing.T) {
	const senders, each = 8, 500
	a, b := linked(t, waitingMax)
	var last [senders]uint64
	came, all := 0, make(chan struct{})
	ended := running(t.Context(), b, func(r *proto.Record) error {
		if r.ID != last[r.User]+1 {
			return fmt.Errorf("sender %d: record %d came behind %d", r.User, r.ID, last[r.User])
		}
		last[r.User] = r.ID
		if came++; came == senders*each {
			close(all)
		}
		return nil
	})
	var sending sync.WaitGroup
	for user := range senders {
		sending.Go(func() {
			for id := uint64(1); id <= each; id++ {
				r, send := proto.Record{Kind: proto.RecordPush, ID: id, User: proto.UserID(user), Body: make([]byte, id)}, a.SendDirect
				if id%5 == 0 {
					send = a.Send
				}
				if err := send(&r); err != nil {
					t.Error(err)
				}
			}
		})
	}
	sending.Wait()
	select {
	case <-all:
	case err := <-ended:
		t.Fatal(err)
	}
	b.Close()
	<-ended
}
