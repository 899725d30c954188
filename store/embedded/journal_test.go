package embedded

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.etcd.io/bbolt"
	"pgregory.net/rapid"

	"cim/proto"
	"cim/store"
)

// TestJournalDamaged cuts or changes a journal anywhere: what is read is a prefix of
// its batches, with all that end before the place.
func TestJournalDamaged(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		const salt = 77
		var data []byte
		var all, ends []int // entries: their serials, and where their batch ends
		serial := 0
		for number := range rapid.IntRange(0, 5).Draw(rt, "batches") {
			var entries []byte
			count := rapid.IntRange(1, 3).Draw(rt, "entries")
			for range count {
				serial++
				if rapid.Bool().Draw(rt, "put") {
					// A text may look like a batch.
					value := rapid.SliceOfN(rapid.Byte(), 0, 40).Draw(rt, "value")
					if rapid.Bool().Draw(rt, "forged") {
						value = appendBatch(nil, salt+1, uint64(number+2), appendRemove(nil, 1, 1))
					}
					entries = appendPut(entries, 5, uint64(serial), value)
				} else {
					entries = appendRemove(entries, 5, uint64(serial))
				}
			}
			data = appendBatch(data, salt, uint64(number+1), entries)
			for i := range count {
				all, ends = append(all, serial-count+i+1), append(ends, len(data))
			}
		}
		data = append(data, rapid.SliceOfN(rapid.Byte(), 0, 30).Draw(rt, "behind")...)
		at := rapid.IntRange(0, len(data)).Draw(rt, "at")
		if at < len(data) && rapid.Bool().Draw(rt, "changed") {
			data = bytes.Clone(data)
			data[at] ^= byte(rapid.IntRange(1, 255).Draw(rt, "bits"))
		} else {
			data = data[:at]
		}
		got := 0
		err := eachEntry(data, salt, func(key, _ []byte) error {
			receiver, serial := messageKeyOf(key)
			if got >= len(all) || receiver != 5 || int(serial) != all[got] {
				return fmt.Errorf("entry %d is %d of %d", got, serial, receiver)
			}
			got++
			return nil
		})
		if err != nil {
			rt.Fatal(err)
		}
		if got < len(all) && ends[got] <= at {
			rt.Fatalf("read %d entries of %d; the batch of the next one ends at %d, before the damage at %d", got, len(all), ends[got], at)
		}
	})
}

// TestJournalStale reads a journal that begins anew over an older one: nothing of
// the older one is read, whose numbers may go on behind the newer one's.
func TestJournalStale(t *testing.T) {
	entries := appendRemove(nil, 1, 1)
	older := appendBatch(appendBatch(nil, 7, 1, entries), 7, 2, entries)
	data := append(appendBatch(nil, 8, 1, entries), older[len(older)/2:]...)
	count := func(salt uint64) (n int) {
		if err := eachEntry(data, salt, func([]byte, []byte) error { n++; return nil }); err != nil {
			t.Error(err)
		}
		return n
	}
	if count(8) != 1 || count(7) != 0 {
		t.Errorf("read %d of the newer one, %d of the older one; want 1 and 0", count(8), count(7))
	}
	if data = appendBatch(nil, 7, 2, entries); count(7) != 0 {
		t.Error("read a batch that is not the first one")
	}
}

// TestJournalAlien refuses a whole batch with an entry of another program.
func TestJournalAlien(t *testing.T) {
	for _, entries := range [][]byte{{9}, appendRemove(nil, 1, 1)[:5], appendPut(nil, 1, 1, []byte("text"))[:22], append(appendRemove(nil, 1, 1), 3)} {
		if err := eachEntry(appendBatch(nil, 1, 1, entries), 1, func([]byte, []byte) error { return nil }); !errors.Is(err, errEntry) {
			t.Errorf("% x: %v", entries, err)
		}
	}
}

// faultyFile is a journal's file that counts syncs, and fails if it is told to.
type faultyFile struct {
	journalFile
	writes, syncs error
	synced        atomic.Int32
}

var errDisk = errors.New("the disk is gone")

func (f *faultyFile) WriteAt(b []byte, at int64) (int, error) {
	n, err := f.journalFile.WriteAt(b, at)
	return n, errors.Join(err, f.writes)
}

func (f *faultyFile) SyncData() error {
	f.synced.Add(1)
	return f.syncs
}

func faulty(s *Store) *faultyFile {
	f := &faultyFile{journalFile: s.journal.file}
	s.journal.file = f
	return f
}

