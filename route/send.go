package route

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"cim/proto"
)

const (
	// sendWorkers work through the SENDs that servers pass on. A sender has
	// one of them, which keeps his order. Each waits for servers and the
	// store, so there are many more of them than processors.
	sendWorkers = 64
	// sendQueueMax bounds what waits for one worker.
	sendQueueMax = 128
	// sendBytesMax bounds the texts that wait for all workers together: the
	// longest ones would take 256 MiB.
	sendBytesMax = 16 << 20
)

// sent is one SEND of a client, passed on by its server.
type sent struct {
	server   *server
	stream   *stream // that its outcome goes back on
	id       uint64
	sender   proto.UserID
	receiver proto.UserID // 0: everybody
	textID   proto.TextID
	at       proto.UnixMilli // when it came to its server
	text     string
	want     proto.Want
}

// sends has the workers.
type sends struct {
	route   *Route
	queues  [sendWorkers]chan sent
	workers sync.WaitGroup
	groups  sync.WaitGroup // what is beside the workers: broadcasts, bounded by their reservations, and turns
	slow    turns          // private messages that have left their worker
	bytes   atomic.Int64   // of the texts that wait; <= sendBytesMax

	mu     sync.RWMutex
	closed bool
}

func newSends(r *Route) *sends {
	s := &sends{route: r}
	for i := range s.queues {
		queue := make(chan sent, sendQueueMax)
		s.queues[i] = queue
		s.workers.Go(func() { s.work(queue) })
	}
	return s
}

// take queues r, or answers it at once: busy, if its sender's worker has too
// much to do. It never blocks.
func (s *sends) take(from *server, on *stream, r *proto.Record) {
	item := sent{
		server: from, stream: on, id: r.ID, sender: r.User, receiver: proto.UserID(r.Value),
		textID: r.Text, at: proto.UnixMilli(r.Generation), want: proto.WantOf(r.Flags),
	}
	if item.at <= 0 { // of an older server
		item.at = now()
	}
	if len(r.Body) > proto.TextMax {
		s.answer(item, invalid(fmt.Errorf("text of %d bytes, want at most %d", len(r.Body), proto.TextMax)))
		return
	}
	item.text = string(r.Body)
	if !s.queue(item) {
		s.route.counters.refused.inc("send")
		s.route.notices.Say("SEND refused for load", "user", item.sender)
		s.answer(item, answer{code: proto.CodeLimit})
	}
}

func (s *sends) queue(item sent) bool {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.closed {
		return false
	}
	size := int64(len(item.text))
	if s.bytes.Add(size) <= sendBytesMax {
		select {
		case s.queues[sendQueue(item.sender)] <- item:
			return true
		default:
		}
	}
	s.bytes.Add(-size)
	return false
}

// sendQueue spreads senders over the queues, by Fibonacci hashing: their ids
// are near in time and differ in low bits only.
func sendQueue(sender proto.UserID) uint64 {
	return uint64(sender) * 0x9e3779b97f4a7c15 >> 58
}

// work answers one item after the other until the queue is closed and empty.
func (s *sends) work(queue <-chan sent) {
	for item := range queue {
		s.bytes.Add(-int64(len(item.text)))
		if item.stream.stale() {
			s.route.counters.refused.inc("stale send")
			item.stream.conn.Abort(errStoodStill) // its server learns the outcome by that: unknown
			continue
		}
		work := newDeadline(storeTimeout)
		switch {
		case item.receiver == 0:
			s.group(work, item)
		case s.goesSlowly(work, item):
			s.beside(item)
		default:
			s.private(work, item)
		}
		work.stop()
	}
}

// goesSlowly reports whether item has to leave its worker before it is pushed: its
// receiver is at a guest, or an earlier message of the pair has left.
func (s *sends) goesSlowly(ctx context.Context, item sent) bool {
	if s.slow.newest(pair{item.sender, item.receiver}) != nil {
		return true
	}
	if len(s.route.cluster.servers().guests) == 0 {
		return false
	}
	record, found, err := s.route.lookup(ctx, item.receiver)
	return err == nil && found && s.route.guestOf(record) != nil // an error comes again
}

// beside sends item beside its worker, when the earlier messages of the pair are
// through. What has no turn within guestTimeout is stored if it is for a guest.
func (s *sends) beside(item sent) {
	arrived := time.Now()
	before, leave := s.slow.take(pair{item.sender, item.receiver})
	if leave == nil {
		s.route.counters.refused.inc("send")
		s.answer(item, answer{code: proto.CodeLimit})
		return
	}
	s.groups.Go(func() {
		defer leave()
		m := item.message()
		m.by, m.until = arrived.Add(guestTimeout), arrived.Add(returningMax)
		awaitTurn(before, m.by)
		work := newDeadline(storeTimeout)
		defer work.stop()
		s.settle(item, s.route.deliver(work, item.receiver, m))
	})
}

// private delivers item on its worker. If the receiver's session returns what it
// kept, that takes its time, and item leaves the worker.
func (s *sends) private(ctx context.Context, item sent) {
	a := s.route.deliver(ctx, item.receiver, item.message())
	if a.returning {
		s.beside(item)
		return
	}
	s.settle(item, a)
}

func (item sent) message() message {
	return message{sender: proto.User{ID: item.sender}, id: item.textID, at: item.at, texts: []string{item.text}, want: item.want}
}

// settle answers item now, or when its receipt has come.
func (s *sends) settle(item sent, a answer) {
	if a.receipt == 0 {
		s.answer(item, a)
		return
	}
	s.route.receipts.await(a.receipt, a.over, func(outcome proto.Outcome) { s.answer(item, a.settled(outcome)) })
}

// group sends the message on in its sender's order; its servers' answers are
// waited for beside the queue.
func (s *sends) group(ctx context.Context, item sent) {
	b, refused := s.route.broadcast(ctx, item.message())
	if refused != nil {
		s.answer(item, *refused)
		return
	}
	s.groups.Go(func() { s.answer(item, b.finish()) })
}

func (s *sends) answer(item sent, a answer) {
	err := item.stream.conn.Send(&proto.Record{
		Kind: proto.RecordOutcome, ID: item.id, User: item.sender, Generation: proto.Generation(a.receivers), Value: uint64(a.told()), Code: a.code,
	})
	if err != nil {
		s.route.counters.refused.inc("outcome")
		s.route.notices.Say("outcome of a SEND lost", "server", item.server.member.Name(), "error", err)
	}
}

// drain takes nothing more and waits until all is answered.
func (s *sends) drain() {
	s.mu.Lock()
	s.closed = true
	for _, queue := range s.queues {
		close(queue)
	}
	s.mu.Unlock()
	s.workers.Wait()
	s.groups.Wait()
}
