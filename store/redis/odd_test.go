package redis

import (
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"cim/proto"
	"cim/store"
)

// TestOddNames: a name that another process has written and that no frame can
// carry is an error that names its key; the list of users goes on with what can
// be read of it.
func TestOddNames(t *testing.T) {
	d := own(t)
	s := opened(t, Config{URLs: []string{"redis://" + d.Addr}})
	longest := strings.Repeat("x", proto.RecordNameMax)
	for _, c := range []struct {
		name string
		fits bool
	}{{longest, true}, {longest + "x", false}, {"\xff\xfe", false}} {
		ann := registered(t, s, "ann"+c.name[:1]+string(rune('a'+len(c.name)%26)))
		loggedIn(t, s, ann, 0)
		said(t, d.Addr, "SET", accountKey(ann.ID), c.name)
		fresh := opened(t, Config{URLs: []string{"redis://" + d.Addr}})
		name, found, err := fresh.Account(t.Context(), ann.ID)
		if c.fits && (err != nil || !found || name != c.name) {
			t.Errorf("a name of %d bytes: %t, %v", len(c.name), found, err)
		}
		if !c.fits && (err == nil || !strings.Contains(err.Error(), accountKey(ann.ID))) {
			t.Errorf("a name of %d bytes is taken: %v", len(c.name), err)
		}
	}
	present, err := opened(t, Config{URLs: []string{"redis://" + d.Addr}}).Connected(t.Context())
	if err != nil || len(present) != 3 {
		t.Fatalf("%d connected, %v; want 3", len(present), err)
	}
	for _, p := range present {
		if !utf8.ValidString(p.User.Name) {
			t.Errorf("a listed name is no UTF-8: %q", p.User.Name)
		}
	}
}

// TestOddRefusal: what is no time in the place of one is an error that names its
// key, so that no refusal is overlooked, and the next refusal puts it right.
func TestOddRefusal(t *testing.T) {
	d := own(t)
	s := opened(t, Config{URLs: []string{"redis://" + d.Addr}})
	ann := registered(t, s, "ann")
	for _, odd := range []string{"garbage", "-1", "1.5", "cim-account:7"} {
		said(t, d.Addr, "SET", refusedKey(ann.ID), odd)
		if at, err := s.TokensRefusedBefore(t.Context(), ann.ID); err == nil || !strings.Contains(err.Error(), refusedKey(ann.ID)) {
			t.Errorf("%q is read as %d, %v", odd, at, err)
		}
		if err := s.RefuseTokensBefore(t.Context(), ann.ID, 1_700_000_000_000); err != nil {
			t.Fatal(err)
		}
		if at, err := s.TokensRefusedBefore(t.Context(), ann.ID); at != 1_700_000_000_000 || err != nil {
			t.Errorf("after %q: %d, %v", odd, at, err)
		}
	}
}

// TestOddRecordsOfOthers: what another process has written in the place of one
// user's record, mark, counter or account takes nothing from the rest. Their lost
// records come back, and they are listed.
func TestOddRecordsOfOthers(t *testing.T) {
	d := own(t)
	s := opened(t, Config{URLs: []string{"redis://" + d.Addr}})
	for name, spoil := range map[string]func(user proto.UserID){
		"text in the record's place": func(user proto.UserID) { said(t, d.Addr, "SET", routeKey(user), "garbage") },
		"list in the record's place": func(user proto.UserID) {
			said(t, d.Addr, "DEL", routeKey(user))
			said(t, d.Addr, "RPUSH", routeKey(user), "1")
		},
		"list in the mark's place": func(user proto.UserID) {
			said(t, d.Addr, "DEL", connectedKey(user), routeKey(user))
			said(t, d.Addr, "RPUSH", connectedKey(user), "1")
		},
		"text in the mark's place": func(user proto.UserID) {
			said(t, d.Addr, "DEL", routeKey(user))
			said(t, d.Addr, "SET", connectedKey(user), "garbage")
		},
		"list in the counter's place": func(user proto.UserID) {
			said(t, d.Addr, "DEL", generationKey(user), routeKey(user))
			said(t, d.Addr, "RPUSH", generationKey(user), "1")
		},
		"text in the counter's place": func(user proto.UserID) {
			said(t, d.Addr, "DEL", routeKey(user))
			said(t, d.Addr, "SET", generationKey(user), "garbage")
		},
		"list in the account's place": func(user proto.UserID) {
			said(t, d.Addr, "DEL", accountKey(user))
			said(t, d.Addr, "RPUSH", accountKey(user), "1")
		},
	} {
		// The spoiled one is told of first.
		var sessions []proto.Session
		for _, who := range []string{"odd ", "lost "} {
			user := registered(t, s, who+name).ID
			sessions = append(sessions, proto.Session{User: user, Generation: loggedIn(t, s, proto.User{ID: user, Name: who + name}, 0)})
		}
		lost := sessions[1]
		spoil(sessions[0].User)
		said(t, d.Addr, "DEL", routeKey(lost.User))
		fresh := opened(t, Config{URLs: []string{"redis://" + d.Addr}}) // nothing is cached
		got, err := fresh.Restore(t.Context(), here, sessions)
		if err != nil || !slices.Contains(got.Returned, lost) || len(got.Superseded) != 0 {
			t.Errorf("%s: %+v, %v; want that the other one is back", name, got, err)
		}
		present, err := fresh.Connected(t.Context())
		if err != nil || !slices.ContainsFunc(present, func(p store.Present) bool { return p.User.ID == lost.User }) {
			t.Errorf("%s: %+v are listed, %v; want the other one among them", name, present, err)
		}
	}
}
