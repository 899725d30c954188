package logqueue

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func writeGap(w io.Writer, lines uint64) error {
	_, err := fmt.Fprintf(w, "%d missing\n", lines)
	return err
}

// slow is a reader of a log that takes a line for each go-ahead.
type slow struct {
	ahead chan struct{}
	mu    sync.Mutex
	got   bytes.Buffer
}

func (s *slow) Write(p []byte) (int, error) {
	<-s.ahead
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.got.Write(p)
}

func (s *slow) text() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.got.String()
}

func say(t *testing.T, q *Queue, line string) {
	t.Helper()
	if n, err := q.Write([]byte(line)); n != len(line) || err != nil {
		t.Errorf("write of %q: %d, %v", line, n, err)
	}
}

// TestInOrder has each line come out, in order, and Close wait for the last.
func TestInOrder(t *testing.T) {
	var got bytes.Buffer
	q := New(Config{To: &got, Gap: writeGap})
	var want strings.Builder
	for i := range 1000 {
		line := fmt.Sprintln("line", i)
		want.WriteString(line)
		say(t, q, line)
	}
	if !q.Close(time.Minute) {
		t.Error("not all written within a minute")
	}
	if got.String() != want.String() || q.Dropped() != 0 {
		t.Errorf("%d bytes of %d came out, %d lines dropped", got.Len(), want.Len(), q.Dropped())
	}
}

// TestReaderStandsStill fills a queue whose reader takes nothing, at each of its
// bounds and one past it: no write waits, the oldest lines are dropped and counted,
// and when the reader continues one line reports them.
func TestReaderStandsStill(t *testing.T) {
	for name, test := range map[string]struct {
		config  Config
		lines   int // after the first, which is being written
		dropped uint64
		want    string
	}{
		"lines full": {Config{linesMax: 3}, 3, 0, "0\n1\n2\n3\n"},
		"lines past": {Config{linesMax: 3}, 5, 2, "0\n2 missing\n3\n4\n5\n"},
		"bytes full": {Config{bytesMax: 6}, 3, 0, "0\n1\n2\n3\n"},
		"bytes past": {Config{bytesMax: 6}, 4, 1, "0\n1 missing\n2\n3\n4\n"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				to := &slow{ahead: make(chan struct{})}
				test.config.To, test.config.Gap = to, writeGap
				q := New(test.config)
				say(t, q, "0\n")
				synctest.Wait()
				for i := range test.lines {
					say(t, q, fmt.Sprintln(i+1))
				}
				if q.Dropped() != test.dropped {
					t.Errorf("%d dropped, want %d", q.Dropped(), test.dropped)
				}
				close(to.ahead)
				if !q.Close(time.Second) {
					t.Error("not all written")
				}
				if to.text() != test.want {
					t.Errorf("written %q, want %q", to.text(), test.want)
				}
			})
		})
	}
}

// TestCloseHasDeadline closes a queue whose reader takes nothing: Close returns,
// and later lines are counted.
func TestCloseHasDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		to := &slow{ahead: make(chan struct{})}
		q := New(Config{To: to, Gap: writeGap})
		say(t, q, "0\n")
		start := time.Now()
		if q.Close(2 * time.Second) {
			t.Error("closed although nothing was read")
		}
		if took := time.Since(start); took != 2*time.Second {
			t.Errorf("Close took %v", took)
		}
		say(t, q, "1\n")
		if q.Dropped() != 1 {
			t.Errorf("%d dropped, want the line after the end", q.Dropped())
		}
		close(to.ahead)
	})
}

// TestLongLine drops a line that is longer than the whole queue, and reports it.
func TestLongLine(t *testing.T) {
	var got bytes.Buffer
	q := New(Config{To: &got, Gap: writeGap, bytesMax: 4})
	say(t, q, "long\n")
	q.Close(time.Minute)
	if got.String() != "1 missing\n" || q.Dropped() != 1 {
		t.Errorf("written %q, %d dropped", got.String(), q.Dropped())
	}
}

// faulty writes the first bytes and then fails, while full is set.
type faulty struct {
	full  bool
	first int
	got   bytes.Buffer
}

func (f *faulty) Write(p []byte) (int, error) {
	if !f.full {
		return f.got.Write(p)
	}
	n, _ := f.got.Write(p[:min(f.first, len(p))])
	f.first = 0
	return n, errors.New("no space left on device")
}

// TestWriterFails: the disk is full for a while, or a pipe is closed: lines are
// counted, none is appended to a partial line, and the gap is reported once.
func TestWriterFails(t *testing.T) {
	for first, want := range map[int]string{0: "a\n2 missing\nd\n", 1: "a\nb\n2 missing\nd\n"} {
		synctest.Test(t, func(t *testing.T) {
			to := &faulty{first: first}
			q := New(Config{To: to, Gap: writeGap})
			for _, step := range []struct {
				line string
				full bool
			}{{"a\n", false}, {"bb\n", true}, {"c\n", true}, {"d\n", false}} {
				to.full = step.full
				say(t, q, step.line)
				synctest.Wait()
			}
			if q.Dropped() != 2 {
				t.Errorf("%d dropped, want 2", q.Dropped())
			}
			q.Close(time.Second)
			if to.got.String() != want {
				t.Errorf("first %d: written %q, want %q", first, to.got.String(), want)
			}
		})
	}
}

// TestManyWriters is for the race detector: nothing is lost without a count.
func TestManyWriters(t *testing.T) {
	var got bytes.Buffer
	var missing uint64
	q := New(Config{To: &got, linesMax: 8, Gap: func(_ io.Writer, lines uint64) error {
		missing += lines
		return nil
	}})
	var writers sync.WaitGroup
	const each = 500
	for range 4 {
		writers.Go(func() {
			for range each {
				say(t, q, "x\n")
			}
		})
	}
	writers.Wait()
	if !q.Close(time.Minute) {
		t.Fatal("not closed")
	}
	if lines := uint64(bytes.Count(got.Bytes(), []byte("\n"))); lines+missing != 4*each || missing != q.Dropped() {
		t.Errorf("%d lines and %d missing of %d, %d dropped", lines, missing, 4*each, q.Dropped())
	}
}
