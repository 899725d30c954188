package live

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	tea "github.com/charmbracelet/bubbletea"
	"go.uber.org/goleak"

	"cim/loadgen"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m, goleak.IgnoreCurrent()) }

func moment(second, deliveries, errors int) loadgen.Moment {
	return loadgen.Moment{
		Conns: 7, Load: "window 16", Elapsed: time.Duration(second+1) * time.Second, Duration: 50 * time.Second,
		Second: loadgen.Second{Second: second, Sent: 3, Deliveries: deliveries, Errors: errors, P50: 900, P99: 2500, Max: 3e6},
	}
}

// show runs a view of kind to its end and returns its output.
func show(t *testing.T, kind Kind, color bool, seconds ...loadgen.Moment) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "out")
	out, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	v := Open(kind, out, color)
	if _, err := v.Write([]byte("7 logins\n")); err != nil {
		t.Error(err)
	}
	for _, s := range seconds {
		v.Second(s)
	}
	if kind == Terminal {
		awaitDrawn(t, path)
	}
	if err := v.Close(); err != nil {
		t.Error(err)
	}
	if err := out.Close(); err != nil {
		t.Error(err)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// awaitDrawn returns when the screen has drawn a second: it draws at its own pace, and clears when
// it closes.
func awaitDrawn(t *testing.T, path string) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(time.Millisecond) {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(text), "errors              2") {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("drawn so far: %q", text)
		}
	}
}

// TestLines: one line a second where there is no terminal, none if switched off, and never an
// escape.
func TestLines(t *testing.T) {
	warned := moment(1, 30, 1)
	warned.Warnings = []string{"late"}
	want := "7 logins\n" +
		"   1 s of 50: 20 deliveries, 3 sent, p50 900 µs, p99 2.50 ms, max 3.00 s, errors 0, own CPU 0.00\n" +
		"   2 s of 50: 30 deliveries, 3 sent, p50 900 µs, p99 2.50 ms, max 3.00 s, errors 1, own CPU 0.00; warning: late\n"
	for _, kind := range []Kind{Auto, Lines} {
		if got := show(t, kind, true, moment(0, 20, 0), warned); got != want {
			t.Errorf("%s: %q, want %q", kind, got, want)
		}
	}
	if got := show(t, None, true, moment(0, 20, 0)); got != "" {
		t.Errorf("none: %q", got)
	}
}

// TestScreen draws to the end, without a terminal too.
func TestScreen(t *testing.T) {
	for _, color := range []bool{false, true} {
		got := show(t, Terminal, color, moment(0, 20, 0), moment(1, 10, 2))
		for _, want := range []string{"7 logins", "7 clients, window 16", "deliveries", "errors"} {
			if !strings.Contains(got, want) {
				t.Errorf("no %q in %q", want, got)
			}
		}
		if strings.Contains(got, red) != color {
			t.Errorf("color %t: %q", color, got)
		}
		if hides, shows := strings.LastIndex(got, "\x1b[?25l"), strings.Index(got, "\x1b[?25h"); shows < hides || shows > strings.Index(got, "errors") {
			t.Errorf("the cursor is hidden while something is shown: %q", got)
		}
		if strings.Contains(got, "\x1b[?2004h") {
			t.Errorf("bracketed paste is switched on: %q", got)
		}
	}
}

// TestModel: a trial's errors add up, another trial starts from zero, and a bounded number of
// seconds is kept.
func TestModel(t *testing.T) {
	m := model{}
	if m.View() != "" {
		t.Error("something is shown before the first second")
	}
	next := func(moment loadgen.Moment) {
		updated, _ := m.Update(moment)
		m = updated.(model)
	}
	for i := range 2 * historyMax {
		next(moment(i, i, 1))
	}
	if len(m.history) != historyMax || m.history[historyMax-1] != 2*historyMax-1 || m.errors != 2*historyMax {
		t.Errorf("%+v", m)
	}
	next(moment(0, 5, 0))
	if len(m.history) != 1 || m.errors != 0 || !strings.Contains(m.View(), "p99 2.50 ms") {
		t.Errorf("%+v: %s", m, m.View())
	}
}

// TestStages: the view gets the stages before and after the measured time.
func TestStages(t *testing.T) {
	now := loadgen.Moment{Conns: 7, Stage: "logging in", Done: 3, Of: 6, Elapsed: 2 * time.Second}
	if got := line(now); got != "   2 s logging in: 3 of 6" {
		t.Errorf("%q", got)
	}
	m := model{}.shown(moment(0, 5, 1)).shown(now)
	if got := m.View(); got != "7 clients, logging in\n[###############---------------] 3 of 6\n2 s\n" || len(m.history) != 0 {
		t.Errorf("%q", got)
	}
	now.Of = 0
	if got := m.shown(now).View(); got != "7 clients, logging in\n2 s\n" || line(now) != "   2 s logging in" {
		t.Errorf("%q", got)
	}
	short := moment(0, 5, 0)
	short.Elapsed, short.Duration = 200*time.Millisecond, 250*time.Millisecond
	if got := m.shown(short).View(); !strings.Contains(got, "]  0.2 s of 0.2\n") || !strings.HasPrefix(line(short), " 0.2 s of 0.2: 5 deliveries") {
		t.Errorf("%q, %q", got, line(short))
	}
	churn := moment(0, 0, 0)
	churn.Second.Logins = 9
	if got := m.shown(churn).View(); !strings.Contains(got, "logins              9 a second") || strings.Contains(got, "p99") {
		t.Errorf("%q", got)
	}
	if got := line(churn); got != "   1 s of 50: 9 logins, own CPU 0.00" {
		t.Errorf("%q", got)
	}
}

// TestWidth: a warning is never cut off, and the CPU of no process is not shown as 0.
func TestWidth(t *testing.T) {
	now := moment(0, 5, 0)
	now.Warnings = []string{"lower --rate, or a machine"}
	updated, _ := model{}.shown(now).Update(tea.WindowSizeMsg{Width: 20, Height: 5})
	got := updated.View()
	if !strings.HasSuffix(got, "\nwarning: lower\n--rate, or a machine\n") || strings.Contains(got, "server") {
		t.Errorf("%q", got)
	}
}

func TestBars(t *testing.T) {
	if got := bars([]int{0, 1, 4, 8}); got != "▁▁▄█" {
		t.Errorf("%q", got)
	}
	if got := bars([]int{0, -1}); got != "▁▁" {
		t.Errorf("%q", got)
	}
	for part, want := range map[float64]int{-1: 0, 0: 0, 0.5: progressWidth / 2, 1: progressWidth, 2: progressWidth} {
		if got := strings.Count(progress(part), "#"); got != want {
			t.Errorf("%v: %d, want %d", part, got, want)
		}
	}
}
