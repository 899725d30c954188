package link

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"testing"
	"testing/synctest"
	"time"

	"cim/proto"
)

// unread is an end whose other end is a connection that is never read.
func unread(waitingMax int) (*Conn, net.Conn) {
	ours, theirs := net.Pipe()
	return newSocket(ours, waitingMax), theirs
}

// TestRoom fills a link up to the bound of Send and one byte past it, and up to
// that of SendReserved and one byte past it; bytes that are being written count
// until they are written.
func TestRoom(t *testing.T) {
	const bound = 1000
	head := proto.RecordSize(text(0, 0))
	pair, _ := Pair(bound)
	tcp, theirs := unread(bound)
	send(t, tcp, text(1, 0))
	for taken := 0; taken == 0; { // by its writer, which then waits for the reader
		tcp.out.mu.Lock()
		taken = tcp.out.writing
		tcp.out.mu.Unlock()
	}
	send(t, pair, text(1, 0))
	for name, c := range map[string]*Conn{"pair": pair, "TCP": tcp} {
		for _, step := range []struct {
			size int // of the whole record
			send func(*proto.Record) error
			want error
		}{
			{bound - head + 1, c.Send, ErrFull},
			{bound - head, c.Send, nil},
			{head, c.Send, ErrFull},
			{proto.FrameMax, c.SendReserved, nil},
			{proto.FrameMax, c.SendReserved, nil},
			{proto.FrameMax + 1, c.SendReserved, ErrFull},
			{proto.FrameMax, c.SendReserved, nil},
			{head, c.SendReserved, ErrFull},
		} {
			if err := step.send(text(1, step.size-head)); !errors.Is(err, step.want) {
				t.Errorf("%s: a record of %d bytes beside %d: %v, want %v", name, step.size, c.Waiting(), err, step.want)
			}
		}
		if want := bound + ReservedRoom; c.Waiting() != want {
			t.Errorf("%s: %d bytes wait, want %d", name, c.Waiting(), want)
		}
	}
	theirs.Close()
	if err := tcp.Run(t.Context(), refuse); err == nil {
		t.Error("the link goes on without its other end")
	}
}

// TestPeerStopsReading: if the peer takes nothing, the link ends after writeMax; if
// it takes some bytes within each writeMax, the link goes on.
func TestPeerStopsReading(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, theirs := unread(4 << 20)
		defer theirs.Close()
		for range 3 * writeSize / proto.FrameMax {
			send(t, c, text(1, proto.FrameMax))
		}
		ended := running(t.Context(), c, refuse)
		start := time.Now()
		for range 2 {
			time.Sleep(writeMax - time.Millisecond)
			if _, err := io.ReadFull(theirs, make([]byte, writeSize)); err != nil {
				t.Fatalf("after %v: %v", time.Since(start), err)
			}
		}
		err := <-ended
		if !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("Run: %v", err)
		}
		if took, want := time.Since(start), 3*writeMax-2*time.Millisecond; took != want {
			t.Errorf("ended after %v, want %v", took, want)
		}
		if err := c.Send(text(1, 1)); !errors.Is(err, ErrClosed) {
			t.Errorf("Send after the end: %v", err)
		}
	})
}

// TestLinger: a closed end waits lingerMax for a peer that does not read, whether
// it runs or not.
func TestLinger(t *testing.T) {
	for _, run := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			c, theirs := unread(4 << 20)
			defer theirs.Close()
			send(t, c, text(1, 10))
			ctx, cancel := context.WithCancel(t.Context())
			ended := make(chan error, 1)
			if run {
				ended = make(chan error, 1)
				go func() { ended <- c.Run(ctx, refuse) }()
				synctest.Wait()
			}
			start := time.Now()
			if cancel(); !run {
				c.Close()
				<-c.tcp.written
				ended <- context.Canceled
			}
			if err := <-ended; !errors.Is(err, context.Canceled) {
				t.Errorf("Run: %v", err)
			}
			if took := time.Since(start); took != lingerMax {
				t.Errorf("ended after %v, want %v", took, lingerMax)
			}
		})
	}
}

// TestHelloSilence: if the peer does not send its whole first message, the
// handshake ends after firstMax; without its proof, after proofMax.
func TestHelloSilence(t *testing.T) {
	good := proto.AppendHello(nil, proto.Hello{Version: proto.LinkVersion, Epoch: config.Epoch})
	for n, want := range map[int]time.Duration{0: firstMax, len(good) - 1: firstMax, len(good): proofMax, len(good) + 1: proofMax} {
		synctest.Test(t, func(t *testing.T) {
			ours, theirs := net.Pipe()
			defer theirs.Close()
			go func() {
				_, _ = theirs.Write(append(good, 1)[:n])
				_, _ = io.Copy(io.Discard, theirs)
			}()
			start := time.Now()
			_, err := Accept(t.Context(), ours, config)
			if took := time.Since(start); took != want || err == nil {
				t.Errorf("given up after %v, want %v", took, want)
			}
			if !errors.Is(err, errSilent) {
				t.Errorf("behind %d bytes: %v", n, err)
			}
		})
	}
}

