package embedded

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.etcd.io/bbolt"

	"cim/store"
)

// filled is the content of a file with branches, leaves and pages of several,
// and its meta.
func filled(t testing.TB) ([]byte, meta) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "cim.db")
	s, err := Open(path, store.Config{})
	if err != nil {
		t.Fatal(err)
	}
	ann := registered(t, s, "ann")
	for i := range 40 {
		user := registered(t, s, fmt.Sprint("user", i))
		texts := []string{strings.Repeat("x", 9000), "short"}
		for range 5 {
			texts = append(texts, strings.Repeat("y", 300))
		}
		if err := s.Append(t.Context(), user.ID, ann, 0, 0, texts); err != nil {
			t.Fatal(err)
		}
	}
	closed(t, s)
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	m, err := checkLength(bytes.NewReader(content), int64(len(content)))
	if err != nil {
		t.Fatal(err)
	}
	return content, m
}

// look inspects content as a file.
func look(content []byte) (inspection, error) {
	m, err := checkLength(bytes.NewReader(content), int64(len(content)))
	if err != nil {
		return inspection{}, err
	}
	return inspectPages(bytes.NewReader(content), m)
}

// refuse checks that Open refuses content in one line that has the path, what
// it found and what to do, and leaves it as it is.
func refuse(t *testing.T, what string, content []byte, want string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "cim.db")
	write(t, path, string(content))
	_, err := Open(path, store.Config{})
	if err == nil {
		t.Fatalf("%s: opened", what)
	}
	for _, part := range []string{path, want, "restore it from a copy"} {
		if !strings.Contains(err.Error(), part) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: %v; want %q in one line", what, err, part)
		}
	}
	after, err := os.ReadFile(path)
	if err != nil || !bytes.Equal(after, content) {
		t.Errorf("%s: the file was changed, %v", what, err)
	}
}

// TestCutFile refuses a file that was cut, wherever that was.
func TestCutFile(t *testing.T) {
	content, m := filled(t)
	needed := int(m.pages * m.pageSize)
	refuse(t, "empty", nil, "is empty")
	for _, size := range []int{1, 15, 80, int(m.pageSize) - 1} {
		refuse(t, fmt.Sprint(size, " bytes"), content[:size], "")
	}
	for size := int(m.pageSize); size < needed; size += int(m.pageSize)/2 + 1 {
		refuse(t, fmt.Sprint(size, " bytes"), content[:size], "was cut: it has ")
	}
	refuse(t, "the last byte", content[:needed-1], fmt.Sprintf("was cut: it has %d bytes of %d", needed-1, needed))
	path := filepath.Join(t.TempDir(), "cim.db")
	write(t, path, string(content[:needed])) // the room behind may be missing
	opened(t, path, store.Config{})
}

// TestDamagedPages refuses a file of which a page that is in use was zeroed, was
// overwritten or is another one's copy.
func TestDamagedPages(t *testing.T) {
	content, m := filled(t)
	sound, err := look(content)
	if err != nil {
		t.Fatalf("a sound file: %v", err)
	}
	used := 0
	size := m.pageSize
	for id := uint64(2); id < m.pages; id++ {
		page := content[id*size : (id+1)*size]
		if sound.seen[id/64]&(1<<(id%64)) == 0 || native.Uint64(page) != id {
			continue // free, or behind the first of several
		}
		used++
		for what, bad := range map[string][]byte{
			"zeroes": make([]byte, size), "ones": bytes.Repeat([]byte{0xff}, int(size)), "the page before": content[(id-1)*size : id*size],
		} {
			broken := bytes.Clone(content)
			copy(broken[id*size:], bad)
			if _, err := look(broken); err == nil {
				t.Errorf("page %d with %s is taken", id, what)
			} else if used == 1 {
				refuse(t, what, broken, "is damaged: page ")
			}
		}
	}
	if used < 20 {
		t.Errorf("%d pages were tried", used)
	}
}

// TestDamagedMetas: one meta of two is enough, and without any the file is none.
func TestDamagedMetas(t *testing.T) {
	content, m := filled(t)
	for _, at := range []uint64{0, m.pageSize} {
		content[at+pageHead+20] ^= 1
		if at == 0 {
			if _, err := look(content); err != nil {
				t.Errorf("with one meta: %v", err)
			}
		}
	}
	refuse(t, "no meta", content, "is not a data file of cim")
}

// TestFileOfAnother refuses bbolt's file of another program and adds nothing to
// it, and takes one of ours in which bbolt's tools have stored a list of free
// pages.
func TestFileOfAnother(t *testing.T) {
	path := filepath.Join(t.TempDir(), "other.db")
	rewrite(t, path, func(tx *bbolt.Tx) error {
		_, err := tx.CreateBucket([]byte("theirs"))
		return err
	})
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	refuse(t, "another program's", content, "is not a data file of cim")

	path = filepath.Join(t.TempDir(), "cim.db")
	s, err := Open(path, store.Config{})
	if err != nil {
		t.Fatal(err)
	}
	closed(t, s)
	rewrite(t, path, func(tx *bbolt.Tx) error { return tx.Bucket(formatBucket).SetSequence(1) })
	opened(t, path, store.Config{})
}

// rewrite changes a file as bbolt's tools do, which store the list of free pages.
func rewrite(t *testing.T, path string, change func(tx *bbolt.Tx) error) {
	t.Helper()
	db, err := bbolt.Open(path, 0o600, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := db.Update(change); err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
}

// TestBegunFileIsRemoved: a file that could not be made is not left behind, to
// be taken for one that was cut.
func TestBegunFileIsRemoved(t *testing.T) {
	folder := t.TempDir()
	path := filepath.Join(folder, "cim.db")
	write(t, path, "")
	if err := removed(path); err != nil {
		t.Error(err)
	}
	if err := removed(path); err != nil {
		t.Errorf("a second time: %v", err)
	}
}

// FuzzInspect changes bytes of a sound file: the inspection comes to an end, and
// in words.
func FuzzInspect(f *testing.F) {
	content, m := filled(f)
	for i := range 64 {
		f.Add(uint32(i)*uint32(m.pageSize)/4+uint32(i%24), []byte{byte(i), 0xff})
	}
	f.Fuzz(func(t *testing.T, at uint32, patch []byte) {
		broken := bytes.Clone(content)
		copy(broken[int(at)%len(broken):], patch)
		if _, err := look(broken); err != nil && strings.Contains(err.Error(), "\n") {
			t.Errorf("several lines: %v", err)
		}
	})
}
