package embedded

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.etcd.io/bbolt"

	"cim/proto"
	"cim/store"
	"cim/store/storetest"
)

// TestConformance runs the suite on a file.
func TestConformance(t *testing.T) {
	storetest.Run(t, func(t *testing.T, config store.Config) store.Store {
		return opened(t, filepath.Join(t.TempDir(), "cim.db"), config)
	})
}

// opened opens the file at path until the end of t.
func opened(t testing.TB, path string, config store.Config) *Store {
	t.Helper()
	s, err := Open(path, config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { closed(t, s) })
	return s
}

func closed(t testing.TB, s *Store) {
	t.Helper()
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}

// registered returns the account called name.
func registered(t testing.TB, s *Store, name string) proto.User {
	t.Helper()
	user, err := s.Register(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	return user
}

// at returns a clock that stands still.
func at(ms int64) func() time.Time { return func() time.Time { return time.UnixMilli(ms) } }

// TestReopen closes the file and opens it again: accounts, texts and what
// must never be given twice are as before; presence and leases are gone.
func TestReopen(t *testing.T) {
	path := filepath.Join(t.TempDir(), "cim.db")
	s := opened(t, path, store.Config{Now: at(5000)})
	ann, bob := registered(t, s, "ann"), registered(t, s, "bob")
	generation, _ := s.Claim(t.Context(), ann.ID, store.Place{Host: "h"}, 0)
	if ok, err := s.Confirm(t.Context(), ann.ID, generation); !ok || err != nil {
		t.Fatalf("Confirm: %t, %v", ok, err)
	}
	if lease, err := s.Acquire(t.Context(), ann.ID, time.Hour); lease == 0 || err != nil {
		t.Fatalf("Acquire: %d, %v", lease, err)
	}
	all := make([]string, store.ShareMaxMessages)
	if err := s.Append(t.Context(), ann.ID, bob, 0, 0, all); err != nil {
		t.Fatal(err)
	}
	if err := s.RefuseTokensBefore(t.Context(), ann.ID, 4321); err != nil {
		t.Fatal(err)
	}
	page, err := s.Page(t.Context(), ann.ID, 0)
	if err != nil {
		t.Fatal(err)
	}
	closed(t, s)

	s = opened(t, path, store.Config{Now: at(4000)})
	if again := registered(t, s, "ann"); again != ann {
		t.Errorf("registered again as %v, was %v", again, ann)
	}
	if name, found, err := s.Account(t.Context(), bob.ID); name != "bob" || !found || err != nil {
		t.Errorf("Account: %q, %t, %v", name, found, err)
	}
	if at, err := s.TokensRefusedBefore(t.Context(), ann.ID); at != 4321 || err != nil {
		t.Errorf("tokens are refused before %d, %v; want 4321", at, err)
	}
	if eve := registered(t, s, "eve"); eve.ID != bob.ID+1 {
		t.Errorf("the next account is %d, want %d", eve.ID, bob.ID+1)
	}
	if got, err := s.Page(t.Context(), ann.ID, 0); err != nil || len(got) != len(page) || got[0] != page[0] {
		t.Errorf("Page: %d texts, %v; want the same %d", len(got), err, len(page))
	}
	if err := s.Append(t.Context(), ann.ID, bob, 0, 0, []string{"past"}); !errors.Is(err, store.ErrBoxFull) {
		t.Errorf("Append to a full box: %v", err)
	}
	if present, err := s.Connected(t.Context()); len(present) != 0 || err != nil {
		t.Errorf("Connected: %v, %v; want nobody", present, err)
	}
	if lease, err := s.Acquire(t.Context(), ann.ID, time.Hour); lease == 0 || err != nil {
		t.Errorf("Acquire: %d, %v", lease, err)
	}
	if err := empty(t.Context(), s, ann.ID); err != nil {
		t.Fatal(err)
	}
	closed(t, s)

	s = opened(t, path, store.Config{Now: at(4000)})
	if err := s.Append(t.Context(), ann.ID, bob, 0, 0, []string{"new"}); err != nil {
		t.Fatal(err)
	}
	if got, err := s.Page(t.Context(), ann.ID, 0); err != nil || len(got) != 1 || got[0].Serial <= page[0].Serial+999 {
		t.Errorf("Page: %+v, %v; want one text of a new serial", got, err)
	}
}

// TestLocked opens a file that is open: it fails soon and names it.
func TestLocked(t *testing.T) {
	path := filepath.Join(t.TempDir(), "cim.db")
	opened(t, path, store.Config{})
	start := time.Now()
	_, err := Open(path, store.Config{})
	if err == nil || !strings.Contains(err.Error(), path) || !strings.Contains(err.Error(), "another process") {
		t.Errorf("a second Open: %v", err)
	}
	if took := time.Since(start); took > 20*lockWait {
		t.Errorf("it took %v, want about %v", took, lockWait)
	}
}

// TestFileModes lets nobody else read what is stored.
func TestFileModes(t *testing.T) {
	folder := filepath.Join(t.TempDir(), "new", "folder")
	path := filepath.Join(folder, "cim.db")
	opened(t, path, store.Config{})
	for name, want := range map[string]fs.FileMode{folder: 0o700, path: 0o600} {
		info, err := os.Stat(name)
		if err != nil {
			t.Fatal(err)
		}
		if got := info.Mode().Perm(); got != want {
			t.Errorf("%s has mode %o, want %o", name, got, want)
		}
	}
}

// TestOpenRefused names the file that is not ours, too new, damaged or beyond
// reach, and lets go of it.
func TestOpenRefused(t *testing.T) {
	for name, test := range map[string]struct {
		make func(t *testing.T, path string)
		want string
	}{
		"text":       {func(t *testing.T, path string) { write(t, path, strings.Repeat("no bbolt file", 1000)) }, "is not a data file of cim"},
		"folder":     {func(t *testing.T, path string) { makeFolder(t, path) }, "is a directory"},
		"old format": {func(t *testing.T, path string) { tamper(t, path, formatBucket, versionKey, []byte{0, 0, 0, 1}) }, "format 00000001"},
		"new format": {func(t *testing.T, path string) { tamper(t, path, formatBucket, versionKey, []byte{0, 0, 0, 5}) }, "format 00000005"},
		"no version": {func(t *testing.T, path string) { tamper(t, path, formatBucket, versionKey, nil) }, "format"},
		"short key":  {func(t *testing.T, path string) { tamper(t, path, offlineBucket, []byte("k"), make([]byte, 99)) }, "damaged"},
		"short value": {func(t *testing.T, path string) {
			tamper(t, path, offlineBucket, messageKey(1, 1), make([]byte, messageHeadSize-1))
		}, "damaged"},
		"long name": {func(t *testing.T, path string) {
			tamper(t, path, offlineBucket, messageKey(1, 1), append(make([]byte, messageHeadSize-1), 1))
		}, "damaged"},
		"name longer than what is left": {func(t *testing.T, path string) {
			tamper(t, path, offlineBucket, messageKey(1, 1), append(make([]byte, messageHeadSize-2), sentBit>>8, 1, 0, 0, 0, 0, 0, 0, 0, 0))
		}, "damaged"},
		"time cut off": {func(t *testing.T, path string) {
			tamper(t, path, offlineBucket, messageKey(1, 1), append(make([]byte, messageHeadSize-2), sentBit>>8, 0, 0, 0, 0, 0, 0, 0, 0))
		}, "damaged"},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "cim.db")
			test.make(t, path)
			for range 2 {
				_, err := Open(path, store.Config{})
				if err == nil || !strings.Contains(err.Error(), test.want) || !strings.Contains(err.Error(), path) {
					t.Errorf("Open: %v; want %q and the path", err, test.want)
				}
			}
		})
	}
}