// TestJournalFails lets a write or a sync of the journal fail: the caller learns it,
// nothing of the batch is seen, then or after a kill, and what comes next goes to the
// data file, from which on the journal serves again.
func TestJournalFails(t *testing.T) {
	for name, fail := range map[string]func(*faultyFile){
		"write": func(f *faultyFile) { f.writes = errDisk },
		"sync":  func(f *faultyFile) { f.syncs = errDisk },
	} {
		t.Run(name, func(t *testing.T) {
			s := unstarted(t, store.Config{})
			file := faulty(s)
			committed(t, s, appending(1, 1, "before"))
			fail(file)
			if err := s.commit([]*request{requested(t.Context(), appending(1, 2, "failed"))}); !errors.Is(err, errDisk) {
				t.Fatalf("commit: %v", err)
			}
			if page, err := s.Page(t.Context(), 1, 0); err != nil || len(page) != 1 {
				t.Fatalf("Page: %+v, %v; want the text before", page, err)
			}
			before := lastTx(t, s)
			committed(t, s, appending(1, 3, "next"))
			if after := lastTx(t, s); after != before+1 {
				t.Errorf("the data file is at transaction %d, was at %d; want one more", after, before)
			}
			file.writes, file.syncs = nil, nil
			committed(t, s, appending(1, 4, "last"), &removing{user: 1, keys: []store.TextKey{{Sender: 1, ID: 1}}})
			if after := lastTx(t, s); after != before+1 {
				t.Errorf("the data file is at transaction %d, want %d: the journal does not serve again", after, before+1)
			}
			again := killed(t, s)
			defer letGo(t, again)
			page, err := again.Page(t.Context(), 1, 0)
			if err != nil || len(page) != 2 || page[0].Text != "next" || page[1].Text != "last" {
				t.Errorf("after a kill: %+v, %v; want next and last", page, err)
			}
		})
	}
}

// TestRemovalsSynced has texts synced with their batch, and removals with the next
// text, or once syncPause is over.
func TestRemovalsSynced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := unstarted(t, store.Config{})
		file := faulty(s)
		go s.run()
		defer func() {
			close(s.closing)
			<-s.ended
		}()
		ann := proto.User{ID: 1}
		want := func(syncs int, what string) {
			t.Helper()
			if synctest.Wait(); int(file.synced.Load()) != syncs {
				t.Errorf("%s: %d syncs, want %d", what, file.synced.Load(), syncs)
			}
		}
		remove := func(id proto.TextID) {
			t.Helper()
			if err := s.Remove(t.Context(), 2, []store.TextKey{{Sender: 1, ID: id}}); err != nil {
				t.Fatal(err)
			}
		}
		if err := s.Append(t.Context(), 2, ann, 1, 0, []string{"1", "2", "3", "4"}); err != nil {
			t.Fatal(err)
		}
		want(1, "a text")
		remove(1)
		want(1, "a removal")
		time.Sleep(syncPause / 2)
		remove(2)
		want(1, "another removal")
		time.Sleep(syncPause/2 + time.Millisecond)
		want(2, "the end of the pause")
		remove(3)
		if err := s.Append(t.Context(), 2, ann, 9, 0, []string{"text"}); err != nil {
			t.Fatal(err)
		}
		want(3, "a text behind a removal")
		time.Sleep(2 * syncPause)
		want(3, "nothing left to sync")
		file.syncs = errDisk
		remove(4)
		time.Sleep(2 * syncPause)
		if synctest.Wait(); !s.failed.Load() || !s.journal.broken {
			t.Error("a sync that failed is not known")
		}
	})
}

// TestJournalBounded stores more than the journal, or the memory, may have: the data
// file gets it, and the journal is empty.
func TestJournalBounded(t *testing.T) {
	for name, texts := range map[string][]string{
		"bytes": {strings.Repeat("x", 60<<10)}, "texts": make([]string, 100),
	} {
		t.Run(name, func(t *testing.T) {
			s := opened(t, filepath.Join(t.TempDir(), "cim.db"), store.Config{})
			for i := range 3 * max(journalMax/(60<<10), pendingMax/100) {
				receiver := proto.UserID(1 + i%7)
				if err := s.Append(t.Context(), receiver, proto.User{ID: proto.UserID(1 + i)}, 0, 0, texts); err != nil {
					t.Fatal(err)
				}
				if err := s.do(t.Context(), &expiring{}); err != nil { // the committer is through with what it does behind the append
					t.Fatal(err)
				}
				if s.journal.end > journalMax || s.boxes.pending >= pendingMax {
					t.Fatalf("the journal has %d bytes, and the file lacks %d changes", s.journal.end, s.boxes.pending)
				}
			}
			if info, err := os.Stat(s.path + journalSuffix); err != nil || info.Size() > journalMax {
				t.Errorf("the journal: %v, %v", info, err)
			}
		})
	}
}

