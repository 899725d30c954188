package server

import (
	"context"
	"runtime"
	"testing"
	"time"

	"github.com/panjf2000/gnet/v2"
	"golang.org/x/sys/unix"

	"cim/proto"
)

// waits is how often l has waited for an event directly.
func (w *world) waits(l *loop) uint64 {
	w.Helper()
	waits := make(chan uint64, 1)
	err := l.events.Execute(w.Context(), gnet.RunnableFunc(func(context.Context) error {
		waits <- l.waiting.epoll.waits
		return nil
	}))
	if err != nil {
		w.Fatal(err)
	}
	return <-waits
}

// TestLoopsWaitDirectly finds the poller of each of gnet's loops, and has events
// end its waits: it fails if gnet's loop does not work as waiting expects.
func TestLoopsWaitDirectly(t *testing.T) {
	t.Parallel()
	w := start(t, nil)
	pollers := make(map[int]bool)
	for _, l := range w.server.loops {
		if l.waiting.epoll == nil {
			t.Fatalf("loop %d: its poller was not found", l.number)
		}
		pollers[l.waiting.epoll.epoll] = true
		before := w.waits(l)
		w.eventually("events end waits", func() bool {
			l.mailbox.wake()
			return w.waits(l) > before
		})
	}
	if len(pollers) != len(w.server.loops) {
		t.Errorf("%d loops have %d pollers", len(w.server.loops), len(pollers))
	}
}

// TestLoopServesItsClients: a loop finds a client that it serves by itself, from
// its enrollment until it has closed.
func TestLoopServesItsClients(t *testing.T) {
	t.Parallel()
	w := start(t, oneLoop)
	served := func() (n int) {
		l, done := w.server.loops[0], make(chan struct{})
		err := l.events.Execute(w.Context(), gnet.RunnableFunc(func(context.Context) error {
			for fd, c := range l.waiting.clients {
				if c != nil && l.waiting.client(fd) == c && c.conn.Fd() == fd {
					n++
				}
			}
			close(done)
			return nil
		}))
		if err != nil {
			w.Fatal(err)
		}
		<-done
		return n
	}
	one := w.login(ann, 1, proto.DialectCIM)
	w.dial()
	w.eventually("two clients", func() bool { return served() == 2 })
	one.conn.Close()
	w.eventually("one client", func() bool { return served() == 1 })
}

// TestPlainWait: with WaitPlain a server leaves all waiting to gnet, and works.
func TestPlainWait(t *testing.T) {
	t.Parallel()
	w := start(t, func(c *Config) { c.EventWait = WaitPlain })
	for _, l := range w.server.loops {
		if l.waiting.epoll != nil {
			t.Errorf("loop %d has a poller", l.number)
		}
	}
	w.login(ann, 1, proto.DialectCIM).wantAlive()
}

// TestNoWaitBesideTasks: while gnet has a task for the loop, or once the loops are
// to stop, the loop does not wait, since gnet's wake-up may have been fetched
// already. Nor does a loop serve for ever.
func TestNoWaitBesideTasks(t *testing.T) {
	now := time.Second
	s := &Server{readClock: func() time.Duration { return now }}
	w := &waiting{}
	wants := func(want bool, when string) {
		t.Helper()
		if got := w.mayWait(s, time.Second); got != want {
			t.Errorf("%s: mayWait is %v, want %v", when, got, want)
		}
	}
	wants(false, "the loops are to stop")
	s.engine.open.Store(true)
	wants(true, "there is nothing else to do")
	w.tasks.Add(1)
	wants(false, "gnet has a task")
	w.tasks.Add(-1)
	now += leaveEvery - 1
	wants(true, "it has served for nearly a tick")
	now++
	wants(false, "it has served for a tick")
}

