package embedded

import (
	"bufio"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"cim/proto"
	"cim/store"
)

// victimEnv names the file that a process of this test binary writes to until
// it is killed.
const victimEnv = "CIM_TEST_VICTIM_FILE"

// victimKindEnv says what it does: a name of victims.
const victimKindEnv = "CIM_TEST_VICTIM_KIND"

// victims are what the processes do that are killed, for one new user each time.
var victims = map[string]func(s *Store, name string) error{"boxes": victimWrite, "delivery": victimDeliver}

// victimWriters is the number of goroutines that write at the same time, so
// that commits carry several changes.
const victimWriters = 4

// victim changes the file until it is killed, and prints a line for each change
// that was answered.
func victim(path, kind string) int {
	s, err := Open(path, store.Config{})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	failed := make(chan error, victimWriters)
	for writer := range victimWriters {
		go func() {
			for run := 0; ; run++ {
				if err := victims[kind](s, fmt.Sprintf("user-%d-%d-%d", os.Getpid(), writer, run)); err != nil {
					failed <- err
					return
				}
			}
		}()
	}
	fmt.Fprintln(os.Stderr, <-failed)
	return 1
}

// victimWrite gives a new user texts that count up, and takes away its oldest
// ones now and then.
func victimWrite(s *Store, name string) error {
	ctx := context.Background()
	user, err := s.Register(ctx, name)
	if err != nil {
		return err
	}
	fmt.Println("registered", user.ID, name)
	for i := range 20 {
		if err := s.Append(ctx, user.ID, user, 0, 0, []string{strconv.Itoa(2 * i), strconv.Itoa(2*i + 1)}); err != nil {
			return err
		}
		fmt.Println("appended", user.ID, 2*i+1)
		if i%8 != 7 {
			continue
		}
		page, err := s.Page(ctx, user.ID, 0)
		if err != nil {
			return err
		}
		if err := s.Remove(ctx, user.ID, keysOf(page[:5])); err != nil {
			return err
		}
		fmt.Println("removed", user.ID, page[4].Text)
	}
	return nil
}

// answered is what a victim was answered about one user.
type answered struct {
	name              string
	appended, removed int // the last text of each; -1: none
}

// TestKill kills a process in the midst of its commits, again and again on the
// same file: all that was answered is there.
func TestKill(t *testing.T) {
	const seed = 1
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, seed))
	path := filepath.Join(t.TempDir(), "cim.db")
	users := make(map[proto.UserID]*answered)
	for range 4 {
		for _, line := range linesOfVictim(t, path, "boxes", 100+random.IntN(500)) {
			note(t, users, line)
		}
		checkAnswered(t, path, users)
	}
}

// linesOfVictim runs a victim, kills it when it has written killAfter lines,
// and returns all that it wrote.
func linesOfVictim(t *testing.T, path, kind string, killAfter int) (lines []string) {
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	child := exec.CommandContext(ctx, os.Args[0])
	child.Env = append(os.Environ(), victimEnv+"="+path, victimKindEnv+"="+kind)
	child.Stderr = os.Stderr
	out, err := child.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	for scanner := bufio.NewScanner(out); scanner.Scan(); {
		if lines = append(lines, scanner.Text()); len(lines) == killAfter {
			if err := child.Process.Kill(); err != nil {
				t.Error(err)
			}
		}
	}
	if err := child.Wait(); err == nil || ctx.Err() != nil || len(lines) < killAfter {
		t.Fatalf("the victim wrote %d lines of %d: %v", len(lines), killAfter, err)
	}
	return lines
}

// note keeps what a line of the victim says.
func note(t *testing.T, users map[proto.UserID]*answered, line string) {
	t.Helper()
	var what, value string
	var id proto.UserID
	if _, err := fmt.Sscan(line, &what, &id, &value); err != nil {
		t.Fatalf("line %q: %v", line, err)
	}
	if what == "registered" {
		if users[id] != nil {
			t.Fatalf("id %d is of %q and of %q", id, users[id].name, value)
		}
		users[id] = &answered{name: value, appended: -1, removed: -1}
		return
	}
	number, err := strconv.Atoi(value)
	if err != nil {
		t.Fatalf("line %q: %v", line, err)
	}
	if what == "appended" {
		users[id].appended = number
	} else {
		users[id].removed = number
	}
}

// checkAnswered opens the file and looks for everything.
func checkAnswered(t *testing.T, path string, users map[proto.UserID]*answered) {
	t.Helper()
	s, err := Open(path, store.Config{})
	if err != nil {
		t.Fatal(err)
	}
	for id, want := range users {
		if name, _, err := s.Account(t.Context(), id); name != want.name || err != nil {
			t.Errorf("Account(%d): %q, %v; want %q", id, name, err, want.name)
		}
		if user, err := s.Register(t.Context(), want.name); user.ID != id || err != nil {
			t.Errorf("Register(%q): %v, %v; want %d", want.name, user, err, id)
		}
		page, err := s.Page(t.Context(), id, 0)
		if err != nil {
			t.Errorf("Page: %v", err)
		}
		checkBox(t, page, want)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}

// checkBox checks that the box has all from behind the last text removed to
// the last appended. One more of either may have been done but not answered.
func checkBox(t *testing.T, page []store.OfflineMessage, want *answered) {
	t.Helper()
	first, last := want.removed+1, want.appended
	if len(page) > 0 {
		if page[0].Text == strconv.Itoa(first+5) {
			first += 5
		}
		if page[len(page)-1].Text == strconv.Itoa(last+2) {
			last += 2
		}
	}
	if len(page) != last-first+1 {
		t.Errorf("%s: %d texts, want those from %d to %d", want.name, len(page), first, last)
		return
	}
	for i, message := range page {
		if message.Text != strconv.Itoa(first+i) || message.Sender.Name != want.name {
			t.Errorf("%s: text %d is %q by %q, want %d", want.name, i, message.Text, message.Sender.Name, first+i)
		}
	}
}
