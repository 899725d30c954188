package terminal

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"cim/client"
	"cim/proto"
)

// testHistory is a history of ann's with a fixed clock, and its complaints.
func testHistory(t *testing.T) (h *history, complaints *[]error) {
	t.Helper()
	complaints = new([]error)
	h = newHistory(t.TempDir(), proto.User{ID: 7, Name: "ann"}, func(err error) { *complaints = append(*complaints, err) })
	h.now = func() time.Time { return time.Date(2026, 1, 2, 12, 3, 4, 0, time.Local) }
	t.Cleanup(func() {
		if err := h.close(); err != nil {
			t.Error(err)
		}
	})
	return h, complaints
}

func read(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// TestHistory keeps a line for each message, in a file of the day that only the
// user may read.
func TestHistory(t *testing.T) {
	h, complaints := testHistory(t)
	at := h.now()
	bob := proto.User{ID: 9, Name: "bo\x1bb"}
	h.received(client.Message{Sender: bob, Text: "hi\nann"}, at)
	h.received(client.Message{Sender: bob, Text: "hi", ToAll: true}, at.Add(-time.Second))
	h.received(client.Message{Sender: bob, Text: "stored yesterday"}, at.AddDate(0, 0, -1))
	h.sent(message{receiver: "bob", text: "ho"}, "")
	h.sent(message{receiver: "", text: "all"}, " (not certain)")
	today := filepath.Join(h.folder, "2026-01-02.txt")
	h.now = func() time.Time { return time.Date(2026, 1, 3, 0, 0, 0, 0, time.Local) }
	h.sent(message{receiver: "", text: "next day"}, "")
	want := "12:03:04 < bo\ufffdb (9): hi ann\n12:03:03 < [all] bo\ufffdb (9): hi\n12:03:04 > bob: ho\n12:03:04 > everyone (not certain): all\n"
	if got := read(t, today); got != want {
		t.Errorf("%s has %q, want %q", today, got, want)
	}
	if got := read(t, filepath.Join(h.folder, "2026-01-03.txt")); got != "00:00:00 > everyone: next day\n" {
		t.Errorf("the next day has %q", got)
	}
	if got := read(t, filepath.Join(h.folder, "2026-01-01.txt")); got != "12:03:04 < bo\ufffdb (9): stored yesterday\n" {
		t.Errorf("the day before has %q", got)
	}
	info, err := os.Stat(today)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%s: %v, %v", today, info.Mode(), err)
	}
	if len(*complaints) != 0 {
		t.Errorf("complaints: %v", *complaints)
	}
}

// TestFolderOf gives each user a folder that every file system takes.
func TestFolderOf(t *testing.T) {
	for name, want := range map[string]string{
		"ann": "7-ann", "../张": "7-____", "": "7-", strings.Repeat("x", 64): "7-" + strings.Repeat("x", 40),
	} {
		if got := folderOf(proto.User{ID: 7, Name: name}); got != want {
			t.Errorf("folderOf(%q) = %q, want %q", name, got, want)
		}
	}
}

// TestHistoryLine walks a line up to its bound and past it.
func TestHistoryLine(t *testing.T) {
	for _, length := range []int{historyLineMax - 1, historyLineMax, historyLineMax + 1} {
		for shift := range utf8.UTFMax {
			line := (strings.Repeat("x", shift) + strings.Repeat("🍺", historyLineMax/4+1))[:length]
			line = strings.ToValidUTF8(line, "")
			got := bounded(line)
			whole := len(line) < historyLineMax
			if len(got) > historyLineMax || !utf8.ValidString(got) || whole != (got == line+"\n") || whole == strings.HasSuffix(got, "…\n") {
				t.Errorf("a line of %d bytes became one of %d", len(line), len(got))
			}
		}
	}
}

