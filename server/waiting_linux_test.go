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

// TestLoopsWaitDirectly finds the poller of each of gnet's loops, and has events end
// waits on it: it fails if gnet's loop does not work as waiting takes it to.
func TestLoopsWaitDirectly(t *testing.T) {
	t.Parallel()
	w := start(t, nil)
	pollers := make(map[int32]bool)
	for _, l := range w.server.loops {
		if l.waiting.epoll == nil {
			t.Fatalf("loop %d: its poller was not found", l.number)
		}
		pollers[l.waiting.epoll.fds[0].Fd] = true
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

// TestNoWaitBesideTasks: while gnet has a task for the loop, or once the loops are to
// stop, nothing waits, since gnet's word of that may have come before.
func TestNoWaitBesideTasks(t *testing.T) {
	poller, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(poller)
	event, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(event)
	if err := unix.EpollCtl(poller, unix.EPOLL_CTL_ADD, event, &unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(event)}); err != nil {
		t.Fatal(err)
	}
	set, err := pollSetOf(event)
	if err != nil || int(set.fds[0].Fd) != poller {
		t.Fatalf("the poller is %+v, %v, want %d", set, err, poller)
	}
	started := time.Now()
	s := &Server{readClock: func() time.Duration { return time.Since(started) }}
	w := &waiting{epoll: set}
	returned := make(chan struct{}, 1)
	wait := func() {
		w.wait(s)
		returned <- struct{}{}
	}
	returns := func(what string) {
		t.Helper()
		select {
		case <-returned:
		case <-time.After(patience):
			t.Fatalf("%s: it still waits", what)
		}
	}
	go wait()
	returns("the loops are to stop")
	s.engine.open.Store(true)
	w.tasks.Add(1)
	go wait()
	returns("gnet has a task")
	if set.waits != 0 {
		t.Errorf("%d waits, want none", set.waits)
	}
	w.tasks.Add(-1)
	go wait()
	if _, err := unix.Write(event, []byte{1, 0, 0, 0, 0, 0, 0, 0}); err != nil {
		t.Fatal(err)
	}
	returns("there is an event")
	if set.waits != 1 {
		t.Errorf("%d waits that an event has ended, want 1", set.waits)
	}
	if _, err := pollSetOf(poller); err == nil {
		t.Error("a poller of a descriptor that none watches was found")
	}
}

// TestEnrollingIsATask: a connection that gnet has not enrolled yet counts as a task of
// its loop, which is held up meanwhile.
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

// TestTasksEnd: what a loop counts as gnet's tasks comes to its end with them, also
// for connections that are gone at once.
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

// TestIdleLoopsHoldNothingUp collects garbage, asks whether a server is ready, and
// stops it, while its loops wait for events: each of that takes less than 100 ms, at
// least once in ten times on a busy machine. A collection has no end if the runtime
// can neither do without the thread of a wait nor wake it.
func TestIdleLoopsHoldNothingUp(t *testing.T) {
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
