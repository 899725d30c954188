package cimtest_test

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"cim/cimtest"
	"cim/client"
	"cim/proto"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, cimtest.LibraryGoroutines()...)
}

// fakeT is a test whose end the real test chooses.
type fakeT struct {
	folder string

	mu     sync.Mutex
	ends   []func()
	lines  []string
	faults []string
}

// fatal is what Fatalf of a fakeT panics with.
type fatal struct{ text string }

func newFakeT(t *testing.T) *fakeT { return &fakeT{folder: t.TempDir()} }

func (f *fakeT) Helper()            {}
func (f *fakeT) Cleanup(end func()) { f.ends = append(f.ends, end) }
func (f *fakeT) TempDir() string    { return f.folder }

func (f *fakeT) Logf(format string, args ...any) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.lines = append(f.lines, fmt.Sprintf(format, args...))
}

func (f *fakeT) Errorf(format string, args ...any) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.faults = append(f.faults, fmt.Sprintf(format, args...))
}

func (f *fakeT) Fatalf(format string, args ...any) { panic(fatal{fmt.Sprintf(format, args...)}) }

// end is the end of the test.
func (f *fakeT) end() {
	for len(f.ends) > 0 {
		last := f.ends[len(f.ends)-1]
		f.ends = f.ends[:len(f.ends)-1]
		last()
	}
}

// fatalOf runs work and returns what it ended the test with, "" if it did not.
func fatalOf(work func()) (text string) {
	defer func() {
		if ended, ok := recover().(fatal); ok {
			text = ended.text
		}
	}()
	work()
	return ""
}

// TestNothingLeft: after the end of a test nothing listens, no goroutine runs,
// and the folder can be removed. A client that was logged in is offline.
func TestNothingLeft(t *testing.T) {
	before := goleak.IgnoreCurrent() // of parallel tests
	f := newFakeT(t)
	system := cimtest.Start(f)
	ann, bob := system.Login("ann"), system.Login("bob")
	for i := range 3 {
		if _, err := ann.Send(t.Context(), bob.User().ID, fmt.Sprint(i)); err != nil {
			t.Fatal(err)
		}
	}
	if m := bob.Next(); m.Text != "0" || m.Sender.Name != "ann" {
		t.Errorf("bob got %q of %s", m.Text, m.Sender.Name)
	}
	addresses := system.Addresses()
	f.end() // two messages are still with bob
	for _, fault := range f.faults {
		t.Error(fault)
	}
	for _, address := range []string{addresses.CIM, addresses.SendMsg, addresses.Route} {
		listener, err := net.Listen("tcp", address)
		if err != nil {
			t.Errorf("%s is not free: %v", address, err)
			continue
		}
		listener.Close()
	}
	if files, err := filepath.Glob(filepath.Join(f.folder, "*")); err != nil || len(files) != 1 {
		t.Errorf("files %v, %v; want the durable one only", files, err)
	}
	if err := os.RemoveAll(f.folder); err != nil {
		t.Error(err)
	}
	if err := goleak.Find(append(cimtest.LibraryGoroutines(), before)...); err != nil {
		t.Error(err)
	}
}

// TestSeveral has systems beside each other that do not know each other's
// users.
func TestSeveral(t *testing.T) {
	t.Parallel()
	for i := range 4 {
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			t.Parallel()
			system, other := cimtest.Start(t), cimtest.Start(t)
			ann := system.Login("ann")
			other.Login("bob")
			users, err := system.API().Online(t.Context())
			if err != nil || len(users) != 1 || users[0] != ann.User() {
				t.Errorf("online %v, %v; want ann only", users, err)
			}
			if text := fatalOf(func() { other.AwaitOffline("ann") }); text != "" {
				t.Error(text)
			}
		})
	}
}

// TestKill: after a crash the addresses and accounts are the same, what was
// stored is there, and a client comes back by itself.
func TestKill(t *testing.T) {
	t.Parallel()
	system := cimtest.Start(t)
	lost := make(chan error, 64)
	ann := system.Dial(client.Config{Name: "ann", Events: func(e client.Event) {
		if e.Kind == client.EventLost {
			lost <- e.Err
		}
	}})
	away := system.Register("away")
	if result, err := ann.Send(t.Context(), away.ID, "for later"); err != nil || result.Outcome != proto.OutcomeStored {
		t.Fatalf("outcome %v, %v; want stored", result.Outcome, err)
	}
	before := system.Addresses()
	system.Kill()
	if err := <-lost; errors.As(err, new(*client.Ended)) {
		t.Errorf("a client learnt of the crash: %v", err)
	}
	system.Kill() // it does nothing
	if _, err := net.Dial("tcp", before.Route); err == nil {
		t.Error("the route still listens")
	}
	system.Restart()
	if after := system.Addresses(); after != before {
		t.Errorf("addresses %+v, before %+v", after, before)
	}
	system.AwaitOnline("ann")
	if found := system.Find("away"); found != away {
		t.Errorf("account %v, before %v", found, away)
	}
	if m := system.Login("away").Next(); m.Text != "for later" || !m.Offline {
		t.Errorf("got %+v, want what was stored", m)
	}
}

// TestStop: a client learns of a drain, and comes back after the restart.
func TestStop(t *testing.T) {
	t.Parallel()
	system := cimtest.Start(t)
	lost := make(chan error, 64)
	system.Dial(client.Config{Name: "ann", Events: func(e client.Event) {
		if e.Kind == client.EventLost {
			lost <- e.Err
		}
	}})
	system.Restart()
	var ended *client.Ended
	if err := <-lost; !errors.As(err, &ended) || ended.Reason != proto.ReasonDraining {
		t.Errorf("the connection was lost with %v, want %v", err, proto.ReasonDraining)
	}
	system.AwaitOnline("ann")
}

// TestOptions starts systems with each of them.
func TestOptions(t *testing.T) {
	t.Parallel()
	f := newFakeT(t)
	defer f.end()
	system := cimtest.Start(f, cimtest.WithReplacedLogins(), cimtest.WithHeartbeat(9*time.Second),
		cimtest.WithOfflineTTL(time.Hour), cimtest.WithLog(slog.LevelDebug))
	first := system.Login("ann")
	system.Login("ann")
	<-first.Done()
	if !errors.Is(first.Err(), client.ErrReplaced) {
		t.Errorf("the first login ended with %v, want %v", first.Err(), client.ErrReplaced)
	}
	if beat := first.Server().Heartbeat; beat != 9*time.Second {
		t.Errorf("heartbeat %v, want 9s", beat)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if !strings.Contains(strings.Join(f.lines, "\n"), "level=") {
		t.Errorf("no line of the log among %q", f.lines)
	}
}

// TestFatal: what cannot work ends the test with words.
func TestFatal(t *testing.T) {
	t.Parallel()
	f := newFakeT(t)
	defer f.end()
	if text := fatalOf(func() { cimtest.Start(f, cimtest.WithHeartbeat(time.Millisecond)) }); !strings.Contains(text, "heartbeat 1ms") {
		t.Errorf("a wrong heartbeat: %q", text)
	}
	system := cimtest.Start(f)
	system.Login("ann")
	for what, work := range map[string]func(){
		`cimtest: log in "ann"`:    func() { system.Login("ann") },
		`cimtest: log in "a/b\x00`: func() { system.Dial(client.Config{Name: "a/b\x00"}) },
		`cimtest: user "nobody"`:   func() { system.Find("nobody") },
		`cimtest: user ""`:         func() { system.Register("") },
	} {
		if text := fatalOf(work); !strings.HasPrefix(text, what) {
			t.Errorf("ended with %q, want %q", text, what)
		}
	}
}