// TestHistoryFails reports a full disk once, continues, and starts a new line when there is room
// again.
func TestHistoryFails(t *testing.T) {
	h, complaints := testHistory(t)
	if err := os.MkdirAll(h.folder, 0o700); err != nil {
		t.Fatal(err)
	}
	today := filepath.Join(h.folder, "2026-01-02.txt")
	if err := os.Symlink("/dev/full", today); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		h.sent(message{receiver: "", text: "lost"}, "")
	}
	if len(*complaints) != 1 || !strings.Contains((*complaints)[0].Error(), "no space left") {
		t.Fatalf("complaints: %v", *complaints)
	}
	if err := os.Remove(today); err != nil {
		t.Fatal(err)
	}
	if err := h.close(); err != nil {
		t.Fatal(err)
	}
	h.sent(message{receiver: "", text: "kept"}, "")
	h.torn = true // as after half a line
	h.sent(message{receiver: "", text: "kept too"}, "")
	if got := read(t, today); got != "12:03:04 > everyone: kept\n\n12:03:04 > everyone: kept too\n" {
		t.Errorf("the file has %q", got)
	}
	if err := h.close(); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(h.folder, h.folder+".old"); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(h.folder, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	h.sent(message{receiver: "", text: "lost again"}, "")
	h.typed("lost too")
	if len(*complaints) != 2 {
		t.Errorf("complaints: %v", *complaints)
	}
	if err := os.Remove(h.folder); err != nil {
		t.Fatal(err)
	}
	h.typed("kept")
	h.sent(message{receiver: "", text: "kept"}, "")
	if err := errors.Join(h.close(), os.RemoveAll(h.folder), os.WriteFile(h.folder, nil, 0o600)); err != nil {
		t.Fatal(err)
	}
	h.typed("lost again")
	h.sent(message{receiver: "", text: "lost too"}, "")
	if len(*complaints) != 3 {
		t.Errorf("complaints: %v", *complaints)
	}
}

// TestInputs restores typed lines, up to a bound at which the file is cut.
func TestInputs(t *testing.T) {
	h, complaints := testHistory(t)
	if got, err := h.inputs(); got != nil || err != nil {
		t.Errorf("before anything was typed: %q, %v", got, err)
	}
	for i := range inputsMax + 1 {
		h.typed(fmt.Sprint("line ", i))
	}
	h.typed("  ")
	for range 2 {
		got, err := h.inputs()
		if err != nil || len(got) != inputsMax || got[0] != "line 1" || got[inputsMax-1] != fmt.Sprint("line ", inputsMax) {
			t.Fatalf("%d lines from %.10q, %v", len(got), got, err)
		}
	}
	name := filepath.Join(h.folder, inputFile)
	if lines := strings.Count(read(t, name), "\n"); lines != inputsMax {
		t.Errorf("the file was cut to %d lines", lines)
	}
	if info, err := os.Stat(name); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%s: %v, %v", name, info.Mode(), err)
	}
	if err := os.Remove(name); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("/dev/full", name); err != nil {
		t.Fatal(err)
	}
	h.typed("one")
	h.typed("two")
	if len(*complaints) != 1 {
		t.Errorf("complaints: %v", *complaints)
	}
}

// writeDays writes lines of a history, aDay for each day, and returns its folder.
func writeDays(t testing.TB, lines, aDay int, text func(i int) string) string {
	t.Helper()
	folder := t.TempDir()
	day := time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC)
	for first := 0; first < lines; first += aDay {
		var all strings.Builder
		for i := first; i < min(first+aDay, lines); i++ {
			fmt.Fprintf(&all, "12:03:04 %s\n", text(i))
		}
		if err := os.WriteFile(filepath.Join(folder, day.Format(historyDay)), []byte(all.String()), 0o600); err != nil {
			t.Fatal(err)
		}
		day = day.AddDate(0, 0, 1)
	}
	return folder
}

