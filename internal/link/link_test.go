package link

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"cim/proto"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const waitingMax = 1 << 20

// text is a record with a body of that size.
func text(id uint64, size int) *proto.Record {
	return &proto.Record{Kind: proto.RecordPush, ID: id, User: 7, Body: bytes.Repeat([]byte("x"), size)}
}

// send sends records that must be taken.
func send(t testing.TB, c *Conn, records ...*proto.Record) {
	t.Helper()
	for _, r := range records {
		if err := c.Send(r); err != nil {
			t.Fatalf("Send of record %d: %v", r.ID, err)
		}
	}
}

// running runs c, for half a minute at most, and returns a channel for Run's error.
func running(ctx context.Context, c *Conn, handle Handler) <-chan error {
	ended := make(chan error, 1)
	go func() {
		ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
		defer cancel()
		ended <- c.Run(ctx, handle)
	}()
	return ended
}

// refuse is a handler that no record should reach.
func refuse(r *proto.Record) error { return fmt.Errorf("record %d came", r.ID) }

// TestRecordsArrive sends a record with every field in both directions.
func TestRecordsArrive(t *testing.T) {
	want := proto.Record{
		Kind: proto.RecordGrant, Flags: proto.FlagDemandTicket, Verdict: proto.VerdictLives, Code: 9000,
		ID: 1 << 63, User: 5, Generation: 6, Value: 7, Name: []byte("ann"), Body: []byte("ticket"),
	}
	a, b := Pair(waitingMax)
	send(t, a, &want)
	if size := proto.RecordSize(&want); a.Waiting() != size || b.Waiting() != 0 {
		t.Errorf("%d and %d bytes wait, want %d and 0", a.Waiting(), b.Waiting(), size)
	}
	send(t, b, &want)
	for _, end := range []*Conn{a, b} {
		ctx, cancel := context.WithCancel(t.Context())
		got := 0
		err := end.Run(ctx, func(r *proto.Record) error {
			got++
			if fmt.Sprint(*r) != fmt.Sprint(want) {
				t.Errorf("record %+v, want %+v", *r, want)
			}
			cancel()
			return nil
		})
		if got != 1 || !errors.Is(err, context.Canceled) {
			t.Errorf("%d records came, want 1; then %v", got, err)
		}
	}
}

// TestOrder: several senders send while the reader reads; each one's records arrive
// in its order, and all of them.
func TestOrder(t *testing.T) {
	const senders, records = 4, 5000
	a, b := Pair(senders * records * proto.RecordSize(text(0, 8)))
	next := make([]uint64, senders)
	read := 0
	ended := running(t.Context(), b, func(r *proto.Record) error {
		if r.ID != next[r.Value] {
			return fmt.Errorf("record %d of sender %d, want %d", r.ID, r.Value, next[r.Value])
		}
		next[r.Value]++
		read++
		return nil
	})
	var all sync.WaitGroup
	for sender := range uint64(senders) {
		all.Go(func() {
			r := text(0, 8)
			r.Value = sender
			for r.ID = range uint64(records) {
				if err := a.Send(r); err != nil {
					t.Errorf("Send: %v", err)
				}
			}
		})
	}
	all.Wait()
	a.Close()
	if err := <-ended; !errors.Is(err, ErrClosed) {
		t.Errorf("Run: %v", err)
	}
	if read != senders*records {
		t.Errorf("%d records came, want %d", read, senders*records)
	}
}

// TestBound fills a link to its bound and one byte past it, in each direction
// separately.
func TestBound(t *testing.T) {
	const bound = 1000
	empty := proto.RecordSize(text(0, 0))
	for _, test := range []struct {
		size int
		want error
	}{
		{bound - 2*empty, nil},
		{bound - 2*empty + 1, ErrFull},
	} {
		a, b := Pair(bound)
		send(t, a, text(1, 0))
		if err := a.Send(text(2, test.size)); !errors.Is(err, test.want) {
			t.Errorf("%d bytes more: %v, want %v", test.size+empty, err, test.want)
		}
		send(t, b, text(1, bound-empty))
		if err := b.Send(text(2, 0)); !errors.Is(err, ErrFull) {
			t.Errorf("one record past the bound: %v", err)
		}
	}
}

