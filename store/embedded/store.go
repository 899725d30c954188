// Package embedded is a store in one file on the disk, for a single process.
// Accounts and offline messages are durable: what was answered is on the disk,
// whatever ends the process or the machine; only a removal that is younger than
// syncPause is undone where the machine loses power. Presence and leases are in
// memory only, since the only server is in the same process and no record
// outlives it.
//
// One goroutine, the committer, writes. It commits together all that waits and
// waits for no more, so that many callers share one fsync and one caller pays
// for none of the others. Readers never wait for it.
//
// What becomes of texts is written to a journal, with one sync, and kept in memory
// until there is much of it or something else to be written: then the data file
// gets what is left of it. A store that is closed leaves no journal.
package embedded

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"go.etcd.io/bbolt"
	bbolterrors "go.etcd.io/bbolt/errors"

	"cim/proto"
	"cim/store"
)

// ErrClosed is the answer of a store that was closed.
var ErrClosed = errors.New("store: closed")

// lockWait is how long Open waits for another process to let go of the file: a
// restart may meet the last moments of its predecessor.
const lockWait = 700 * time.Millisecond

// Store is a store in one file. Open makes one, Close ends it.
type Store struct {
	*store.MemoryPresence
	*store.MemoryLeases
	config store.Config
	path   string
	db     *bbolt.DB

	names names
	boxes boxes

	// The committer's alone.
	indexes    indexes
	journal    journal
	lastSerial uint64 // of a text
	entries    []byte // room for those of a batch

	queue   chan *request // to the committer
	failed  atomic.Bool   // the last commit failed
	closing chan struct{} // closed by Close
	once    sync.Once     // of closing
	ended   chan struct{} // closed by the committer at its end
	finish  sync.Once     // of what Close does after that
}

var _ store.Store = (*Store)(nil)

// Open opens the file at path, or makes it, with its folder if need be. It
// fails within two seconds if another process has it open. A file that was cut
// or damaged is refused with an error of one line.
func Open(path string, config store.Config) (*Store, error) {
	s, err := open(path, config)
	if err != nil {
		return nil, fmt.Errorf("store: file %s: %w", path, err)
	}
	go s.run()
	return s, nil
}

// open is Open without the committer.
func open(path string, config store.Config) (*Store, error) {
	if err := config.Check(); err != nil {
		return nil, err
	}
	db, err := openFile(path)
	if err != nil {
		return nil, err
	}
	s := &Store{
		config:  config.Complete(),
		path:    path,
		db:      db,
		names:   names{of: make(map[proto.UserID]string)},
		boxes:   newBoxes(),
		indexes: indexes{of: make(map[proto.UserID]*boxIndex)},
		queue:   make(chan *request, queueMax),
		closing: make(chan struct{}),
		ended:   make(chan struct{}),
	}
	s.MemoryPresence = store.NewMemoryPresence(s)
	s.MemoryLeases = store.NewMemoryLeases(s.config.Now, s.read)
	if err := s.load(); err != nil {
		return nil, errors.Join(err, s.closeFiles())
	}
	return s, nil
}

// openFile opens bbolt's file. The list of its free pages is not written with
// each commit, where a large one would cost more than the messages: it is
// found anew at open, which reads the tree anyway.
func openFile(path string) (*bbolt.DB, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, err
	}
	exists, err := checkHead(path)
	if err == nil && exists {
		err = inspect(path)
	}
	if err != nil {
		return nil, openFault(err)
	}
	db, err := openSound(path)
	if err != nil && !exists {
		// What was begun, as on a full disk, would be taken for a file that was cut.
		return nil, errors.Join(openFault(err), removed(path))
	}
	return db, openFault(err)
}

// openSound opens a file that was inspected. What the inspection does not know
// of, bbolt may still panic for.
func openSound(path string) (db *bbolt.DB, err error) {
	defer func() {
		if fault := recover(); fault != nil {
			first, _, _ := strings.Cut(fmt.Sprint(fault), "\n")
			db, err = nil, fmt.Errorf("is damaged: %s", first)
		}
	}()
	return bbolt.Open(path, 0o600, &bbolt.Options{
		Timeout:        lockWait,
		NoFreelistSync: true,
		FreelistType:   bbolt.FreelistMapType,
		NoStatistics:   true,
	})
}

// openFault says what to do about err, which may be nil.
func openFault(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, bbolterrors.ErrTimeout):
		return errors.New("another process has it open: end that one, or give this one another --data")
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("%w: let the user of this process read and write the file and its folder", err)
	case errors.Is(err, syscall.EROFS):
		return fmt.Errorf("%w: mount it writable, or put --data elsewhere", err)
	case errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EFBIG):
		return fmt.Errorf("%w: make room there, or put --data elsewhere", err)
	case errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ENFILE):
		return fmt.Errorf("%w: raise `ulimit -n`, or look for what else on the machine needs descriptors", err)
	case errors.Is(err, syscall.EIO):
		return fmt.Errorf("%w: look at the disk", err)
	}
	return fmt.Errorf("%w; restore it from a copy, or move it away to begin without accounts and messages", err)
}

