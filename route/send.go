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
	// sendWorkers is the number of workers for SENDs that servers forward. Each sender has one
	// worker, which keeps the sender's order. Workers wait for servers and the store, so there are
	// many more of them than processors.
	sendWorkers = 64
	// sendQueueMax bounds what waits for one worker.
	sendQueueMax = 128
	// sendBytesMax bounds the texts that wait for all workers together: the
	// longest ones would take 256 MiB.
	sendBytesMax = 16 << 20
)

// forwardedSend is one SEND of a client, passed on by its server.
type forwardedSend struct {
	server   *server
	stream   *stream // that its outcome goes back on
	id       uint64
	sender   proto.UserID
	receiver proto.UserID // 0: a group message
	textID   proto.TextID
	at       proto.UnixMilli // when it came to its server
	text     string
	want     proto.Want
}

// sendQueues has the workers.
type sendQueues struct {
	route      *Route
	queues     [sendWorkers]chan forwardedSend
	workers    sync.WaitGroup
	background sync.WaitGroup // work outside the workers: broadcasts, bounded by their reservations, and turns
	turns      turns          // private messages that have left their worker
	bytes      atomic.Int64   // of the texts that wait; <= sendBytesMax

	mu     sync.RWMutex
	closed bool
}

func newSendQueues(r *Route) *sendQueues {
	s := &sendQueues{route: r}
	for i := range s.queues {
		queue := make(chan forwardedSend, sendQueueMax)
		s.queues[i] = queue
		s.workers.Go(func() { s.work(queue) })
	}
	return s
}

// add queues r, or answers it at once: busy, if its sender's worker has too
// much to do. It never blocks.
func (s *sendQueues) add(from *server, on *stream, r *proto.Record) {
	item := forwardedSend{
		server: from, stream: on, id: r.ID, sender: r.User, receiver: proto.UserID(r.Value),
		textID: r.Text, at: proto.UnixMilli(r.Generation), want: proto.WantOf(r.Flags),
	}
	if item.at <= 0 { // of an older server
		item.at = sentNow()
	}
	if len(r.Body) > proto.TextMax {
		s.answer(item, invalid(fmt.Errorf("text of %d bytes, want at most %d", len(r.Body), proto.TextMax)))
		return
	}
	item.text = string(r.Body)
	if !s.enqueue(item) {
		s.route.counters.refused.inc("send")
		s.route.notices.Say("SEND refused for load", "user", item.sender)
		s.answer(item, answer{code: proto.CodeLimit})
	}
}

func (s *sendQueues) enqueue(item forwardedSend) bool {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.closed {
		return false
	}
	size := int64(len(item.text))
	if s.bytes.Add(size) <= sendBytesMax {
		select {
		case s.queues[queueOf(item.sender)] <- item:
			return true
		default:
		}
	}
	s.bytes.Add(-size)
	return false
}

// queueOf spreads senders over the queues, by Fibonacci hashing: their ids
// are near in time and differ in low bits only.
func queueOf(sender proto.UserID) uint64 {
	return uint64(sender) * 0x9e3779b97f4a7c15 >> 58
}

// work answers one item after the other until the queue is closed and empty.
func (s *sendQueues) work(queue <-chan forwardedSend) {
	for item := range queue {
		s.bytes.Add(-int64(len(item.text)))
		if item.stream.stale() {
			s.route.counters.refused.inc("stale send")
			item.stream.conn.Abort(errStoodStill) // by that its server learns the outcome: unknown
			continue
		}
		work := newDeadline(storeTimeout)
		switch {
		case item.receiver == 0:
			s.group(work, item)
		case s.mustLeaveWorker(work, item):
			s.leaveWorker(item)
		default:
			s.private(work, item)
		}
		work.stop()
	}
}

// mustLeaveWorker reports whether item has to leave its worker before it is pushed: its
// receiver is at a guest, or an earlier message of the pair has left.
func (s *sendQueues) mustLeaveWorker(ctx context.Context, item forwardedSend) bool {
	if s.turns.newest(pair{item.sender, item.receiver}) != nil {
		return true
	}
	if len(s.route.cluster.servers().guests) == 0 {
		return false
	}
	record, found, err := s.route.lookup(ctx, item.receiver)
	return err == nil && found && s.route.guestOf(record) != nil // an error comes again
}

// leaveWorker sends item beside its worker, when the earlier messages of the pair are
// through. What has no turn within guestTimeout is stored if it is for a guest.
func (s *sendQueues) leaveWorker(item forwardedSend) {
	arrived := time.Now()
	before, leave := s.turns.take(pair{item.sender, item.receiver})
	if leave == nil {
		s.route.counters.refused.inc("send")
		s.answer(item, answer{code: proto.CodeLimit})
		return
	}
	s.background.Go(func() {
		defer leave()
		m := item.message()
		m.guestDeadline, m.returningDeadline = arrived.Add(guestTimeout), arrived.Add(returningMax)
		awaitTurn(before, m.guestDeadline)
		work := newDeadline(storeTimeout)
		defer work.stop()
		s.settle(item, s.route.deliver(work, item.receiver, m))
	})
}

// private delivers item on its worker. If it must wait for the receiver's session to return texts,
// item leaves the worker.
func (s *sendQueues) private(ctx context.Context, item forwardedSend) {
	a := s.route.deliver(ctx, item.receiver, item.message())
	if a.returning {
		s.leaveWorker(item)
		return
	}
	s.settle(item, a)
}

func (item forwardedSend) message() message {
	return message{sender: proto.User{ID: item.sender}, id: item.textID, at: item.at, texts: []string{item.text}, want: item.want}
}

// settle answers item now, or when its receipt arrives.
func (s *sendQueues) settle(item forwardedSend, a answer) {
	if a.receipt == 0 {
		s.answer(item, a)
		return
	}
	s.route.receipts.await(a.receipt, a.via, func(outcome proto.Outcome) { s.answer(item, a.withOutcome(outcome)) })
}

// group sends the message on in its sender's order; its servers' answers are
// waited for beside the queue.
func (s *sendQueues) group(ctx context.Context, item forwardedSend) {
	b, refused := s.route.broadcast(ctx, item.message())
	if refused != nil {
		s.answer(item, *refused)
		return
	}
	s.background.Go(func() { s.answer(item, b.finish()) })
}

func (s *sendQueues) answer(item forwardedSend, a answer) {
	err := item.stream.conn.Send(&proto.Record{
		Kind: proto.RecordOutcome, ID: item.id, User: item.sender, Generation: proto.Generation(a.receivers), Value: uint64(a.outcome()), Code: a.code,
	})
	if err != nil {
		s.route.counters.refused.inc("outcome")
		s.route.notices.Say("outcome of a SEND lost", "server", item.server.member.Name(), "error", err)
	}
}

// drain takes nothing more and waits until all is answered.
func (s *sendQueues) drain() {
	s.mu.Lock()
	s.closed = true
	for _, queue := range s.queues {
		close(queue)
	}
	s.mu.Unlock()
	s.workers.Wait()
	s.background.Wait()
}