// TestRefusedLeavesNothing refuses a record that is too large; the reader gets the
// records before and after it, and read records make room.
func TestRefusedLeavesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		bound := 2 * proto.RecordSize(text(0, 100))
		a, b := Pair(bound)
		send(t, a, text(1, 100))
		if err := a.Send(text(2, 101)); !errors.Is(err, ErrFull) {
			t.Errorf("Send past the bound: %v", err)
		}
		send(t, a, text(3, 100))
		var got []uint64
		ended := running(t.Context(), b, func(r *proto.Record) error {
			got = append(got, r.ID)
			return nil
		})
		synctest.Wait()
		if a.Waiting() != 0 {
			t.Errorf("%d bytes wait after all was read", a.Waiting())
		}
		send(t, a, text(4, 100), text(5, 100))
		a.Close()
		<-ended
		if want := "[1 3 4 5]"; fmt.Sprint(got) != want {
			t.Errorf("records %v came, want %s", got, want)
		}
	})
}

// TestReadAfterClose reads what was sent before either end was closed.
func TestReadAfterClose(t *testing.T) {
	for name, closer := range map[string]func(sender, reader *Conn) *Conn{
		"by the sender": func(sender, _ *Conn) *Conn { return sender },
		"by the reader": func(_, reader *Conn) *Conn { return reader },
	} {
		a, b := Pair(waitingMax)
		send(t, a, text(1, 10), text(2, 10))
		closer(a, b).Close()
		closer(a, b).Close()
		for _, end := range []*Conn{a, b} {
			if err := end.Send(text(3, 10)); !errors.Is(err, ErrClosed) {
				t.Errorf("closed %s: Send: %v", name, err)
			}
		}
		read := 0
		err := b.Run(t.Context(), func(*proto.Record) error {
			read++
			return nil
		})
		if read != 2 || !errors.Is(err, ErrClosed) {
			t.Errorf("closed %s: %d records came, want 2; then %v", name, read, err)
		}
		if err := a.Run(t.Context(), refuse); !errors.Is(err, ErrClosed) {
			t.Errorf("closed %s: the other Run: %v", name, err)
		}
	}
}

// TestRunEnds has each way in which a waiting Run ends; the link is closed for both
// ends then.
func TestRunEnds(t *testing.T) {
	failure := errors.New("the handler's")
	for name, test := range map[string]struct {
		end  func(t *testing.T, cancel func(), this, other *Conn)
		want error
	}{
		"context":     {func(_ *testing.T, cancel func(), _, _ *Conn) { cancel() }, context.Canceled},
		"this closed": {func(_ *testing.T, _ func(), this, _ *Conn) { this.Close() }, ErrClosed},
		"peer closed": {func(_ *testing.T, _ func(), _, other *Conn) { other.Close() }, ErrClosed},
		"handler":     {func(t *testing.T, _ func(), _, other *Conn) { send(t, other, text(1, 1), text(2, 1)) }, failure},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				a, b := Pair(waitingMax)
				calls := 0
				ended := running(ctx, a, func(*proto.Record) error {
					calls++
					return failure
				})
				peerEnded := running(t.Context(), b, refuse)
				synctest.Wait()
				test.end(t, cancel, a, b)
				if err := <-ended; !errors.Is(err, test.want) {
					t.Errorf("Run: %v, want %v", err, test.want)
				}
				if err := <-peerEnded; !errors.Is(err, ErrClosed) {
					t.Errorf("the peer's Run: %v", err)
				}
				if calls > 1 {
					t.Errorf("the handler was called %d times, the last after its error", calls)
				}
				if err := b.Send(text(1, 1)); !errors.Is(err, ErrClosed) {
					t.Errorf("Send after the end: %v", err)
				}
			})
		})
	}
}

// TestRunAfterCancel reads what was sent before the context ended, and then
// returns the context's error.
func TestRunAfterCancel(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	a, b := Pair(waitingMax)
	send(t, a, text(1, 10))
	cancel()
	read := 0
	err := b.Run(ctx, func(*proto.Record) error {
		read++
		return nil
	})
	if read != 1 || !errors.Is(err, context.Canceled) {
		t.Errorf("%d records came, want 1; then %v", read, err)
	}
}

