package embedded

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.etcd.io/bbolt"
	"pgregory.net/rapid"

	"cim/proto"
	"cim/store"
)

// unstarted returns a store without a committer: the test commits.
func unstarted(t *testing.T, config store.Config) *Store {
	t.Helper()
	s, err := open(filepath.Join(t.TempDir(), "cim.db"), config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.db.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// requested returns a request as do makes it.
func requested(ctx context.Context, change change) *request {
	return &request{ctx: ctx, change: change, done: make(chan error, 1)}
}

// committed commits changes in one batch.
func committed(t *testing.T, s *Store, changes ...change) {
	t.Helper()
	var requests []*request
	for _, change := range changes {
		requests = append(requests, requested(t.Context(), change))
	}
	if err := s.commit(requests); err != nil {
		t.Fatal(err)
	}
}

// TestBatch has changes in one batch that depend on each other. What is
// refused leaves the others alone, and each sees those before it.
func TestBatch(t *testing.T) {
	s := unstarted(t, store.Config{})
	ann, again, bob := &registering{name: "ann"}, &registering{name: "ann"}, &registering{name: "bob"}
	committed(t, s, ann, again, bob)
	if ann.user != again.user || bob.user.ID <= ann.user.ID {
		t.Errorf("ann is %v and %v, bob %v", ann.user, again.user, bob.user)
	}
	to := func(receiver proto.User, n int) *appending {
		return &appending{receiver: receiver.ID, sender: bob.user, texts: make([]string, n)}
	}
	most, full, other := to(ann.user, store.BoxMaxMessages), to(ann.user, 1), to(bob.user, 1)
	rest, fullAgain := to(ann.user, 2), to(ann.user, 1)
	committed(t, s, most, full, other, &removing{user: ann.user.ID, serial: 2}, rest, fullAgain)
	for i, a := range []*appending{most, full, other, rest, fullAgain} {
		if want := a == full || a == fullAgain; a.full != want {
			t.Errorf("append %d was refused: %t, want %t", i, a.full, want)
		}
	}
	if got := s.boxes.get(ann.user.ID).count; got != store.BoxMaxMessages {
		t.Errorf("ann's box has %d, want %d", got, store.BoxMaxMessages)
	}
	if got := s.boxes.get(bob.user.ID).count; got != 1 {
		t.Errorf("bob's box has %d, want 1", got)
	}
}

// TestBatchSkipsCancelled does nothing for a caller that has gone.
func TestBatchSkipsCancelled(t *testing.T) {
	s := unstarted(t, store.Config{})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	gone, there := &registering{name: "gone"}, &registering{name: "there"}
	if err := s.commit([]*request{requested(ctx, gone), requested(t.Context(), there)}); err != nil {
		t.Fatal(err)
	}
	if _, found, err := s.Find(context.Background(), "gone"); found || err != nil {
		t.Errorf("the change of a caller that has gone: found %t, %v", found, err)
	}
	if _, found, err := s.Find(context.Background(), "there"); !found || err != nil {
		t.Errorf("the change of a caller that waits: found %t, %v", found, err)
	}
}

// TestNothingToCommit writes nothing when all is refused or without effect.
func TestNothingToCommit(t *testing.T) {
	s := unstarted(t, store.Config{})
	ann := &registering{name: "ann"}
	committed(t, s, ann)
	before := lastTx(t, s)
	committed(t, s, &registering{name: "ann"}, &removing{user: ann.user.ID, serial: 9},
		&appending{receiver: ann.user.ID, texts: make([]string, store.BoxMaxMessages+1)})
	if after := lastTx(t, s); after != before {
		t.Errorf("the file is at transaction %d, was at %d", after, before)
	}
}

func lastTx(t *testing.T, s *Store) (id int) {
	t.Helper()
	err := s.db.View(func(tx *bbolt.Tx) error {
		id = tx.ID()
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return id
}

// TestFailedCommit lets the file reach a bound of its size: every caller of
// the batch learns it, nothing of it is seen, and the store serves again when
// there is room.
func TestFailedCommit(t *testing.T) {
	s := opened(t, filepath.Join(t.TempDir(), "cim.db"), store.Config{})
	ann := registered(t, s, "ann")
	if err := s.Ready(t.Context()); err != nil {
		t.Fatal(err)
	}
	s.db.MaxSize = 1 // the committer reads it only after a send on its queue
	text := strings.Repeat("x", 1<<20)
	if err := s.Append(t.Context(), ann.ID, ann, 0, 0, []string{text, text}); err == nil || errors.Is(err, store.ErrBoxFull) {
		t.Fatalf("Append without room in the file: %v", err)
	}
	if page, err := s.Page(t.Context(), ann.ID, 0); len(page) != 0 || err != nil {
		t.Errorf("Page: %d texts, %v", len(page), err)
	}
	if !s.empty(ann.ID) {
		t.Error("the box counts what was not committed")
	}
	if !s.failed.Load() {
		t.Error("the store has forgotten that a commit failed")
	}
	s.db.MaxSize = 0
	if err := s.Ready(t.Context()); err != nil {
		t.Errorf("Ready with room again: %v", err)
	}
	if err := s.Append(t.Context(), ann.ID, ann, 0, 0, []string{text, text}); err != nil {
		t.Errorf("Append with room again: %v", err)
	}
}

// TestNotReady takes the file away: Ready tries to write once a commit has
// failed, and says which file it is.
func TestNotReady(t *testing.T) {
	path := filepath.Join(t.TempDir(), "cim.db")
	s := opened(t, path, store.Config{})
	if err := s.db.Close(); err != nil {
		t.Fatal(err)
	}
	if err := s.Append(t.Context(), 1, proto.User{}, 0, 0, []string{"text"}); err == nil {
		t.Fatal("an append without a file was answered")
	}
	if err := s.Ready(t.Context()); err == nil || !strings.Contains(err.Error(), path) {
		t.Errorf("Ready: %v, want why not and the file", err)
	}
}

// TestClose answers what came before it and refuses what comes after.
func TestClose(t *testing.T) {
	path := filepath.Join(t.TempDir(), "cim.db")
	s := opened(t, path, store.Config{})
	const callers = 8
	answered := make([][]string, callers)
	started := make(chan struct{}, callers)
	var all sync.WaitGroup
	for caller := range callers {
		all.Go(func() {
			for i := 0; ; i++ {
				name := fmt.Sprint("user", caller, "-", i)
				if _, err := s.Register(context.Background(), name); err != nil {
					if !errors.Is(err, ErrClosed) {
						t.Errorf("Register: %v, want ErrClosed", err)
					}
					return
				}
				if answered[caller] = append(answered[caller], name); i == 3 {
					started <- struct{}{}
				}
			}
		})
	}
	for range callers {
		<-started
	}
	closed(t, s)
	all.Wait()
	if err := s.Ready(t.Context()); !errors.Is(err, ErrClosed) {
		t.Errorf("Ready after Close: %v", err)
	}
	if err := s.Append(t.Context(), 1, proto.User{}, 0, 0, []string{"late"}); !errors.Is(err, ErrClosed) {
		t.Errorf("Append after Close: %v", err)
	}
	s = opened(t, path, store.Config{})
	for _, names := range answered {
		for _, name := range names {
			if _, found, err := s.Find(context.Background(), name); !found || err != nil {
				t.Errorf("%s was answered: found %t, %v", name, found, err)
			}
		}
	}
}

// TestCloseDrains closes while requests wait: they are committed and answered.
func TestCloseDrains(t *testing.T) {
	s := unstarted(t, store.Config{})
	var waiting []*request
	for i := range queueMax {
		waiting = append(waiting, requested(t.Context(), &registering{name: fmt.Sprint("user", i)}))
		s.queue <- waiting[i]
	}
	go s.run()
	closed(t, s)
	for i, r := range waiting {
		if err := <-r.done; err != nil {
			t.Fatalf("request %d: %v", i, err)
		}
	}
}

// TestCallerLeaves lets a caller's context end while the committer is away:
// the caller does not wait, neither for an answer nor for room in the queue.
func TestCallerLeaves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := unstarted(t, store.Config{})
		ctx, cancel := context.WithCancel(t.Context())
		left := make(chan error)
		for i := range queueMax + 1 {
			go func() {
				_, err := s.Register(ctx, fmt.Sprint("user", i))
				left <- err
			}()
		}
		synctest.Wait()
		if len(s.queue) != queueMax {
			t.Errorf("%d requests wait, want %d", len(s.queue), queueMax)
		}
		cancel()
		for range queueMax + 1 {
			if err := <-left; !errors.Is(err, context.Canceled) {
				t.Errorf("Register: %v", err)
			}
		}
	})
}

// TestSweep takes what is too old out of the file, in all boxes, and nothing
// else.
func TestSweep(t *testing.T) {
	const users = sweepMax + 1
	now := int64(1_000_000)
	s := unstarted(t, store.Config{Now: func() time.Time { return time.UnixMilli(now) }, OfflineTTL: time.Second})
	var older, newer []change
	for user := range proto.UserID(users) {
		older = append(older, &appending{receiver: user + 1, texts: []string{"old", "old"}})
		newer = append(newer, &appending{receiver: user + 1, texts: []string{"new"}})
	}
	committed(t, s, older...)
	now += 999
	committed(t, s, newer[1:]...)
	go s.run()
	defer func() {
		close(s.closing)
		<-s.ended
	}()
	wantInFile(t, s, 2*users+users-1)
	if err := s.Sweep(t.Context()); err != nil {
		t.Fatal(err)
	}
	wantInFile(t, s, 2*users+users-1)
	now++
	if err := s.Sweep(t.Context()); err != nil {
		t.Fatal(err)
	}
	wantInFile(t, s, users-1)
	if len(s.boxes.user) != users-1 {
		t.Errorf("%d boxes, want %d", len(s.boxes.user), users-1)
	}
	if page, err := s.Page(t.Context(), 2, 0); err != nil || len(page) != 1 || page[0].Text != "new" {
		t.Errorf("Page: %+v, %v; want the new text", page, err)
	}
}

// TestBoxesMatchFile makes random changes, several in a batch: what is known
// of the boxes in memory is what an Open would count in the file.
func TestBoxesMatchFile(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		now := int64(1_000_000)
		s := unstarted(t, store.Config{Now: func() time.Time { return time.UnixMilli(now) }, OfflineTTL: time.Second})
		for range rapid.IntRange(1, 5).Draw(rt, "batches") {
			committed(t, s, rapid.SliceOfN(rapid.Custom(drawChange), 1, 5).Draw(rt, "batch")...)
			now += rapid.Int64Range(0, 600).Draw(rt, "ms")
		}
		counted := &Store{boxes: boxes{user: make(map[proto.UserID]box)}}
		if err := s.db.View(counted.count); err != nil {
			rt.Fatal(err)
		}
		if !maps.Equal(s.boxes.user, counted.boxes.user) {
			rt.Fatalf("in memory %+v, in the file %+v", s.boxes.user, counted.boxes.user)
		}
	})
}

