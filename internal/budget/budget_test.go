package budget

import (
	"bytes"
	"log/slog"
	"math"
	"os"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// shelf is a keeper of connections of given sizes. It sheds at once, or when done
// is called.
type shelf struct {
	holds []int64
	fresh int64
	slow  bool
	asked func()
}

func (s *shelf) Held() (sum, fresh, largest int64) {
	for _, h := range s.holds {
		sum, largest = sum+h, max(largest, h)
	}
	return sum + s.fresh, s.fresh, largest
}

func (s *shelf) Shed(bytes, floor int64) bool {
	if s.asked != nil {
		return false
	}
	s.asked = func() {
		slices.Sort(s.holds)
		for n := 0; len(s.holds) > 0 && bytes > 0 && (n == 0 || s.holds[len(s.holds)-1] >= floor); n++ {
			bytes -= s.holds[len(s.holds)-1]
			s.holds = s.holds[:len(s.holds)-1]
		}
		s.asked = nil
	}
	if !s.slow {
		s.asked()
	}
	return true
}

// TestLargestGoFirst: the largest connections of two keepers end, until the rest is
// within the limit. Below it none ends.
func TestLargestGoFirst(t *testing.T) {
	b := New(1000, nil)
	a, z := &shelf{holds: []int64{100, 100, 400}}, &shelf{holds: []int64{300, 50, 50}}
	b.keepers = []Keeper{a, z}
	b.look(time.Now())
	if got, want := len(a.holds)+len(z.holds), 6; got != want || b.Held() != 1000 {
		t.Fatalf("%d connections hold %d at the limit, want all", got, b.Held())
	}
	z.holds = append(z.holds, 1)
	b.look(time.Now())
	b.look(time.Now())
	if !slices.Equal(a.holds, []int64{100, 100}) || !slices.Equal(z.holds, []int64{300, 50, 50, 1}) {
		t.Errorf("left: %v, %v; want only the one of 400 gone", a.holds, z.holds)
	}
	a.holds = append(a.holds, 290, 310)
	b.look(time.Now()) // 1201: 310 goes, and then 300 is the largest
	b.look(time.Now())
	if !slices.Contains(z.holds, 300) || slices.Contains(a.holds, 310) {
		t.Errorf("left: %v, %v; want 310 gone and 300 there", a.holds, z.holds)
	}
}

// TestFresh: fresh bytes count as held, and no connection is closed for them.
func TestFresh(t *testing.T) {
	b := New(1000, nil)
	burst, small := &shelf{fresh: 5000}, &shelf{holds: []int64{700, 300}}
	b.keepers = []Keeper{burst, small}
	b.look(time.Now())
	if len(small.holds) != 2 || b.Held() != 6000 || b.short {
		t.Errorf("left: %v of %d held, want both, and 6000 held", small.holds, b.Held())
	}
	small.holds = append(small.holds, 1)
	b.look(time.Now())
	if !slices.Equal(small.holds, []int64{1, 300}) || !b.short {
		t.Errorf("left: %v, want the one of 700 gone", small.holds)
	}
}

// TestKeeperThatIsBusy: it is not asked twice, and after a second another one
// sheds.
func TestKeeperThatIsBusy(t *testing.T) {
	b := New(100, nil)
	stuck, other := &shelf{holds: []int64{500, 400}, slow: true}, &shelf{holds: []int64{10, 20}}
	b.keepers = []Keeper{stuck, other}
	now := time.Now()
	b.look(now)
	if stuck.asked == nil || len(other.holds) != 2 {
		t.Fatal("want the keeper of the largest asked, and no other")
	}
	now = now.Add(lookEvery)
	for range 100 { // for as many checks as there may be
		b.look(now)
	}
	b.look(now.Add(busyMax - 1))
	if len(other.holds) != 2 {
		t.Fatal("another keeper was asked before a second was over")
	}
	b.look(now.Add(busyMax))
	if len(other.holds) != 1 {
		t.Errorf("left at the other: %v, want its largest gone", other.holds)
	}
}

// TestWatch: keepers that have joined are checked, keepers that have left are not,
// and the log has one line for the beginning of an excess and one for its end.
func TestWatch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		b := New(1000, slog.New(slog.NewTextHandler(&log, nil)))
		a := &shelf{holds: []int64{800, 900}}
		leave := b.Join(a)
		leaveOther := b.Join(&shelf{})
		time.Sleep(lookEvery + 1)
		synctest.Wait()
		if !slices.Equal(a.holds, []int64{800}) {
			t.Errorf("left: %v, want 800", a.holds)
		}
		time.Sleep(2 * calm)
		synctest.Wait()
		if n := strings.Count(log.String(), "\n"); n != 2 || !strings.Contains(log.String(), "limit=1000") {
			t.Errorf("%d lines of log, want 2: %s", n, &log)
		}
		leave()
		leave()
		a.holds = []int64{5000}
		time.Sleep(time.Second)
		leaveOther()
		if len(a.holds) != 1 {
			t.Error("a keeper that had left was asked")
		}
	})
}

// TestDefault is within its bounds, and follows GOMEMLIMIT.
func TestDefault(t *testing.T) {
	before := debug.SetMemoryLimit(256 << 20)
	defer debug.SetMemoryLimit(before)
	if got := Default(); got != 64<<20 {
		t.Errorf("%d at a GOMEMLIMIT of 256 MiB, want 64 MiB", got)
	}
	debug.SetMemoryLimit(1 << 20)
	if got := Default(); got != defaultMin {
		t.Errorf("%d at a GOMEMLIMIT of 1 MiB, want %d", got, defaultMin)
	}
	debug.SetMemoryLimit(math.MaxInt64)
	if got := Default(); got < defaultMin || got > defaultMax {
		t.Errorf("%d, want %d to %d", got, defaultMin, defaultMax)
	}
}

// TestNumber parses the kernel's files in all their forms.
func TestNumber(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	for text, want := range map[string]int64{"max\n": math.MaxInt64, "1048576\n": 1 << 20, "": math.MaxInt64, "0": math.MaxInt64} {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if got := number(file, ""); got != want {
			t.Errorf("%q: %d, want %d", text, got, want)
		}
	}
	if err := os.WriteFile(file, []byte("MemFree: 7 kB\nMemTotal:       1024 kB\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := number(file, "MemTotal:"); got != 1<<20 {
		t.Errorf("%d, want 1 MiB", got)
	}
	if got := number(file, "Other:"); got != math.MaxInt64 {
		t.Errorf("a label that is not there: %d", got)
	}
}