// removed removes what was begun at path. Where nothing can be written nothing
// was begun.
func removed(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, syscall.EROFS) {
		return err
	}
	return nil
}

// load makes what a new file lacks, writes to an old one what its journal has, and
// counts what waits in it.
func (s *Store) load() error {
	salt := newSalt()
	err := s.db.Update(func(tx *bbolt.Tx) error {
		before, err := prepare(tx)
		if err == nil {
			err = s.openJournal(tx, before)
		}
		if err != nil {
			return err
		}
		s.lastSerial = tx.Bucket(offlineBucket).Sequence()
		return writeSalt(tx, salt)
	})
	if err != nil {
		return err
	}
	s.journal.restart(salt)
	return s.db.View(s.count)
}

// openJournal opens the journal, whose batches of salt the file lacks, and writes
// those to it; 0: there are none.
func (s *Store) openJournal(tx *bbolt.Tx, salt uint64) error {
	path := s.path + journalSuffix
	data, exists, err := readJournal(path)
	switch {
	case err != nil:
	case salt != 0 && !exists:
		return errNoJournal(path)
	case salt != 0:
		err = replay(tx, salt, data)
	}
	if err == nil {
		err = s.journal.open(path, exists)
	}
	if err != nil {
		return openFault(fmt.Errorf("its journal: %w", err))
	}
	return nil
}

// prepare makes the buckets of a new file and checks the format of an old one. It
// returns the salt of the journal's batches that the file lacks; 0: there are none.
func prepare(tx *bbolt.Tx) (salt uint64, err error) {
	isNew := tx.Bucket(formatBucket) == nil
	if first, _ := tx.Cursor().First(); isNew && first != nil {
		return 0, openFault(errAlien)
	}
	for _, name := range [][]byte{formatBucket, accountsBucket, namesBucket, refusedBucket, offlineBucket} {
		if _, err := tx.CreateBucketIfNotExists(name); err != nil {
			return 0, fmt.Errorf("bucket %s: %w", name, err)
		}
	}
	if isNew {
		return 0, nil
	}
	version := tx.Bucket(formatBucket).Get(versionKey)
	if len(version) != 4 || be.Uint32(version) < formatVersionRead || be.Uint32(version) > formatVersion {
		return 0, fmt.Errorf("has format %x, this program reads %d to %d", version, formatVersionRead, formatVersion)
	}
	return readSalt(tx)
}

// count fills the boxes.
func (s *Store) count(tx *bbolt.Tx) error {
	return tx.Bucket(offlineBucket).ForEach(func(key, value []byte) error {
		view, err := viewMessage(key, value)
		if err != nil {
			return err
		}
		box := s.boxes.user[view.receiver]
		box.add(view.usage(), view.storedMs, view.serial)
		s.boxes.user[view.receiver] = box
		return nil
	})
}

// Ready is that of Store. It looks whether the disk has room. After a failed
// commit it tries another, so a store that can write again is ready again.
func (s *Store) Ready(ctx context.Context) error {
	select {
	case <-s.closing:
		return ErrClosed
	default:
	}
	if err := checkRoom(s.path, roomAt); err != nil {
		return s.wrap("write", err)
	}
	if !s.failed.Load() {
		return ctx.Err()
	}
	return s.wrap("write", s.do(ctx, probing{}))
}

// Close is that of Store. What waits for the committer is still committed;
// what comes later gets ErrClosed. The data file is whole by itself then, and the
// journal is removed.
func (s *Store) Close() (err error) {
	s.once.Do(func() { close(s.closing) })
	<-s.ended
	s.finish.Do(func() {
		whole := s.closeFile()
		if err = errors.Join(whole, s.closeFiles()); whole == nil {
			err = errors.Join(err, removed(s.path+journalSuffix))
		}
	})
	return s.wrap("close", err)
}

// closeFiles lets go of the files as they are.
func (s *Store) closeFiles() error {
	err := s.db.Close()
	if s.journal.file != nil {
		err = errors.Join(err, s.journal.file.Close())
	}
	return err
}

// wrap says about a failure what failed and in which file.
func (s *Store) wrap(what string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("store: file %s: %s: %w", s.path, what, err)
}

// view reads the file in one transaction.
func (s *Store) view(read func(tx *bbolt.Tx) error) error {
	return closedOr(s.db.View(read))
}

// closedOr says in the store's own word that the file was closed.
func closedOr(err error) error {
	if errors.Is(err, bbolterrors.ErrDatabaseNotOpen) {
		return ErrClosed
	}
	return err
}