// TestFormatBefore opens a file of the format before: its texts are there, the
// time of storing standing for that of sending, others come behind them, and
// the file is one of today's from then on.
func TestFormatBefore(t *testing.T) {
	path := filepath.Join(t.TempDir(), "cim.db")
	bob := proto.User{ID: 7, Name: "bob"}
	first := opened(t, path, store.Config{})
	if err := first.Append(t.Context(), 9, bob, 0, 0, []string{"another's, so that serials go on from here"}); err != nil {
		t.Fatal(err)
	}
	closed(t, first)
	// stored · sender · id · length of the name · name · text, as format 2 has it.
	storedMs := time.Now().UnixMilli()
	old := be.AppendUint64(be.AppendUint64(be.AppendUint64(nil, uint64(storedMs)), 7), 99)
	old = append(be.AppendUint16(old, 3), "bobold"...)
	tamper(t, path, offlineBucket, messageKey(1, 1), old)
	tamper(t, path, formatBucket, versionKey, []byte{0, 0, 0, 2})
	for range 2 {
		s, err := Open(path, store.Config{})
		if err != nil {
			t.Fatal(err)
		}
		page, err := s.Page(t.Context(), 1, 0)
		want := store.OfflineMessage{Serial: 1, Sender: bob, Text: "old", ID: 99, Stored: time.UnixMilli(storedMs)}
		if err != nil || len(page) != 1 || page[0] != want || page[0].SentAt() != proto.UnixMilli(storedMs) {
			t.Fatalf("%+v, %v, want %+v", page, err, want)
		}
		closed(t, s)
	}
	s := opened(t, path, store.Config{})
	if err := s.Append(t.Context(), 1, bob, 5, 1299, []string{"new"}); err != nil {
		t.Fatal(err)
	}
	if page, err := s.Page(t.Context(), 1, 1); err != nil || len(page) != 1 || page[0].Sent != 1299 || page[0].Text != "new" {
		t.Errorf("%+v, %v", page, err)
	}
	if err := s.view(func(tx *bbolt.Tx) error {
		if version := tx.Bucket(formatBucket).Get(versionKey); be.Uint32(version) != formatVersion {
			t.Errorf("it has format %d", version)
		}
		return nil
	}); err != nil {
		t.Error(err)
	}
}

func write(t *testing.T, path, content string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

func makeFolder(t *testing.T, path string) {
	t.Helper()
	if err := os.Mkdir(path, 0o700); err != nil {
		t.Fatal(err)
	}
}

// tamper makes a file of ours in which key has another value; nil: none.
func tamper(t *testing.T, path string, bucket, key, value []byte) {
	t.Helper()
	closed(t, opened(t, path, store.Config{}))
	db, err := bbolt.Open(path, 0o600, &bbolt.Options{Timeout: time.Second})
	if err != nil {
		t.Fatal(err)
	}
	err = db.Update(func(tx *bbolt.Tx) error {
		if value == nil {
			return tx.Bucket(bucket).Delete(key)
		}
		return tx.Bucket(bucket).Put(key, value)
	})
	if err := errors.Join(err, db.Close()); err != nil {
		t.Fatal(err)
	}
}

// TestConfigRefused opens no file for a configuration that is wrong.
func TestConfigRefused(t *testing.T) {
	path := filepath.Join(t.TempDir(), "cim.db")
	if _, err := Open(path, store.Config{OfflineTTL: -time.Hour}); err == nil || !strings.Contains(err.Error(), "-1h") {
		t.Errorf("Open: %v, want a refusal", err)
	}
	if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the file: %v, want none", err)
	}
}
