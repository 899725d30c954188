package link

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"

	"cim/proto"
)

// runningDirect is running with RunDirect, once senders may call the handler.
func runningDirect(t *testing.T, c *Conn, handle Handler) <-chan error {
	ended, begun := make(chan error, 1), make(chan struct{})
	first := true
	go func() {
		ended <- c.RunDirect(t.Context(), func(r *proto.Record) error {
			if first {
				first = false
				close(begun)
				return nil
			}
			return handle(r)
		})
	}()
	if err := c.in.put(text(0, 0), 0); err != nil {
		t.Fatal(err)
	}
	<-begun
	for c.in.isReading() {
	}
	return ended
}

// isReading reports whether the reader works through a segment.
func (q *queue) isReading() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.reading > 0 || len(q.pending) > 0
}

// TestDirect: when SendDirect returns, the handler has been called with the whole
// record, and its answer has been handled too.
func TestDirect(t *testing.T) {
	a, b := Pair(waitingMax)
	answered := uint64(0)
	aEnded := runningDirect(t, a, func(r *proto.Record) error { answered = r.ID; return nil })
	bEnded := runningDirect(t, b, func(r *proto.Record) error {
		if len(r.Body) != 9 || r.User != 7 {
			t.Errorf("record %d came with %d bytes from user %d", r.ID, len(r.Body), r.User)
		}
		return b.SendDirect(&proto.Record{Kind: proto.RecordAnswer, ID: r.ID})
	})
	for id := uint64(1); id <= 3; id++ {
		if err := a.SendDirect(text(id, 9)); err != nil || answered != id {
			t.Fatalf("record %d: %v, the last answer is to %d", id, err, answered)
		}
	}
	a.Close()
	if err := errors.Join(<-aEnded, <-bEnded); !errors.Is(err, ErrClosed) {
		t.Error(err)
	}
	if err := a.SendDirect(text(4, 0)); !errors.Is(err, ErrClosed) || answered != 3 {
		t.Errorf("after the end: %v, the last answer is to %d", err, answered)
	}
}

// TestDirectQueues: an end that uses Run, or has something queued, gets the record
// from its reader.
func TestDirectQueues(t *testing.T) {
	a, b := Pair(waitingMax)
	if err := a.SendDirect(text(1, 0)); err != nil || a.Waiting() == 0 {
		t.Fatalf("without a reader: %v, %d bytes wait", err, a.Waiting())
	}
	holding, let := make(chan struct{}), make(chan struct{})
	var came []uint64
	ended := make(chan error, 1)
	go func() {
		ended <- b.RunDirect(t.Context(), func(r *proto.Record) error {
			if came = append(came, r.ID); r.ID == 1 {
				close(holding)
				<-let
			}
			return nil
		})
	}()
	<-holding
	if err := a.SendDirect(text(2, 0)); err != nil || a.Waiting() == 0 {
		t.Errorf("while the reader handles: %v, %d bytes wait", err, a.Waiting())
	}
	close(let)
	a.Close()
	if err := <-ended; !errors.Is(err, ErrClosed) || len(came) != 2 {
		t.Errorf("ended by %v after records %v", err, came)
	}
}

// TestDirectOrder: the records of each of many senders come in order, and the
// handler is never called twice at once, however they are sent.
func TestDirectOrder(t *testing.T) {
	const senders, each = 8, 500
	a, b := Pair(waitingMax)
	var inside atomic.Int32
	var last [senders]uint64
	ended := runningDirect(t, b, func(r *proto.Record) error {
		if inside.Add(1) != 1 {
			t.Error("two records are handled at once")
		}
		if r.ID != last[r.User]+1 {
			t.Errorf("sender %d: record %d came behind %d", r.User, r.ID, last[r.User])
		}
		last[r.User] = r.ID
		inside.Add(-1)
		return nil
	})
	var all sync.WaitGroup
	for user := range senders {
		all.Go(func() {
			for id := uint64(1); id <= each; id++ {
				r, send := proto.Record{Kind: proto.RecordPush, ID: id, User: proto.UserID(user)}, a.SendDirect
				if id%5 == 0 {
					send = a.Send
				}
				if err := send(&r); err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	a.Close()
	<-ended
	for user, id := range last {
		if id != each {
			t.Errorf("sender %d: %d records came, want %d", user, id, each)
		}
	}
}

// TestDirectFails: an error of the handler ends the link, even if a sender called
// the handler.
func TestDirectFails(t *testing.T) {
	a, b := Pair(waitingMax)
	bad := errors.New("no such record")
	ended := runningDirect(t, b, func(*proto.Record) error { return bad })
	if err := a.SendDirect(text(1, 0)); err != nil {
		t.Fatal(err)
	}
	if err := <-ended; !errors.Is(err, bad) {
		t.Errorf("ended by %v, want %v", err, bad)
	}
	if err := a.Run(context.Background(), refuse); !errors.Is(err, ErrClosed) {
		t.Errorf("the other end: %v", err)
	}
}

// TestDirectBeforeEnd: Run returns after the handler has returned to a sender.
func TestDirectBeforeEnd(t *testing.T) {
	a, b := Pair(waitingMax)
	holding, let := make(chan struct{}), make(chan struct{})
	over := atomic.Bool{}
	ended := runningDirect(t, b, func(*proto.Record) error {
		close(holding)
		<-let
		over.Store(true)
		return nil
	})
	var sender sync.WaitGroup
	sender.Go(func() {
		if err := a.SendDirect(text(1, 0)); err != nil {
			t.Error(err)
		}
	})
	<-holding
	b.Close()
	select {
	case err := <-ended:
		t.Errorf("ended by %v while a record is handled", err)
	default:
	}
	close(let)
	if err := <-ended; !errors.Is(err, ErrClosed) || !over.Load() {
		t.Errorf("ended by %v, the record is over: %v", err, over.Load())
	}
	sender.Wait()
}

// TestDirectAllocatesNothing for a record on the sender's stack.
func TestDirectAllocatesNothing(t *testing.T) {
	a, b := Pair(waitingMax)
	ended := runningDirect(t, b, func(*proto.Record) error { return nil })
	n := testing.AllocsPerRun(100, func() {
		if err := a.SendDirect(&proto.Record{Kind: proto.RecordAnswer, ID: 1}); err != nil {
			t.Error(err)
		}
	})
	if n != 0 {
		t.Errorf("a record allocates %v times, want 0", n)
	}
	a.Close()
	<-ended
}