// TestSendFromHandler answers each record from the handler, in both directions at
// once.
func TestSendFromHandler(t *testing.T) {
	const records = 1000
	a, b := Pair(waitingMax)
	answering := running(t.Context(), b, func(r *proto.Record) error {
		return b.Send(&proto.Record{Kind: proto.RecordAnswer, ID: r.ID, Verdict: proto.VerdictTaken})
	})
	answers := uint64(0)
	asking := running(t.Context(), a, func(r *proto.Record) error {
		if r.ID != answers || r.Verdict != proto.VerdictTaken {
			return fmt.Errorf("answer %d, %v; want %d", r.ID, r.Verdict, answers)
		}
		if answers++; answers == records {
			a.Close()
		}
		return nil
	})
	for id := range uint64(records) {
		send(t, a, text(id, 64))
	}
	if err := <-asking; !errors.Is(err, ErrClosed) {
		t.Errorf("Run of the asking end: %v", err)
	}
	if err := <-answering; !errors.Is(err, ErrClosed) {
		t.Errorf("Run of the answering end: %v", err)
	}
	if answers != records {
		t.Errorf("%d answers, want %d", answers, records)
	}
}

// TestLargeBufferIsNotKept sends a burst: its buffer is freed afterwards.
func TestLargeBufferIsNotKept(t *testing.T) {
	q := newQueue(4 * keepMax)
	for range 4 {
		if err := q.put(text(1, 60<<10), 0); err != nil {
			t.Fatal(err)
		}
	}
	spare := make([]byte, 0, keepMax)
	segment, _ := q.take(spare)
	if cap(q.pending) != keepMax {
		t.Errorf("a buffer of %d bytes was not kept: the next has %d", keepMax, cap(q.pending))
	}
	for len(segment) <= keepMax {
		segment = append(segment, 0)
	}
	if err := q.put(text(1, 1), 0); err != nil {
		t.Fatal(err)
	}
	if q.take(segment); cap(q.pending) != 0 {
		t.Errorf("a buffer of %d bytes was kept, the bound is %d", cap(q.pending), keepMax)
	}
}

// TestStreamAllocatesNothing sends and reads segments of records.
func TestStreamAllocatesNothing(t *testing.T) {
	a, b := Pair(waitingMax)
	r := text(1, 128)
	read := 0
	handle := func(*proto.Record) error {
		read++
		return nil
	}
	var segment []byte
	var parsed proto.Record
	round := func() {
		for range 16 {
			if err := a.Send(r); err != nil {
				t.Error(err)
			}
		}
		segment, _ = b.in.take(segment)
		if _, err := each(segment, &parsed, handle); err != nil {
			t.Error(err)
		}
	}
	round()
	round()
	if n := testing.AllocsPerRun(100, round); n != 0 {
		t.Errorf("16 records allocate %v times, want 0", n)
	}
	if want := 16 * (2 + 101); read != want {
		t.Errorf("%d records came, want %d", read, want)
	}
}

// BenchmarkRecord sends records of 128 bytes, 16 a segment, and parses them.
func BenchmarkRecord(b *testing.B) {
	from, to := Pair(waitingMax)
	r := text(1, 128)
	var parsed proto.Record
	var segment []byte
	b.ReportAllocs()
	for n := 0; b.Loop(); n++ {
		if err := from.Send(r); err != nil {
			b.Fatal(err)
		}
		if n%16 != 15 {
			continue
		}
		segment, _ = to.in.take(segment)
		if _, err := each(segment, &parsed, func(*proto.Record) error { return nil }); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkAnswer sends one record and waits for its answer.
func BenchmarkAnswer(b *testing.B) {
	from, to := Pair(waitingMax)
	benchmarkAnswer(b, from, to)
}

func benchmarkAnswer(b *testing.B, from, to *Conn) {
	r := &proto.Record{Kind: proto.RecordPush, Body: make([]byte, 128)}
	answer := &proto.Record{Kind: proto.RecordAnswer, Verdict: proto.VerdictTaken}
	answering := running(b.Context(), to, func(*proto.Record) error { return to.Send(answer) })
	answered := make(chan struct{}, 1)
	asking := running(b.Context(), from, func(*proto.Record) error {
		answered <- struct{}{}
		return nil
	})
	b.ReportAllocs()
	for b.Loop() {
		if err := from.Send(r); err != nil {
			b.Fatal(err)
		}
		<-answered
	}
	from.Close()
	<-asking
	<-answering
}
