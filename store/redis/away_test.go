package redis

import (
	"context"
	"errors"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"cim/internal/daemon"
	"cim/proto"
	"cim/store"
)

// callAll calls every method and returns the errors by the methods' names.
func callAll(t *testing.T, s *Store, user proto.User) map[string]error {
	ctx := t.Context()
	errs := map[string]error{"Ready": s.Ready(ctx)}
	_, errs["Register"] = s.Register(ctx, "bob")
	_, _, errs["Find"] = s.Find(ctx, user.Name)
	_, _, errs["Account"] = s.Account(ctx, user.ID+1)
	errs["RefuseTokensBefore"] = s.RefuseTokensBefore(ctx, user.ID, 1)
	_, errs["TokensRefusedBefore"] = s.TokensRefusedBefore(ctx, user.ID)
	_, errs["Claim"] = s.Claim(ctx, user.ID, here, 1)
	_, errs["Confirm"] = s.Confirm(ctx, user.ID, 1)
	_, errs["Release"] = s.Release(ctx, user.ID, 1)
	_, errs["Restore"] = s.Restore(ctx, here, []proto.Session{{User: user.ID, Generation: 1}})
	_, _, errs["Lookup"] = s.Lookup(ctx, user.ID, store.Fresh)
	_, errs["Connected"] = s.Connected(ctx)
	errs["Append"] = s.Append(ctx, user.ID, user, 0, 0, []string{"text"})
	_, errs["Page"] = s.Page(ctx, user.ID, 0)
	errs["Remove"] = s.Remove(ctx, user.ID, []store.TextKey{{Serial: 1}})
	errs["Return"] = s.Return(ctx, user.ID, []store.Returned{{Sender: user, Text: "x"}})
	_, errs["Acquire"] = s.Acquire(ctx, user.ID, time.Second)
	_, errs["Extend"] = s.Extend(ctx, user.ID, 1, time.Second)
	_, errs["ReleaseIfEmpty"] = s.ReleaseIfEmpty(ctx, user.ID, 1, 0)
	errs["Abandon"] = s.Abandon(ctx, user.ID, 1)
	return errs
}

// own starts a Redis for a test that does something to it.
func own(t *testing.T, args ...string) *daemon.Daemon {
	t.Helper()
	d, err := daemon.Redis(t.Context(), t.TempDir(), args...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := d.Stop(); err != nil {
			t.Error(err)
		}
	})
	return d
}

// appendUntil appends until stop is closed and returns how many appends were
// acknowledged. Each call ends in time, with ErrAway if it fails.
func appendUntil(t *testing.T, s *Store, user proto.User, stop <-chan struct{}) (acknowledged int) {
	for {
		select {
		case <-stop:
			return acknowledged
		default:
		}
		start := time.Now()
		err := s.Append(t.Context(), user.ID, user, 0, 0, []string{"text"})
		if took := time.Since(start); took > 2*callMax {
			t.Errorf("Append took %v: %v", took, err)
		}
		switch {
		case err == nil:
			acknowledged++
		case errors.Is(err, store.ErrBoxFull):
			return acknowledged
		case !errors.Is(err, store.ErrAway):
			t.Errorf("Append: %v", err)
		}
	}
}

// TestKilled kills a Redis under load and starts it again: calls fail in time,
// what was acknowledged is there, and all is normal soon.
func TestKilled(t *testing.T) {
	d := own(t, "--appendonly", "yes", "--appendfsync", "always") // else it holds writes back while the disk is slow
	s := opened(t, Config{URLs: []string{"redis://" + d.Addr}})
	ann := registered(t, s, "ann")
	generation := loggedIn(t, s, ann, 0)
	stop, counts := make(chan struct{}), make(chan int)
	go func() { counts <- appendUntil(t, s, ann, stop) }()
	await(t, "texts", func() bool {
		page, err := s.Page(t.Context(), ann.ID, 0)
		return err == nil && len(page) > 50
	})
	if err := d.Kill(); err != nil {
		t.Fatal(err)
	}
	close(stop)
	acknowledged := <-counts
	for name, err := range callAll(t, s, ann) {
		if !errors.Is(err, store.ErrAway) {
			t.Errorf("%s: %v, want ErrAway", name, err)
		}
	}
	if err := d.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	await(t, "the Redis is back", func() bool { return s.Ready(t.Context()) == nil })
	if record, found, err := s.Lookup(t.Context(), ann.ID, store.Cached); !found || err != nil || record.Generation != generation {
		t.Errorf("Lookup: %+v, %t, %v", record, found, err)
	}
	stored, after := 0, uint64(0)
	for {
		page, err := s.Page(t.Context(), ann.ID, after)
		if err != nil {
			t.Fatal(err)
		}
		if len(page) == 0 {
			break
		}
		stored, after = stored+len(page), page[len(page)-1].Serial
	}
	if stored < acknowledged || stored > acknowledged+1 {
		t.Errorf("%d texts are stored, %d were acknowledged and one may have been under way", stored, acknowledged)
	}
}

