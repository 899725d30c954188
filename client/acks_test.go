package client

import (
	"errors"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"cim/internal/received"
)

// written is what a session's acks write, by the time at which they do.
type written struct {
	mu    sync.Mutex
	began time.Time
	acks  []uint64
	times []time.Duration
}

func newWritten() (*written, *acks) {
	w := &written{began: time.Now()}
	return w, newAcks(func(n uint64) error {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.acks = append(w.acks, n)
		w.times = append(w.times, time.Since(w.began))
		return nil
	}, func() {})
}

// counted counts n texts of bytes bytes each.
func counted(t *testing.T, a *acks, n, bytes int) []ackMark {
	t.Helper()
	marks := make([]ackMark, n)
	for i := range marks {
		var err error
		if marks[i], err = a.count(bytes); err != nil {
			t.Fatal(err)
		}
	}
	return marks
}

// TestAckDue acknowledges after received.AckTexts texts, received.AckBytes bytes, or ackPause after
// the first finished text, whichever comes first.
func TestAckDue(t *testing.T) {
	for name, c := range map[string]struct {
		texts, bytes int
		every        time.Duration // between two that are done
		acks         []uint64
		times        []time.Duration
	}{
		"one":   {1, 10, 0, []uint64{1}, []time.Duration{ackPause}},
		"texts": {received.AckTexts + 1, 10, 0, []uint64{received.AckTexts, received.AckTexts + 1}, []time.Duration{0, ackPause}},
		"bytes": {5, received.AckBytes / 2, 0, []uint64{2, 4, 5}, []time.Duration{0, 0, ackPause}},
		"slow": {
			3, 10, 60 * time.Millisecond,
			[]uint64{2, 3},
			[]time.Duration{60*time.Millisecond + ackPause, 180*time.Millisecond + ackPause},
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w, a := newWritten()
				for _, m := range counted(t, a, c.texts, c.bytes) {
					time.Sleep(c.every)
					m.done()
				}
				time.Sleep(time.Hour)
				synctest.Wait()
				if !slices.Equal(w.acks, c.acks) || !slices.Equal(w.times, c.times) {
					t.Errorf("acknowledged %v after %v, want %v after %v", w.acks, w.times, c.acks, c.times)
				}
			})
		})
	}
}

// TestAckWaits acknowledges nothing behind a text that is not done, and at the
// end nothing more.
func TestAckWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, a := newWritten()
		marks := counted(t, a, 3*received.AckTexts, 1)
		for _, m := range marks[1:] {
			m.done()
		}
		time.Sleep(time.Hour)
		a.flush()
		if len(w.acks) != 0 {
			t.Fatalf("%v acknowledged before the first text is done", w.acks)
		}
		marks[0].done()
		marks[0].done() // the second time changes nothing
		if want := []uint64{3 * received.AckTexts}; !slices.Equal(w.acks, want) {
			t.Fatalf("%v acknowledged, want %v", w.acks, want)
		}
		counted(t, a, 1, 1)[0].done()
		a.end()
		counted(t, a, 1, 1)[0].done()
		a.flush()
		time.Sleep(time.Hour)
		if len(w.acks) != 1 {
			t.Errorf("%v acknowledged behind the end", w.acks[1:])
		}
	})
}

// TestAckBound ends a session whose server does not stop.
func TestAckBound(t *testing.T) {
	_, a := newWritten()
	marks := counted(t, a, received.CountedMax, 1)
	if _, err := a.count(1); !errors.Is(err, received.ErrCounted) {
		t.Errorf("one more: %v, want received.ErrCounted", err)
	}
	marks[0].done()
	defer a.end()
	if m, err := a.count(1); err != nil || m.n != received.CountedMax+1 {
		t.Errorf("behind one that is done: number %d, %v", m.n, err)
	}
}

// TestAckFails ends the session where an ACK cannot be written.
func TestAckFails(t *testing.T) {
	failed := 0
	a := newAcks(func(uint64) error { return errors.New("broken") }, func() { failed++ })
	counted(t, a, 1, received.AckBytes)[0].done()
	if failed != 1 {
		t.Errorf("ended %d times, want once", failed)
	}
}

// TestAckProperty counts and finishes texts in any order, with pauses. The acknowledged number
// never exceeds the texts before the first unfinished one, never decreases, lags by less than
// received.AckTexts and received.AckBytes, and after a pause covers all of them.
func TestAckProperty(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		synctest.Test(t, func(*testing.T) {
			w, a := newWritten()
			var done []bool
			var marks []ackMark
			for range rapid.IntRange(1, 200).Draw(rt, "steps") {
				switch rapid.IntRange(0, 9).Draw(rt, "step") {
				case 0:
					time.Sleep(time.Duration(rapid.IntRange(1, 150).Draw(rt, "pause")) * time.Millisecond)
				case 1, 2, 3, 4:
					m, err := a.count(rapid.IntRange(0, 4<<10).Draw(rt, "bytes"))
					if err != nil {
						rt.Fatal(err)
					}
					marks, done = append(marks, m), append(done, false)
				default:
					if len(marks) > 0 {
						at := rapid.IntRange(0, len(marks)-1).Draw(rt, "done")
						marks[at].done()
						done[at] = true
					}
				}
				checkAcks(rt, w, prefix(done))
			}
			time.Sleep(ackPause)
			synctest.Wait()
			if n := prefix(done); n > 0 && w.acks[len(w.acks)-1] != n {
				rt.Fatalf("acknowledged %v, want %d in the end", w.acks, n)
			}
			a.end()
		})
	})
}

// prefix is how many are done in front of the first that is not.
func prefix(done []bool) uint64 {
	if at := slices.Index(done, false); at >= 0 {
		return uint64(at)
	}
	return uint64(len(done))
}

func checkAcks(t *rapid.T, w *written, done uint64) {
	t.Helper()
	synctest.Wait()
	w.mu.Lock()
	defer w.mu.Unlock()
	last := uint64(0)
	if n := len(w.acks); n > 0 {
		last = w.acks[n-1]
	}
	if last > done || !slices.IsSorted(w.acks) || len(slices.Compact(slices.Clone(w.acks))) != len(w.acks) {
		t.Fatalf("acknowledged %v, and %d are done", w.acks, done)
	}
	if done-last >= received.AckTexts {
		t.Fatalf("%d are done, and only %d acknowledged", done, last)
	}
}