// TestClosedIsWhole closes a store: the data file has all, no journal is left, and
// programs of before can read it.
func TestClosedIsWhole(t *testing.T) {
	path := filepath.Join(t.TempDir(), "cim.db")
	s := opened(t, path, store.Config{})
	if err := s.Append(t.Context(), 1, proto.User{ID: 2, Name: "bob"}, 3, 4, []string{"text"}); err != nil {
		t.Fatal(err)
	}
	if lastTx(t, s) == 0 || s.boxes.get(1).pending() != 1 {
		t.Error("the text is not in the journal")
	}
	closed(t, s)
	if _, err := os.Stat(path + journalSuffix); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the journal: %v", err)
	}
	db, err := bbolt.Open(path, 0o600, &bbolt.Options{ReadOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	err = db.View(func(tx *bbolt.Tx) error {
		if version := be.Uint32(tx.Bucket(formatBucket).Get(versionKey)); version != 3 {
			t.Errorf("format %d, want 3", version)
		}
		if salt, err := readSalt(tx); salt != 0 || err != nil {
			t.Errorf("salt %d, %v", salt, err)
		}
		if texts := tx.Bucket(offlineBucket).Stats().KeyN; texts != 1 {
			t.Errorf("%d texts, want 1", texts)
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}

// TestJournalMissing refuses the data file of a killed process without its journal,
// until there is one that says that its texts are given up.
func TestJournalMissing(t *testing.T) {
	s := unstarted(t, store.Config{})
	committed(t, s, appending(1, 0, "text"))
	letGo(t, s)
	path := s.path + journalSuffix
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if _, err := Open(s.path, store.Config{}); err == nil || !strings.Contains(err.Error(), path+", which has its last messages, is not there") {
			t.Fatalf("Open: %v", err)
		}
	}
	write(t, path, "")
	again := opened(t, s.path, store.Config{})
	if page, err := again.Page(t.Context(), 1, 0); len(page) != 0 || err != nil {
		t.Errorf("Page: %+v, %v", page, err)
	}
}

// TestRemovedBehindFile empties a box whose text is in the data file: that is gone
// there too once the file is written again.
func TestRemovedBehindFile(t *testing.T) {
	s := unstarted(t, store.Config{})
	committed(t, s, appending(1, 1, "text"), probing{})
	committed(t, s, &removing{user: 1, keys: []store.TextKey{{Sender: 1, ID: 1}}})
	if page, err := s.Page(t.Context(), 1, 0); len(page) != 0 || err != nil {
		t.Errorf("Page: %+v, %v; want none", page, err)
	}
	committed(t, s, probing{})
	if len(s.boxes.user) != 0 || len(s.boxes.behind) != 0 {
		t.Errorf("boxes %+v, behind %v; want none", s.boxes.user, s.boxes.behind)
	}
	again := killed(t, s)
	defer letGo(t, again)
	if page, err := again.Page(t.Context(), 1, 0); len(page) != 0 || err != nil {
		t.Errorf("after a kill: %+v, %v; want none", page, err)
	}
}

// TestBoxWhileWritten reads a box as it was before the data file got what it lacked,
// with the file as it is after that: each text comes once.
func TestBoxWhileWritten(t *testing.T) {
	s := unstarted(t, store.Config{})
	committed(t, s, appending(1, 1, "1", "2", "3"), probing{})
	committed(t, s, appending(1, 4, "4", "5"), &removing{user: 1, keys: []store.TextKey{{Sender: 1, ID: 2}, {Sender: 1, ID: 4}}})
	before := s.boxes.get(1)
	look := func() (texts string) {
		err := s.db.View(func(tx *bbolt.Tx) error {
			return before.each(tx.Bucket(offlineBucket), 1, 0, func(view messageView) (bool, error) {
				texts += string(view.text)
				return true, nil
			})
		})
		if err != nil {
			t.Error(err)
		}
		return texts
	}
	lacking := look()
	committed(t, s, probing{})
	if whole := look(); lacking != "135" || whole != "135" {
		t.Errorf("read %s before and %s behind the write, want 135", lacking, whole)
	}
}