func drawChange(rt *rapid.T) change {
	user := proto.UserID(rapid.IntRange(1, 2).Draw(rt, "user"))
	switch rapid.IntRange(0, 3).Draw(rt, "kind") {
	case 0:
		return &removing{user: user, serial: rapid.Uint64Range(0, 8).Draw(rt, "serial")}
	case 1:
		return &expiring{users: []proto.UserID{user}}
	default:
		return &appending{receiver: user, texts: rapid.SliceOfN(rapid.String(), 1, 3).Draw(rt, "texts")}
	}
}

// wantInFile counts the texts of the file, those of no page too.
func wantInFile(t *testing.T, s *Store, want int) {
	t.Helper()
	got := 0
	err := s.db.View(func(tx *bbolt.Tx) error {
		return tx.Bucket(offlineBucket).ForEach(func(_, _ []byte) error {
			got++
			return nil
		})
	})
	if err != nil || got != want {
		t.Errorf("the file has %d texts, %v; want %d", got, err, want)
	}
}

// TestNamesBound fills the names in memory, and one more.
func TestNamesBound(t *testing.T) {
	n := names{of: make(map[proto.UserID]string)}
	for id := range proto.UserID(namesMax) {
		n.put(proto.User{ID: id + 1, Name: "name"})
	}
	if len(n.of) != namesMax {
		t.Fatalf("%d names, want %d", len(n.of), namesMax)
	}
	n.put(proto.User{ID: namesMax + 1, Name: "name"})
	if len(n.of) != namesMax {
		t.Errorf("%d names, want %d", len(n.of), namesMax)
	}
}