// TestTorn: the other end stops within each kind of part of a record, or sends an
// invalid record.
func TestTorn(t *testing.T) {
	record := proto.AppendRecord(nil, text(1, 10))
	tooLong := []byte{0xff, 0xff, 0xff, 0xff}
	bad := (*proto.LinkError)(nil)
	for name, test := range map[string]struct {
		sends []byte
		read  int
		want  func(error) bool
	}{
		"between records":  {append(record, record...), 2, func(err error) bool { return errors.Is(err, ErrClosed) }},
		"within a length":  {append(record, record[:3]...), 1, func(err error) bool { return errors.Is(err, io.ErrUnexpectedEOF) }},
		"half a record":    {append(record, record[:20]...), 1, func(err error) bool { return errors.Is(err, io.ErrUnexpectedEOF) }},
		"one byte missing": {record[:len(record)-1], 0, func(err error) bool { return errors.Is(err, io.ErrUnexpectedEOF) }},
		"past the bound":   {append(record, tooLong...), 1, func(err error) bool { return errors.As(err, &bad) }},
	} {
		ours, theirs := net.Pipe()
		c := newSocket(ours, waitingMax)
		read := 0
		ended := running(t.Context(), c, func(*proto.Record) error { read++; return nil })
		if _, err := theirs.Write(append([]byte{}, test.sends...)); err != nil {
			t.Fatal(err)
		}
		theirs.Close()
		if err := <-ended; read != test.read || !test.want(err) {
			t.Errorf("%s: %d records, want %d; then %v", name, read, test.read, err)
		}
	}
}

// TestLargest sends the largest record, byte by byte, and another one after it: the
// reader's buffer holds any record.
func TestLargest(t *testing.T) {
	largest := text(1, proto.FrameMax)
	largest.Name = make([]byte, proto.RecordNameMax)
	stream := proto.AppendRecord(proto.AppendRecord(nil, largest), text(2, 1))
	if len(stream) <= proto.RecordMax || proto.RecordSize(largest) != proto.RecordMax {
		t.Fatalf("a record of %d bytes, want %d", proto.RecordSize(largest), proto.RecordMax)
	}
	ours, theirs := net.Pipe()
	c := newSocket(ours, waitingMax)
	var ids []uint64
	ended := running(t.Context(), c, func(r *proto.Record) error { ids = append(ids, r.ID); return nil })
	for rest := stream; len(rest) > 0; {
		n := min(len(rest), 1009)
		if _, err := theirs.Write(rest[:n]); err != nil {
			t.Fatal(err)
		}
		rest = rest[n:]
	}
	theirs.Close()
	if err := <-ended; len(ids) != 2 || !errors.Is(err, ErrClosed) {
		t.Errorf("records %v, then %v", ids, err)
	}
}

// TestCloseDelivers: what was sent before Close arrives, in both directions,
// whichever end closes and whether it runs or not.
func TestCloseDelivers(t *testing.T) {
	const records = 200
	for _, run := range []bool{true, false} {
		a, b := linked(t, waitingMax<<4)
		for id := range uint64(records) {
			send(t, a, text(id, 5000))
			send(t, b, text(id, 5000))
		}
		var ended <-chan error
		fromB := 0
		if run {
			begun := make(chan struct{})
			ended = running(t.Context(), a, func(*proto.Record) error {
				if fromB++; fromB == 1 {
					close(begun)
				}
				return nil
			})
			<-begun
		}
		a.Close()
		fromA := 0
		err := <-running(t.Context(), b, func(*proto.Record) error { fromA++; return nil })
		if fromA != records || !errors.Is(err, ErrClosed) {
			t.Errorf("run %v: %d records came, want %d; then %v", run, fromA, records, err)
		}
		if !run {
			continue
		}
		if err := <-ended; fromB != records || !errors.Is(err, ErrClosed) {
			t.Errorf("%d records came to the end that was closed, want %d; then %v", fromB, records, err)
		}
	}
}

// TestHandlerEnds: a handler's error is Run's, and ends the other end too.
func TestHandlerEnds(t *testing.T) {
	a, b := linked(t, waitingMax)
	failure := errors.New("the handler's")
	send(t, a, text(1, 10), text(2, 10))
	other := running(t.Context(), a, refuse)
	if err := <-running(t.Context(), b, func(*proto.Record) error { return failure }); !errors.Is(err, failure) {
		t.Errorf("Run: %v", err)
	}
	if err := <-other; !errors.Is(err, ErrClosed) {
		t.Errorf("the other Run: %v", err)
	}
}

// BenchmarkAnswerTCP is BenchmarkAnswer over loopback.
func BenchmarkAnswerTCP(b *testing.B) {
	from, to := linked(b, waitingMax)
	benchmarkAnswer(b, from, to)
}

// TestAbort: an aborted link ends at once, for the given reason, and what the other
// end has not got by then never arrives.
func TestAbort(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	theirs, err := net.Dial("tcp", listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer theirs.Close()
	ours, err := listener.Accept()
	if err != nil {
		t.Fatal(err)
	}
	if err := ours.(*net.TCPConn).SetWriteBuffer(64 << 10); err != nil {
		t.Fatal(err)
	}
	c := newSocket(ours, 64<<20)
	const sent = 32 << 20 // more than the kernels of both ends take
	for range sent / (32 << 10) {
		send(t, c, text(1, 32<<10))
	}
	ended := make(chan error, 1)
	go func() { ended <- c.Run(t.Context(), func(*proto.Record) error { return nil }) }()
	cause := errors.New("silent")
	c.Abort(cause)
	if err := <-ended; !errors.Is(err, cause) {
		t.Errorf("Run: %v, want the cause", err)
	}
	n, err := io.Copy(io.Discard, theirs)
	if err == nil || n >= sent {
		t.Errorf("the other end read %d bytes of %d, and then %v", n, sent, err)
	}
	if !errors.Is(c.Send(text(1, 1)), ErrClosed) {
		t.Error("an aborted link takes more")
	}
	a, b := Pair(1000)
	a.Abort(cause)
	if err := b.Run(t.Context(), func(*proto.Record) error { return nil }); !errors.Is(err, ErrClosed) || !a.InProcess() || c.InProcess() {
		t.Errorf("the other end within the process: %v", err)
	}
}
