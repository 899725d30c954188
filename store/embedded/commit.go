package embedded

import (
	"context"
	"errors"
	"time"

	"go.etcd.io/bbolt"

	"cim/proto"
)

const (
	// queueMax bounds the requests that wait for the committer. Who finds it
	// full waits for room, as long as its context allows.
	queueMax = 256
	// batchMax bounds the requests of one transaction.
	batchMax = 256
)

// change is one change of the file. apply writes it and keeps its outcome for
// the caller; it refuses before it writes, so a refusal touches nobody else's
// change. An error is the file's, and fails the whole transaction.
type change interface {
	apply(b *batch) error
}

// request is a change that waits for the committer.
type request struct {
	ctx    context.Context
	change change
	done   chan error // receives the answer, once; has room for it

	skipped error // why the committer left it out; nil: it did not. The committer's
}

// do has change applied and committed. When it returns nil, the change is on
// the disk and its outcome may be read.
func (s *Store) do(ctx context.Context, change change) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	r := &request{ctx: ctx, change: change, done: make(chan error, 1)}
	select {
	case s.queue <- r:
	case <-s.closing:
		return ErrClosed
	case <-ctx.Done():
		return ctx.Err()
	}
	select {
	case err := <-r.done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	case <-s.ended:
		return r.late()
	}
}

// answer ends the request; committed is how its transaction ended. A request that was
// left out has an error of its own, since its caller may still wait: a deadline passes
// before the timer closes Done, and both ends of a select may be ready.
func (r *request) answer(committed error) {
	if r.skipped != nil {
		committed = r.skipped
	}
	r.done <- committed
}

// late is the answer of a request that the committer has seen or never will.
func (r *request) late() error {
	select {
	case err := <-r.done:
		return err
	default:
		return ErrClosed
	}
}

// run is the committer, the only goroutine that writes to the file. It takes
// what waits, commits it and answers; meanwhile the next batch gathers. It
// returns once the store is closing and nothing waits.
func (s *Store) run() {
	defer close(s.ended)
	requests := make([]*request, 0, batchMax)
	for {
		requests = s.gather(requests[:0])
		if len(requests) == 0 {
			return
		}
		err := s.commit(requests)
		s.failed.Store(err != nil)
		for _, r := range requests {
			r.answer(err)
		}
		clear(requests)
	}
}

// gather waits for one request and takes what else is there, without waiting
// for more. It returns none when the store is closing.
func (s *Store) gather(requests []*request) []*request {
	select {
	case r := <-s.queue:
		requests = append(requests, r)
	case <-s.closing:
	}
	for len(requests) < batchMax {
		select {
		case r := <-s.queue:
			requests = append(requests, r)
		default:
			return requests
		}
	}
	return requests
}

// commit applies requests in one transaction, in their order.
func (s *Store) commit(requests []*request) error {
	tx, err := s.db.Begin(true)
	if err != nil {
		return err
	}
	b := newBatch(tx, s)
	if err := b.apply(requests); err != nil {
		b.forgetIndexes()
		return errors.Join(err, tx.Rollback())
	}
	if !b.wrote {
		b.weighIndexes()
		return tx.Rollback()
	}
	if err := tx.Commit(); err != nil {
		b.forgetIndexes()
		return err
	}
	b.weighIndexes()
	s.boxes.set(b.boxes)
	s.names.put(b.registered...)
	return nil
}

// batch is one transaction and what it will have changed in memory.
type batch struct {
	accounts, names, refused, offline *bbolt.Bucket

	committed *boxes // before this batch
	expired   func(stored time.Time) bool
	now       time.Time

	boxes      map[proto.UserID]box  // those changed by this batch
	indexes    *indexes              // changed at once; of a batch that fails they are forgotten
	indexed    map[proto.UserID]bool // whose indexes this batch used
	registered []proto.User
	wrote      bool // there is something to commit
}

func newBatch(tx *bbolt.Tx, s *Store) *batch {
	now := s.config.Now()
	return &batch{
		accounts:  tx.Bucket(accountsBucket),
		names:     tx.Bucket(namesBucket),
		refused:   tx.Bucket(refusedBucket),
		offline:   tx.Bucket(offlineBucket),
		committed: &s.boxes,
		expired:   func(stored time.Time) bool { return s.config.Expired(stored, now) },
		now:       now,
		boxes:     make(map[proto.UserID]box),
		indexes:   &s.indexes,
		indexed:   make(map[proto.UserID]bool),
	}
}

// apply applies the changes of requests whose callers still wait.
func (b *batch) apply(requests []*request) error {
	for _, r := range requests {
		if r.skipped = r.ctx.Err(); r.skipped != nil {
			continue
		}
		if err := r.change.apply(b); err != nil {
			return err
		}
	}
	return nil
}

// box is user's box as this batch leaves it so far.
func (b *batch) box(user proto.UserID) box {
	if box, changed := b.boxes[user]; changed {
		return box
	}
	return b.committed.get(user)
}