// TestSearch finds the newest, the newest last, and counts the rest.
func TestSearch(t *testing.T) {
	folder := writeDays(t, 400, 30, func(i int) string { return fmt.Sprintf("< bob (9): Lunch at %d, 12:03:04 or so", i) })
	if err := os.WriteFile(filepath.Join(folder, inputFile), []byte("lunch\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := search(t.Context(), folder, "luNCH")
	if err != nil || f.total != 400 || len(f.lines) != hitsMax {
		t.Fatalf("%d of %d found, %v", len(f.lines), f.total, err)
	}
	if want := "2020-01-14 12:03:04 < bob (9): Lunch at 399, 12:03:04 or so"; f.lines[hitsMax-1] != want {
		t.Errorf("the newest is %q, want %q", f.lines[hitsMax-1], want)
	}
	if !strings.Contains(f.lines[0], "at 350,") {
		t.Errorf("the oldest is %q", f.lines[0])
	}
	for keyword, want := range map[string]int{
		"at 39,": 1, "at 39": 11, "12:03:04": 400, "12:03:04 <": 0, "nothing": 0, "Lunch at 1, 12:03:04 or so\n": 0,
	} {
		if f, err := search(t.Context(), folder, keyword); err != nil || f.total != want {
			t.Errorf("%q: %d found, %v, want %d", keyword, f.total, err, want)
		}
	}
}

// TestSearchLongFile finds what lies on the border of two chunks of a file.
func TestSearchLongFile(t *testing.T) {
	const lines = 3 * searchChunk / 1000
	folder := writeDays(t, lines, lines, func(int) string { return "first" + strings.Repeat("-", 1000) + "last" })
	for _, keyword := range []string{"first", "last"} {
		if f, err := search(t.Context(), folder, keyword); err != nil || f.total != lines {
			t.Errorf("%q: %d found, %v, want %d", keyword, f.total, err, lines)
		}
	}
}

// TestSearchOdd searches files that another program has written: a last line without an end, lines
// shorter than a time, one longer than any of ours, and no folder at all.
func TestSearchOdd(t *testing.T) {
	folder := filepath.Join(t.TempDir(), "[a]*")
	if f, err := search(t.Context(), folder, "x"); err != nil || f.total != 0 {
		t.Errorf("no folder: %d found, %v", f.total, err)
	}
	if err := os.Mkdir(folder, 0o700); err != nil {
		t.Fatal(err)
	}
	odd := "x\n\nx x\n12:03:04 \n12:03:04 张三x\n" + strings.Repeat("y", 3*searchChunk) + "\n12:03:04 last x"
	if err := os.WriteFile(filepath.Join(folder, "2020-01-01.txt"), []byte(odd), 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := search(t.Context(), folder, "x")
	if err != nil || f.total != 2 || f.lines[0] != "2020-01-01 12:03:04 张三x" || f.lines[1] != "2020-01-01 12:03:04 last x" {
		t.Errorf("%d found: %q, %v", f.total, f.lines, err)
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := search(ended, folder, "x"); err == nil {
		t.Error("the search goes on after its context has ended")
	}
}

// TestHighlighted marks each place, in the letters that stand there.
func TestHighlighted(t *testing.T) {
	mark := func(s string) string { return "<" + s + ">" }
	got := highlighted("2020-01-01 12:03:04 12 Lunch :beer: lunch", "lUNCH", mark)
	if want := "2020-01-01 12:03:04 12 <Lunch> 🍺 <lunch>"; got != want {
		t.Errorf("highlighted %q, want %q", got, want)
	}
	got = highlighted("2020-01-01 12:03:04 at 12", "12", mark)
	if want := "2020-01-01 12:03:04 at <12>"; got != want {
		t.Errorf("highlighted %q, want %q", got, want)
	}
	got = highlighted("2020-01-01 12:03:04 at 1.1.1.1:100:22 :beer: x1:100:", "1", mark)
	if want := "2020-01-01 12:03:04 at <1>.<1>.<1>.<1>:<1>00:22 🍺 x<1>:<1>00:"; got != want {
		t.Errorf("highlighted %q, want %q", got, want)
	}
	if got := highlighted("x", "x", mark); got != "x" {
		t.Errorf("a line that is shorter than a time: %q", got)
	}
}

// BenchmarkSearch searches 1 million lines of 2,000 days.
func BenchmarkSearch(b *testing.B) {
	folder := writeDays(b, 1_000_000, 500, func(i int) string {
		return fmt.Sprintf("< bob (1795450511152): this is message %d, about as long as most are", i)
	})
	for _, keyword := range []string{"message 77777", "nothing like it", "as long as"} {
		b.Run(strings.ReplaceAll(keyword, " ", "_"), func(b *testing.B) {
			for b.Loop() {
				if _, err := search(b.Context(), folder, keyword); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// TestArrived: a message that comes later than it was sent is shown and kept with
// the time at which it was sent, and found so.
func TestArrived(t *testing.T) {
	h, complaints := testHistory(t)
	h.now = time.Now
	chat, _ := newTestChat()
	var out strings.Builder
	chat.history, chat.display = h, &pipe{out: &out}
	chat.early.over()
	close(chat.started)
	sent := time.Date(2026, 1, 2, 23, 59, 58, 0, time.Local)
	chat.arrived(client.Message{Sender: proto.User{ID: 9, Name: "bob"}, Text: "early", Offline: true, Sent: sent})
	if got := out.String(); got != "2026-01-02 23:59:58 bob (9) (while you were away): early\n" {
		t.Errorf("shown %q", got)
	}
	if got := read(t, filepath.Join(h.folder, "2026-01-02.txt")); got != "23:59:58 < bob (9): early\n" {
		t.Errorf("kept %q", got)
	}
	found, err := search(t.Context(), h.folder, "early")
	if err != nil || len(found.lines) != 1 || found.lines[0] != "2026-01-02 23:59:58 < bob (9): early" {
		t.Errorf("found %q, %v", found.lines, err)
	}
	if len(*complaints) != 0 {
		t.Errorf("complaints: %v", *complaints)
	}
}