// TestTasksAreSignalledAgain: gnet's wake-up for a task, which is edge-triggered,
// is there again after it was left to gnet.
func TestTasksAreSignalledAgain(t *testing.T) {
	poller, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(poller)
	watched := func(events uint32) int {
		fd, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
		if err != nil {
			t.Fatal(err)
		}
		if err := unix.EpollCtl(poller, unix.EPOLL_CTL_ADD, fd, &unix.EpollEvent{Events: events, Fd: int32(fd)}); err != nil {
			t.Fatal(err)
		}
		return fd
	}
	bell, tasks := watched(unix.EPOLLIN), watched(unix.EPOLLIN|unix.EPOLLET)
	defer unix.Close(bell)
	defer unix.Close(tasks)
	set, err := pollSetOf(bell)
	if err != nil || set.epoll != poller || set.tasks != tasks {
		t.Fatalf("the poller is %+v, %v, want %d with tasks at %d", set, err, poller, tasks)
	}
	fetches := func(want int) {
		t.Helper()
		if n := set.fetch(false); n != want {
			t.Fatalf("%d events, want %d", n, want)
		}
	}
	fetches(0)
	if _, err := unix.Write(tasks, oneTask); err != nil {
		t.Fatal(err)
	}
	if n := set.fetch(true); n != 1 || set.waits != 1 {
		t.Fatalf("%d events, %d waits, want 1 and 1", n, set.waits)
	}
	fetches(0)
	set.leave(bell)
	fetches(0)
	set.leave(tasks)
	fetches(1)
	third := watched(unix.EPOLLIN)
	defer unix.Close(third)
	if _, err := pollSetOf(bell); err == nil {
		t.Error("a poller with more than a bell and gnet's eventfd was taken for gnet's")
	}
}

// TestEnrollingIsATask: a connection that gnet is enrolling counts as a task of its
// loop. The loop is blocked meanwhile.
func TestEnrollingIsATask(t *testing.T) {
	t.Parallel()
	w := start(t, nil)
	release := make(chan struct{})
	for _, l := range w.server.loops {
		err := l.events.Execute(t.Context(), gnet.RunnableFunc(func(context.Context) error {
			<-release
			return nil
		}))
		if err != nil {
			t.Fatal(err)
		}
	}
	tasks := func() (all int32) {
		for _, l := range w.server.loops {
			all += l.waiting.tasks.Load()
		}
		return all
	}
	w.dial()
	w.eventually("the connection is a task", func() bool { return tasks() == 1 })
	close(release)
	w.eventually("the task has ended", func() bool { return tasks() == 0 })
}

// TestTasksEnd: a loop's count of gnet's tasks returns to 0, also for connections
// that close at once.
func TestTasksEnd(t *testing.T) {
	t.Parallel()
	w := start(t, nil)
	for range 20 {
		w.dial().conn.Close()
		w.dial()
	}
	w.eventually("all tasks have ended", func() bool {
		tasks := int32(0)
		for _, l := range w.server.loops {
			tasks += l.waiting.tasks.Load()
		}
		return tasks == 0
	})
}

// TestIdleLoopsBlockNothing collects garbage, asks whether a server is ready, and
// stops it, while its loops wait for events: each takes less than 100 ms in one of
// ten tries on a busy machine. A collection never ends if the runtime can neither
// do without the thread of a waiting loop nor wake it.
func TestIdleLoopsBlockNothing(t *testing.T) {
	const holdUpMax = 100 * time.Millisecond
	w := start(t, nil)
	quickest := func(what string, do func()) {
		t.Helper()
		best := time.Hour
		for range 10 {
			began := time.Now()
			do()
			best = min(best, time.Since(began))
		}
		if best > holdUpMax {
			t.Errorf("%s takes %v, want at most %v", what, best, holdUpMax)
		}
	}
	quickest("a collection", runtime.GC)
	quickest("a probe", func() {
		if err := w.server.Ready(); err != nil {
			t.Errorf("not ready: %v", err)
		}
	})
	quickest("a stop", func() {
		s, err := Start(freePorts(), Deps{})
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Abort(w.Context()); err != nil {
			t.Error(err)
		}
	})
}

func freePorts() Config {
	c := DefaultConfig()
	c.CIMPort, c.HTTPPort, c.LinkPort, c.SessionsMax = 0, 0, 0, 10
	return c
}
