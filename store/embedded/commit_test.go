package embedded

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
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
	t.Cleanup(func() { letGo(t, s) })
	return s
}

// letGo lets go of the files of s as a kill would.
func letGo(t *testing.T, s *Store) {
	t.Helper()
	s.finish.Do(func() {
		if err := s.closeFiles(); err != nil {
			t.Error(err)
		}
	})
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

// appending is an append of sender 1.
func appending(receiver proto.UserID, id proto.TextID, texts ...string) *putting {
	return &putting{receiver: receiver, texts: store.TextsOf(proto.User{ID: 1}, id, 0, texts)}
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
	to := func(receiver proto.User, n int) *putting {
		return appending(receiver.ID, 0, make([]string, n)...)
	}
	most, full, other := to(ann.user, store.ShareMaxMessages), to(ann.user, 1), to(bob.user, 1)
	rest, fullAgain := to(ann.user, 2), to(ann.user, 1)
	committed(t, s, most, full, other, &removing{user: ann.user.ID, keys: []store.TextKey{{Serial: 1}, {Serial: 2}}}, rest, fullAgain)
	for i, a := range []*putting{most, full, other, rest, fullAgain} {
		if want := a == full || a == fullAgain; errors.Is(a.refusal, store.ErrBoxFull) != want {
			t.Errorf("append %d was refused: %v, want %t", i, a.refusal, want)
		}
	}
	if got := s.boxes.get(ann.user.ID).usage.Texts; got != store.ShareMaxMessages {
		t.Errorf("ann's box has %d, want %d", got, store.ShareMaxMessages)
	}
	if got := s.boxes.get(bob.user.ID).usage.Texts; got != 1 {
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

// endingContext has ended from the second look at it on, without a word on Done.
type endingContext struct {
	context.Context
	looks atomic.Int64
}

func (c *endingContext) Err() error {
	if c.looks.Add(1) > 1 {
		return context.DeadlineExceeded
	}
	return nil
}

func (c *endingContext) Done() <-chan struct{} { return nil }

// TestSkippedIsNotDone: a caller that still waits when the committer leaves its change
// out gets the context's error, and no success.
func TestSkippedIsNotDone(t *testing.T) {
	s, err := Open(filepath.Join(t.TempDir(), "cim.db"), store.Config{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	ctx := &endingContext{Context: t.Context()}
	if err := s.Append(ctx, 2, proto.User{ID: 1}, 7, 0, []string{"text"}); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Append: %v, want that the time is over", err)
	}
	if page, err := s.Page(t.Context(), 2, 0); len(page) != 0 || err != nil {
		t.Errorf("%d texts, %v", len(page), err)
	}
}

// TestNothingToCommit writes nothing when all is refused or without effect.
func TestNothingToCommit(t *testing.T) {
	s := unstarted(t, store.Config{})
	ann := &registering{name: "ann"}
	committed(t, s, ann)
	before := lastTx(t, s)
	committed(t, s, &registering{name: "ann"}, &removing{user: ann.user.ID, keys: []store.TextKey{{Serial: 9}}},
		appending(ann.user.ID, 0, make([]string, store.ShareMaxMessages+1)...))
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
	if !s.read(ann.ID, 0) {
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
	letGo(t, s)
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
		older = append(older, appending(user+1, 0, "old", "old"))
		newer = append(newer, appending(user+1, 0, "new"))
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

// TestBoxesMatchFile makes random changes, several in a batch, some of which
// fail and some of which write the data file: what is known of the boxes in memory
// is what an Open would find after a kill, and what an index would be made of.
func TestBoxesMatchFile(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		now := int64(1_000_000)
		s := unstarted(t, store.Config{Now: func() time.Time { return time.UnixMilli(now) }, OfflineTTL: time.Second})
		for range rapid.IntRange(1, 5).Draw(rt, "batches") {
			changes := rapid.SliceOfN(rapid.Custom(drawChange), 1, 5).Draw(rt, "batch")
			switch rapid.IntRange(0, 5).Draw(rt, "kind of batch") {
			case 0:
				failedBatch(t, s, changes...)
			case 1:
				committed(t, s, append(changes, probing{})...) // to the data file
			default:
				committed(t, s, changes...)
			}
			now += rapid.Int64Range(0, 600).Draw(rt, "ms")
		}
		again := killed(t, s)
		defer letGo(t, again)
		compareBoxes(rt, again, s)
		checkIndexes(rt, s)
	})
}

// killed opens a copy of what s has on the disk.
func killed(t *testing.T, s *Store) *Store {
	t.Helper()
	path := filepath.Join(t.TempDir(), "cim.db")
	for _, suffix := range []string{"", journalSuffix} {
		data, err := os.ReadFile(s.path + suffix)
		if err == nil {
			err = os.WriteFile(path+suffix, data, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	again, err := open(path, store.Config{Now: s.config.Now, OfflineTTL: s.config.OfflineTTL})
	if err != nil {
		t.Fatal(err)
	}
	return again
}

// compareBoxes compares what a store that was opened anew knows and has with what
// one had before it.
func compareBoxes(rt *rapid.T, again, before *Store) {
	if again.lastSerial < before.lastSerial {
		rt.Errorf("serial %d was given before, and is the last now after %d", before.lastSerial, again.lastSerial)
	}
	for _, user := range []proto.UserID{1, 2} {
		got, want := again.boxes.get(user), before.boxes.get(user)
		if got.usage != want.usage || want.usage.Texts > 0 && got.oldestMs != want.oldestMs {
			rt.Errorf("user %d: the files have %+v, in memory was %+v", user, got, want)
		}
		pages := [2][]store.OfflineMessage{}
		for i, s := range []*Store{again, before} {
			page, err := s.Page(context.Background(), user, 0)
			if err != nil {
				rt.Fatal(err)
			}
			pages[i] = page
		}
		if !slices.Equal(pages[0], pages[1]) {
			rt.Errorf("user %d: the files have %+v, the store had %+v", user, pages[0], pages[1])
		}
		for _, message := range pages[1] {
			if rest, err := before.Page(context.Background(), user, message.Serial-1); err != nil || len(rest) == 0 || rest[0] != message {
				rt.Errorf("user %d: behind %d comes %+v, %v; want %+v", user, message.Serial-1, rest, err, message)
			}
		}
	}
}

// failing is a change that the file refuses.
type failing struct{}

func (failing) isOfFile() bool { return false }

func (failing) apply(*batch) error { return errors.New("no more") }

func failedBatch(t *testing.T, s *Store, changes ...change) {
	t.Helper()
	var requests []*request
	for _, change := range append(changes, failing{}) {
		requests = append(requests, requested(t.Context(), change))
	}
	if err := s.commit(requests); err == nil {
		t.Fatal("a batch that fails was committed")
	}
}

// checkIndexes compares each index in memory with one that is made anew.
func checkIndexes(rt *rapid.T, s *Store) {
	weight := 0
	kept := s.indexes.of
	s.indexes.of = make(map[proto.UserID]*boxIndex)
	b := s.newBatch()
	for user, index := range kept {
		weight += index.weight
		box := s.boxes.get(user)
		made, err := b.index(user, &box)
		if err != nil || len(made.senders) == 0 || !maps.Equal(made.serials, index.serials) || !maps.Equal(made.senders, index.senders) {
			rt.Errorf("the index of %d is %+v, %v; want %+v", user, index, err, made)
		}
	}
	if err := b.end(); err != nil {
		rt.Fatal(err)
	}
	s.indexes.of = kept
	if weight != s.indexes.weight {
		rt.Errorf("the indexes weigh %d, want %d", s.indexes.weight, weight)
	}
}

func drawChange(rt *rapid.T) change {
	user := proto.UserID(rapid.IntRange(1, 2).Draw(rt, "user"))
	switch rapid.IntRange(0, 3).Draw(rt, "kind") {
	case 0:
		return &removing{user: user, keys: rapid.SliceOfN(rapid.Custom(drawKey), 0, 4).Draw(rt, "keys")}
	case 1:
		return &expiring{users: []proto.UserID{user}}
	default:
		id := proto.TextID(rapid.IntRange(0, 6).Draw(rt, "id"))
		return appending(user, id, rapid.SliceOfN(rapid.String(), 1, 3).Draw(rt, "texts")...)
	}
}

func drawKey(rt *rapid.T) store.TextKey {
	return store.TextKey{
		Sender: proto.UserID(rapid.IntRange(1, 2).Draw(rt, "sender")), ID: proto.TextID(rapid.IntRange(0, 8).Draw(rt, "id")),
		Serial: rapid.Uint64Range(0, 8).Draw(rt, "serial"),
	}
}

// wantInFile counts the texts of the data file, those of no page too, once it has
// all.
func wantInFile(t *testing.T, s *Store, want int) {
	t.Helper()
	if err := s.do(t.Context(), probing{}); err != nil {
		t.Fatal(err)
	}
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

// TestRemovePages takes whole pages of the file out of boxes that lie side by
// side, and goes on in the same batch.
func TestRemovePages(t *testing.T) {
	const each = 400
	s := unstarted(t, store.Config{})
	var fill []change
	for user := range proto.UserID(3) {
		fill = append(fill, appending(user+1, 1, slices.Repeat([]string{strings.Repeat("x", 200)}, each)...))
	}
	committed(t, s, fill...)
	keys := func(from, to int) (keys []store.TextKey) {
		for id := from; id < to; id++ {
			keys = append(keys, store.TextKey{Sender: 1, ID: proto.TextID(id + 1)})
		}
		return keys
	}
	committed(t, s,
		&removing{user: 2, keys: keys(100, each)}, &removing{user: 2, keys: keys(0, 10)},
		&removing{user: 3, keys: keys(0, 300)}, &removing{user: 3, keys: keys(each-10, each)},
		&removing{user: 1, keys: keys(0, each-1)}, appending(2, 1000, "new"))
	for user, want := range []int{1, 91, 90} {
		page, err := s.Page(t.Context(), proto.UserID(user+1), 0)
		if err != nil || len(page) != want || s.boxes.get(proto.UserID(user+1)).usage.Texts != want {
			t.Errorf("user %d has %d texts, %v; want %d", user+1, len(page), err, want)
		}
		for _, message := range page {
			wrong := s.read(proto.UserID(user+1), message.Serial) != (message == page[len(page)-1])
			if wrong {
				t.Fatalf("user %d: a wrong answer whether there is something behind %d", user+1, message.Serial)
			}
		}
	}
}
