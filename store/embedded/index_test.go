package embedded

import (
	"errors"
	"path/filepath"
	"testing"

	"go.etcd.io/bbolt"

	"cim/proto"
	"cim/store"
)

// TestIndexesBound stores texts for more users than have an index in memory: those
// that are forgotten are made again when they are needed.
func TestIndexesBound(t *testing.T) {
	const users = indexedMax/(boxWeight+2) + 100
	s := unstarted(t, store.Config{})
	var all []change
	for user := range proto.UserID(users) {
		all = append(all, appending(user+1, 5, ""))
	}
	committed(t, s, all...)
	if s.indexes.weight > indexedMax || len(s.indexes.of) < users-200 {
		t.Errorf("%d indexes weigh %d, of %d boxes; want at most %d", len(s.indexes.of), s.indexes.weight, users, indexedMax)
	}
	for user := range proto.UserID(users) {
		if s.indexes.of[user+1] == nil {
			committed(t, s, appending(user+1, 4, "", "", ""))
			if got := s.boxes.get(user + 1).usage.Texts; got != 3 {
				t.Fatalf("a box whose index was forgotten has %d texts, want 3", got)
			}
			break
		}
	}
}

// TestTwiceInFile opens a file in which a text stands twice, as releases before
// could store it: the first stays once the box is changed.
func TestTwiceInFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "cim.db")
	s := opened(t, path, store.Config{})
	ann, bob := registered(t, s, "ann"), registered(t, s, "bob")
	closed(t, s)
	var twice box
	for i, text := range []store.Returned{
		{Sender: bob, ID: 7, Text: "first"},
		{Sender: bob, Text: "none"},
		{Sender: bob, ID: 7, Text: "second"},
		{Sender: ann, ID: 7, Text: "another's"},
		{Sender: bob, Text: "none"},
	} {
		twice.texts = append(twice.texts, pendingText{uint64(i + 1), messageValue(1_000_000, text)})
	}
	db, err := bbolt.Open(path, 0o600, nil)
	if err == nil {
		err = db.Update(func(tx *bbolt.Tx) error { return writePending(tx, map[proto.UserID]box{ann.ID: twice}, 5) })
	}
	if err := errors.Join(err, db.Close()); err != nil {
		t.Fatal(err)
	}
	s = opened(t, path, store.Config{OfflineTTL: 1 << 62})
	page, err := s.Page(t.Context(), ann.ID, 0)
	if err != nil || len(page) != 5 {
		t.Fatalf("Page: %+v, %v", page, err)
	}
	if err := s.Append(t.Context(), ann.ID, bob, 7, 0, []string{"third"}); err != nil {
		t.Fatal(err)
	}
	page, err = s.Page(t.Context(), ann.ID, 0)
	if err != nil || len(page) != 4 || page[0].Text != "first" || page[2].Text != "another's" {
		t.Errorf("Page: %+v, %v", page, err)
	}
	if err := s.Remove(t.Context(), ann.ID, []store.TextKey{{Sender: bob.ID, ID: 7}}); err != nil {
		t.Fatal(err)
	}
	if page, err = s.Page(t.Context(), ann.ID, 0); err != nil || len(page) != 3 || s.boxes.get(ann.ID).usage.Texts != 3 {
		t.Errorf("Page: %+v, %v", page, err)
	}
}