// TestSilent stops a Redis, which still takes connections: calls fail in time,
// more at once than a connection holds, and all is normal soon after.
func TestSilent(t *testing.T) {
	d := own(t)
	s := opened(t, Config{URLs: []string{"redis://" + d.Addr}})
	ann := registered(t, s, "ann")
	loggedIn(t, s, ann, 0)
	if _, _, err := s.Lookup(t.Context(), ann.ID, store.Cached); err != nil {
		t.Fatal(err)
	}
	if err := d.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	const calls = 2 * callsMax
	errs := make(chan error, calls)
	start := time.Now()
	for range calls {
		go func() { errs <- s.Append(t.Context(), ann.ID, ann, 0, 0, []string{"text"}) }()
	}
	for range calls {
		if err := <-errs; !errors.Is(err, store.ErrAway) {
			t.Fatalf("Append: %v, want ErrAway", err)
		}
	}
	if took := time.Since(start); took > 2*callMax {
		t.Errorf("calls took %v", took)
	}
	if err := d.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	await(t, "the Redis is back", func() bool { return s.Ready(t.Context()) == nil })
	loggedIn(t, s, ann, 1)
}

// TestOpenBefore opens before the Redis is there; it serves once it is.
func TestOpenBefore(t *testing.T) {
	d := own(t)
	if err := d.Kill(); err != nil {
		t.Fatal(err)
	}
	s := opened(t, Config{URLs: []string{"redis://" + d.Addr}})
	if err := s.Ready(t.Context()); !errors.Is(err, store.ErrAway) {
		t.Errorf("Ready: %v, want ErrAway", err)
	}
	if err := d.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	await(t, "the Redis is there", func() bool { return s.Ready(t.Context()) == nil })
	registered(t, s, "ann")
}

// TestRefused meets a Redis that twice refuses for the moment: the call is
// sent again. An answer that will not change is not.
func TestRefused(t *testing.T) {
	s := single(t)
	for code, again := range map[string]bool{
		"TRYAGAIN": true, "CLUSTERDOWN": true, "LOADING": true, "MASTERDOWN": true, "READONLY": true, "BUSY": true,
		"OOM": false, "NOPERM": false,
	} {
		refuses := newScript(false, "if redis.call('INCR', KEYS[1]) < 3 then return redis.error_reply('"+code+" for now') end return 7")
		n, err := s.number(t.Context(), about{what: "try"}, refuses, code)
		if again && (n != 7 || err != nil) {
			t.Errorf("%s: %d, %v; want that it is sent again", code, n, err)
		}
		if !again && (err == nil || errors.Is(err, store.ErrAway)) {
			t.Errorf("%s: %d, %v; want the error", code, n, err)
		}
		if !again {
			continue
		}
		always := newScript(false, "return redis.error_reply('"+code+" for now')")
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
		if _, err := s.number(ctx, about{what: "try"}, always, code); !errors.Is(err, store.ErrAway) {
			t.Errorf("%s: %v; want ErrAway", code, err)
		}
		cancel()
	}
}

// TestDeadlineKeepsConnection lets a call end at its deadline: the connection,
// and with it the cache, stays.
func TestDeadlineKeepsConnection(t *testing.T) {
	d := own(t)
	s := opened(t, Config{URLs: []string{"redis://" + d.Addr}})
	before := tracked(t, d)
	if len(before) == 0 {
		t.Fatal("no connection has a cache")
	}
	if err := d.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if err := s.Ready(ctx); !errors.Is(err, store.ErrAway) || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Ready: %v", err)
	}
	if err := d.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	if err := s.Ready(t.Context()); err != nil {
		t.Errorf("Ready: %v", err)
	}
	for _, id := range before {
		if !slices.Contains(tracked(t, d), id) {
			t.Errorf("connection %s is gone, of %v", id, before)
		}
	}
}

// tracked are the ids of the connections with a cache.
func tracked(t *testing.T, d *daemon.Daemon) (ids []string) {
	t.Helper()
	for line := range strings.Lines(said(t, d.Addr, "CLIENT", "LIST")) {
		if id, _, _ := strings.Cut(line, " "); strings.Contains(line, " flags=t ") {
			ids = append(ids, id)
		}
	}
	return ids
}
