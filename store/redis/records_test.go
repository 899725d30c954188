package redis

import (
	"errors"
	"fmt"
	"testing"

	"cim/proto"
	"cim/store"
)

// TestReplaceRecord replaces and removes a record that is as it was seen, and no
// other.
func TestReplaceRecord(t *testing.T) {
	s := single(t)
	ann := registered(t, s, "ann")
	theirs := store.Record{Place: store.Place{Host: "10.0.0.8", CIMPort: 11211, HTTPPort: 8081}}
	ours := store.Record{Place: here, Generation: 5}
	for i, c := range []struct {
		older, newer store.Record
		was          bool
		text         string
	}{
		{theirs, ours, false, "$-1\r\n"},
		{store.Record{}, theirs, true, "$19\r\n10.0.0.8:11211:8081\r\n"},
		{store.Record{}, ours, false, "$19\r\n10.0.0.8:11211:8081\r\n"},
		{theirs, ours, true, "$41\r\n10.0.0.1:11211:8081:9223372036854775808:5\r\n"},
		{theirs, store.Record{}, false, "$41\r\n10.0.0.1:11211:8081:9223372036854775808:5\r\n"},
		{ours, store.Record{}, true, "$-1\r\n"},
	} {
		if was, err := s.ReplaceRecord(t.Context(), ann.ID, c.older, c.newer); was != c.was || err != nil {
			t.Errorf("step %d: %t, %v", i, was, err)
		}
		if got := said(t, shared.Addr, "GET", routeKey(ann.ID)); got != c.text {
			t.Errorf("step %d: the record is %q, want %q", i, got, c.text)
		}
	}
}

// TestLogIn goes in and out of login-status; a user with a record stays.
func TestLogIn(t *testing.T) {
	s := single(t)
	ann, bob := registered(t, s, "ann"), registered(t, s, "bob")
	loggedIn(t, s, bob, 0)
	for _, want := range []bool{true, false} {
		if added, err := s.LogIn(t.Context(), ann.ID); added != want || err != nil {
			t.Errorf("added: %t, %v; want %t", added, err, want)
		}
	}
	for user, stays := range map[proto.UserID]bool{ann.ID: false, bob.ID: true} {
		if in, err := s.LoggedIn(t.Context(), user); !in || err != nil {
			t.Errorf("%d is in: %t, %v", user, in, err)
		}
		if err := s.LogOut(t.Context(), user); err != nil {
			t.Error(err)
		}
		if in, err := s.LoggedIn(t.Context(), user); in != stays || err != nil {
			t.Errorf("%d is in: %t, %v; want %t", user, in, err, stays)
		}
	}
}

// TestEachRecord lists more records than a page of keys has, some broken, until it
// is to end.
func TestEachRecord(t *testing.T) {
	s := single(t)
	const users = 2*routesPage + 500
	theirs := store.Record{Place: store.Place{Host: "10.0.0.8", CIMPort: 11211, HTTPPort: 8081}, Connected: true}
	said(t, shared.Addr, "EVAL", `for i = 1, ARGV[1] do redis.call('SET', 'cim-route:' .. i, '10.0.0.8:11211:8081') end`, "0", fmt.Sprint(users))
	said(t, shared.Addr, "SET", "cim-route:5", "broken")
	said(t, shared.Addr, "SET", "cim-route:6", "10.0.0.1:11211:8081:7:1")
	said(t, shared.Addr, "SET", "cim-route:x", "10.0.0.8:11211:8081")
	seen := map[proto.UserID]store.Record{}
	err := s.EachRecord(t.Context(), func(user proto.UserID, record store.Record) error {
		seen[user] = record
		return nil
	})
	if err != nil || len(seen) != users-1 {
		t.Fatalf("%d records, %v; want %d", len(seen), err, users-1)
	}
	for user, record := range seen {
		if (record == theirs) == (user == 6) || user == 5 {
			t.Fatalf("user %d has %+v", user, record)
		}
	}
	enough, calls := errors.New("enough"), 0
	err = s.EachRecord(t.Context(), func(proto.UserID, store.Record) error {
		if calls++; calls == 3 {
			return enough
		}
		return nil
	})
	if !errors.Is(err, enough) || calls != 3 {
		t.Errorf("%d calls, %v", calls, err)
	}
}
