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

// change is one change of the store. apply makes it a part of the batch and keeps
// its outcome for the caller; it refuses before it changes anything, so a refusal
// touches no other change. An error is the file's, and fails the whole batch.
type change interface {
	apply(b *batch) error
	// isOfFile reports whether apply writes to the data file: of texts the journal
	// is enough.
	isOfFile() bool
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

// run is the committer, the only goroutine that writes to the files. It takes
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
		if s.boxes.pending >= pendingMax && s.commitFile(s.newBatch()) != nil {
			s.failed.Store(true) // the callers of the next batch learn it if it does not pass
		}
	}
}

// gather waits for one request and takes what else is there, without waiting
// for more. It returns none when the store is closing.
func (s *Store) gather(requests []*request) []*request {
	if r := s.next(); r != nil {
		requests = append(requests, r)
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

// next waits for a request; nil: the store is closing. Meanwhile it has removals
// synced that were only written.
func (s *Store) next() *request {
	var due <-chan time.Time
	if !s.journal.syncBy.IsZero() {
		timer := time.NewTimer(time.Until(s.journal.syncBy))
		defer timer.Stop()
		due = timer.C
	}
	for {
		select {
		case r := <-s.queue:
			return r
		case <-s.closing:
			return nil
		case <-due:
			if s.journal.sync() != nil {
				s.failed.Store(true) // the next batch goes into the data file, with all that the journal has
			}
		}
	}
}

// commit applies requests in one batch, in their order.
func (s *Store) commit(requests []*request) error {
	b := s.newBatch()
	err := b.begin(requests)
	if err == nil {
		err = b.apply(requests)
	}
	switch {
	case err != nil:
		err = errors.Join(err, b.end())
	case b.wroteFile || len(b.entries) > 0 && (s.journal.broken || !s.journal.fits(b.entries)):
		return s.commitFile(b)
	default:
		if err = b.end(); err == nil && len(b.entries) > 0 {
			err = s.journal.write(b.entries, b.puts)
		}
	}
	return s.settle(b, err)
}

// settle makes what b has changed visible, if there is no error. It returns err.
func (s *Store) settle(b *batch, err error) error {
	if err != nil {
		b.forgetIndexes()
		return err
	}
	b.weighIndexes()
	s.boxes.set(b.boxes)
	s.lastSerial = b.lastSerial
	if cap(b.entries) <= journalStep {
		s.entries = b.entries
	}
	s.names.put(b.registered...)
	return nil
}

// batch is changes that are committed together, and what they will have changed in
// memory.
type batch struct {
	db       *bbolt.DB
	tx       *bbolt.Tx // nil: the file was not needed so far
	accounts *accountBuckets

	committed *boxes // before this batch
	expired   func(stored time.Time) bool
	now       time.Time

	boxes      map[proto.UserID]box // those changed by this batch
	lastSerial uint64
	entries    []byte                // of the journal
	puts       bool                  // some of entries are texts
	indexes    *indexes              // changed at once; of a batch that fails they are forgotten
	indexed    map[proto.UserID]bool // whose indexes this batch used
	registered []proto.User
	wroteFile  bool // tx has something to commit
}

// accountBuckets are what changes of accounts write to.
type accountBuckets struct{ accounts, names, refused *bbolt.Bucket }

func (s *Store) newBatch() *batch {
	now := s.config.Now()
	return &batch{
		db:         s.db,
		committed:  &s.boxes,
		expired:    func(stored time.Time) bool { return s.config.Expired(stored, now) },
		now:        now,
		boxes:      make(map[proto.UserID]box),
		lastSerial: s.lastSerial,
		entries:    s.entries[:0],
		indexes:    &s.indexes,
		indexed:    make(map[proto.UserID]bool),
	}
}

// begin opens the file for writing if one of requests needs it.
func (b *batch) begin(requests []*request) error {
	for _, r := range requests {
		if r.change.isOfFile() {
			return b.openToWrite()
		}
	}
	return nil
}

// openToWrite has tx write to the file.
func (b *batch) openToWrite() (err error) {
	if b.tx != nil && b.tx.Writable() {
		return nil
	}
	if err := b.end(); err != nil {
		return err
	}
	if b.tx, err = b.db.Begin(true); err != nil {
		return err
	}
	b.accounts = &accountBuckets{b.tx.Bucket(accountsBucket), b.tx.Bucket(namesBucket), b.tx.Bucket(refusedBucket)}
	return nil
}

// end lets go of the file, and of what was written to it.
func (b *batch) end() error {
	if b.tx == nil {
		return nil
	}
	err := b.tx.Rollback()
	b.tx = nil
	return err
}

// fileOf returns the texts of the file, as they were before this batch; nil: none
// of them is box's.
func (b *batch) fileOf(box *box) (_ *bbolt.Bucket, err error) {
	if !box.inFile() {
		return nil, nil
	}
	if b.tx == nil {
		if b.tx, err = b.db.Begin(false); err != nil {
			return nil, err
		}
	}
	return b.tx.Bucket(offlineBucket), nil
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
