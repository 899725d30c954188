package redis

import (
	"context"
	"errors"
	"slices"
	"testing"

	"github.com/redis/rueidis"

	"cim/proto"
	"cim/store"
)

// hookedClient calls before and after around each trip with the script occupy.
type hookedClient struct {
	rueidis.Client
	before, after func()
}

func (c hookedClient) DoMulti(ctx context.Context, commands ...rueidis.Completed) []rueidis.RedisResult {
	occupies := slices.ContainsFunc(commands, func(one rueidis.Completed) bool { return slices.Contains(one.Commands(), occupy.sha) })
	if occupies {
		c.before()
	}
	answers := c.Client.DoMulti(ctx, commands...)
	if occupies {
		c.after()
	}
	return answers
}

// hook puts before and after around what s sends to take a record. Each of them
// is called once.
func hook(s *Store, before, after func()) {
	once := func(do func()) func() {
		done := false
		return func() {
			if !done {
				done = true
				do()
			}
		}
	}
	var hooked rueidis.Client = hookedClient{*s.client.Load(), once(before), once(after)}
	s.client.Store(&hooked)
}

// TestLeftWhileRestored ends a session, or logs its user in and out again, behind
// the restore's first look at the counter and before it writes the record: the
// restore takes back what it has written.
func TestLeftWhileRestored(t *testing.T) {
	for name, end := range map[string]func(s *Store, user proto.UserID, generation proto.Generation) error{
		"left": func(s *Store, user proto.UserID, generation proto.Generation) error {
			_, err := s.Release(t.Context(), user, generation)
			return err
		},
		"newer login, which left": func(s *Store, user proto.UserID, generation proto.Generation) error {
			newer, err := s.Claim(t.Context(), user, here, generation)
			if err != nil {
				return err
			}
			_, err = s.Release(t.Context(), user, newer)
			return err
		},
	} {
		s, other := single(t), single(t)
		user := registered(t, s, "ann")
		generation := loggedIn(t, s, user, 0)
		said(t, shared.Addr, "DEL", routeKey(user.ID))
		ended := errors.New("occupy was not sent")
		hook(s, func() { ended = end(other, user.ID, generation) }, func() {})
		sessions := []proto.Session{{User: user.ID, Generation: generation}}
		got, err := s.Restore(t.Context(), here, sessions)
		if err != nil || ended != nil || !slices.Equal(got.Superseded, sessions) || len(got.Returned) != 0 {
			t.Errorf("%s: %+v, %v (%v); want it superseded", name, got, err, ended)
		}
		if record := said(t, shared.Addr, "GET", routeKey(user.ID)); record != "$-1\r\n" {
			t.Errorf("%s: the session has ended, and the record is %q", name, record)
		}
	}
}

// TestRestoreWritesNothingOfTheLeft restores a session that has left at a route
// that ends as soon as it has written a record: another route still finds the
// session superseded. A record that was written before the look at the counter
// would stand for good.
func TestRestoreWritesNothingOfTheLeft(t *testing.T) {
	s, other := single(t), single(t)
	user := registered(t, s, "ann")
	generation := loggedIn(t, s, user, 0)
	if left, err := s.Release(t.Context(), user.ID, generation); !left || err != nil {
		t.Fatal(left, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	hook(s, func() {}, cancel)
	sessions := []proto.Session{{User: user.ID, Generation: generation}}
	for _, one := range []struct {
		store *Store
		ctx   context.Context
	}{{s, ctx}, {other, t.Context()}} {
		if got, err := one.store.Restore(one.ctx, here, sessions); err != nil || !slices.Equal(got.Superseded, sessions) {
			t.Errorf("%+v, %v; want it superseded", got, err)
		}
	}
	if _, found, err := other.Lookup(t.Context(), user.ID, store.Fresh); found || err != nil {
		t.Errorf("record %t (%v) of a session that has left", found, err)
	}
}

// TestOtherLoginWhileRestored logs the user in at another system's route before the
// restore writes the record: that login stands.
func TestOtherLoginWhileRestored(t *testing.T) {
	const other = "10.0.0.9:11211:8081"
	s := single(t)
	user := registered(t, s, "ann")
	generation := loggedIn(t, s, user, 0)
	said(t, shared.Addr, "DEL", routeKey(user.ID))
	hook(s, func() { said(t, shared.Addr, "SET", routeKey(user.ID), other) }, func() {})
	sessions := []proto.Session{{User: user.ID, Generation: generation}}
	if got, err := s.Restore(t.Context(), here, sessions); err != nil || !slices.Equal(got.Superseded, sessions) {
		t.Errorf("%+v, %v; want it superseded", got, err)
	}
	if record := said(t, shared.Addr, "GET", routeKey(user.ID)); record != "$19\r\n"+other+"\r\n" {
		t.Errorf("the record is %q, want that of the other login", record)
	}
}

// TestRestoreOfNoGeneration restores a session whose generation is larger than any
// that a script counts: it gets no record.
func TestRestoreOfNoGeneration(t *testing.T) {
	s := single(t)
	user := registered(t, s, "ann")
	sessions := []proto.Session{{User: user.ID, Generation: generationMax + 1}}
	if got, err := s.Restore(t.Context(), here, sessions); err != nil || !slices.Equal(got.Superseded, sessions) {
		t.Errorf("%+v, %v; want it superseded", got, err)
	}
	if keys := said(t, shared.Addr, "EXISTS", routeKey(user.ID), generationKey(user.ID)); keys != ":0\r\n" {
		t.Errorf("%q keys were written", keys)
	}
}
