package redis

import (
	"errors"
	"fmt"
	"net"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"cim/proto"
	"cim/store"
)

var here = store.Place{Host: "10.0.0.1", CIMPort: 11211, HTTPPort: 8081, Epoch: 1 << 63}

// single opens a store on the shared Redis, emptied.
func single(t testing.TB) *Store {
	t.Helper()
	said(t, shared.Addr, "FLUSHALL")
	return opened(t, Config{URLs: []string{"redis://" + shared.Addr}})
}

func registered(t testing.TB, s *Store, name string) proto.User {
	t.Helper()
	user, err := s.Register(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	return user
}

// loggedIn claims and confirms.
func loggedIn(t testing.TB, s *Store, user proto.User, seen proto.Generation) proto.Generation {
	t.Helper()
	generation, err := s.Claim(t.Context(), user.ID, here, seen)
	if err != nil {
		t.Fatal(err)
	}
	if ok, err := s.Confirm(t.Context(), user.ID, generation); !ok || err != nil {
		t.Fatalf("Confirm: %t, %v", ok, err)
	}
	return generation
}

// TestKeys reads past the library what stands in the Redis, byte for byte.
func TestKeys(t *testing.T) {
	said(t, shared.Addr, "FLUSHALL")
	s := opened(t, Config{
		URLs:  []string{"redis://" + shared.Addr},
		Store: store.Config{Now: func() time.Time { return time.UnixMilli(1700000000000) }},
	})
	ann := registered(t, s, "ann")
	loggedIn(t, s, ann, 0)
	if err := s.Append(t.Context(), ann.ID, proto.User{ID: 7, Name: "b:b"}, 9, 1699999999999, []string{"x:y"}); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ command, want string }{
		{"GET ann", "$25\r\ncim-account:1700000000000\r\n"},
		{"GET cim-account:1700000000000", "$3\r\nann\r\n"},
		{"GET cim-last-user-id", "$13\r\n1700000000000\r\n"},
		{"SMEMBERS login-status", "*1\r\n$13\r\n1700000000000\r\n"},
		{"GET cim-route:1700000000000", "$41\r\n10.0.0.1:11211:8081:9223372036854775808:1\r\n"},
		{"GET {cim-route:1700000000000}:generation", "$1\r\n1\r\n"},
		{"GET {cim-route:1700000000000}:connected", "$1\r\n1\r\n"},
		{"HGET {cim-route:1700000000000}:box 1700000000000000", "$28\r\n1700000000000:3:9:7:3:b:bx:y\r\n"},
		{"HGET {cim-route:1700000000000}:box sent:1700000000000000", "$13\r\n1699999999999\r\n"},
	} {
		if got := said(t, shared.Addr, strings.Fields(c.command)...); got != c.want {
			t.Errorf("%s: %q, want %q", c.command, got, c.want)
		}
	}
	if got := keyCount(t); got != ":8\r\n" {
		t.Errorf("%q keys, want 8", got)
	}
	if ok, err := s.Release(t.Context(), ann.ID, 1); !ok || err != nil {
		t.Fatalf("Release: %t, %v", ok, err)
	}
	for command, want := range map[string]string{
		"SMEMBERS login-status":       "*0\r\n",
		"GET cim-route:1700000000000": "$-1\r\n",
	} {
		if got := said(t, shared.Addr, strings.Fields(command)...); got != want {
			t.Errorf("%s: %q, want %q", command, got, want)
		}
	}
}

// TestEntries reads what this release, releases before and nobody at all would
// write into a box.
func TestEntries(t *testing.T) {
	bob := proto.User{ID: 7, Name: "b:b"}
	want := store.OfflineMessage{Serial: 5, Sender: bob, Text: "x@y", ID: 9, Stored: time.UnixMilli(1000)}
	for sent, at := range map[string]proto.UnixMilli{"": 0, "999": 999, "-999": -999} {
		want.Sent = at
		if got, err := parseMessage("5", "1000:3:9:7:3:b:bx@y", sent); err != nil || got != want {
			t.Errorf("sent at %q: %+v, %v, want %+v", sent, got, err, want)
		}
	}
	for _, entry := range []string{"1000:3:9@:7:3:b:bx@y", "1000:3::7:3:b:bx@y", "1000:3:9@9:7:3:b:bx@y", "1000:3:9@x:7:3:b:bx@y"} {
		if got, err := parseMessage("5", entry, ""); err == nil {
			t.Errorf("%q: %+v", entry, got)
		}
	}
	if got, err := parseMessage("5", "1000:3:9:7:3:b:bx@y", "x"); err == nil {
		t.Errorf("sent at x: %+v", got)
	}
}

// TestShared lives beside processes of another system: a record of three parts, an
// id that is taken, a name that is no account, a broken record.
func TestShared(t *testing.T) {
	s := single(t)
	said(t, shared.Addr, "SET", "cim-last-user-id", "8999999999999")
	said(t, shared.Addr, "SET", "cim-account:9000000000000", "java")
	said(t, shared.Addr, "SET", "java", "cim-account:9000000000000")
	if user, err := s.Register(t.Context(), "java"); err != nil || user.ID != 9000000000000 {
		t.Errorf("Register of a known one: %v, %v", user, err)
	}
	ann := registered(t, s, "ann")
	if ann.ID != 9000000000001 {
		t.Errorf("an id that was taken is passed by: %d", ann.ID)
	}
	said(t, shared.Addr, "SET", routeKey(ann.ID), "10.0.0.9:1:2")
	want := store.Record{Place: store.Place{Host: "10.0.0.9", CIMPort: 1, HTTPPort: 2}, Connected: true}
	for _, freshness := range []store.Freshness{store.Cached, store.Fresh} {
		if record, found, err := s.Lookup(t.Context(), ann.ID, freshness); record != want || !found || err != nil {
			t.Errorf("three parts: %+v, %t, %v", record, found, err)
		}
	}
	said(t, shared.Addr, "SADD", loginStatusKey, userText(ann.ID), "not an id")
	if present, err := s.Connected(t.Context()); err != nil || len(present) != 1 || present[0].User != ann || present[0].Record != want {
		t.Errorf("Connected: %+v, %v", present, err)
	}
	if generation, err := s.Claim(t.Context(), ann.ID, here, 0); generation == 0 || err != nil {
		t.Errorf("Claim over three parts: %d, %v", generation, err)
	}
	said(t, shared.Addr, "SET", "odd", "something else")
	if _, err := s.Register(t.Context(), "odd"); err == nil || !strings.Contains(err.Error(), `"odd"`) || errors.Is(err, store.ErrAway) {
		t.Errorf("a name that is no account: %v", err)
	}
	said(t, shared.Addr, "LPUSH", "list", "x")
	if _, err := s.Register(t.Context(), "list"); err == nil || !strings.Contains(err.Error(), `"list"`) || errors.Is(err, store.ErrAway) {
		t.Errorf("a name that is a list: %v", err)
	}
	for _, broken := range []string{"", "h", "h:1", "h:1:x", "h:1:2:3", "h:1:2:3:x", "h:1:70000"} {
		said(t, shared.Addr, "SET", routeKey(ann.ID), broken)
		if _, found, err := s.Lookup(t.Context(), ann.ID, store.Fresh); found || err == nil || !strings.Contains(err.Error(), routeKey(ann.ID)) {
			t.Errorf("a record %q: %t, %v", broken, found, err)
		}
	}
}

// TestRegisterRace lets many register the same names: who loses leaves no
// account behind.
func TestRegisterRace(t *testing.T) {
	const names = 20
	s := single(t)
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for i := range names {
				if _, err := s.Register(t.Context(), fmt.Sprint("user", i)); err != nil {
					t.Errorf("Register: %v", err)
				}
			}
		})
	}
	all.Wait()
	if got, want := keyCount(t), fmt.Sprintf(":%d\r\n", 2*names+1); got != want {
		t.Errorf("%q keys, want %q: two an account, and the counter", got, want)
	}
}

// keyCount is the number of keys in the shared Redis, without the one that is
// written to find out whether it takes writes.
func keyCount(t *testing.T) string {
	t.Helper()
	return said(t, shared.Addr, "EVAL", "return redis.call('DBSIZE') - redis.call('EXISTS', '"+probeKey+"')", "0")
}

// gets is how many GETs the shared Redis has taken.
func gets(t *testing.T) string {
	t.Helper()
	return regexp.MustCompile(`cmdstat_get:calls=\d+`).FindString(said(t, shared.Addr, "INFO", "commandstats"))
}

// TestCache looks a record up again and again without one command, and sees it
// change soon when another process changes it.
func TestCache(t *testing.T) {
	s := single(t)
	other := opened(t, Config{URLs: []string{"redis://" + shared.Addr}})
	ann := registered(t, s, "ann")
	first := loggedIn(t, s, ann, 0)
	lookup := func() store.Record {
		record, found, err := s.Lookup(t.Context(), ann.ID, store.Cached)
		if err != nil || found != (record.Generation != 0) {
			t.Fatalf("Lookup: %t, %v", found, err)
		}
		return record
	}
	if got := lookup(); got.Generation != first || got.Place != here {
		t.Fatalf("Lookup: %+v", got)
	}
	before := gets(t)
	for range 1000 {
		lookup()
	}
	if after := gets(t); after != before || after == "" {
		t.Errorf("1,000 cached lookups: %q before, %q after", before, after)
	}
	second := loggedIn(t, other, ann, first)
	await(t, "the other's claim", func() bool { return lookup().Generation == second })
	if ok, err := other.Release(t.Context(), ann.ID, second); !ok || err != nil {
		t.Fatalf("Release: %t, %v", ok, err)
	}
	await(t, "the other's release", func() bool { return lookup() == store.Record{} })
	third := loggedIn(t, other, ann, 0)
	await(t, "a login after an absence that was cached", func() bool { return lookup().Generation == third })
}

// await waits until done reports true, for 30 s at most.
func await(t testing.TB, what string, done func() bool) {
	t.Helper()
	poll := time.NewTicker(5 * time.Millisecond)
	defer poll.Stop()
	for end := time.Now().Add(30 * time.Second); !done(); <-poll.C {
		if time.Now().After(end) {
			t.Fatalf("not within 30 s: %s", what)
		}
	}
}

// TestMirrorRepaired loses a user from the mirror and has one too many there;
// both are repaired.
func TestMirrorRepaired(t *testing.T) {
	s := single(t)
	ann := registered(t, s, "ann")
	loggedIn(t, s, ann, 0)
	said(t, shared.Addr, "SREM", loginStatusKey, userText(ann.ID))
	said(t, shared.Addr, "SADD", loginStatusKey, "5")
	await(t, "the repair", func() bool {
		return said(t, shared.Addr, "SMISMEMBER", loginStatusKey, userText(ann.ID), "5") == "*2\r\n:1\r\n:0\r\n"
	})
}

// TestForget removes a user from the mirror who has logged in meanwhile: it is
// there again.
func TestForget(t *testing.T) {
	s := single(t)
	ann := registered(t, s, "ann")
	loggedIn(t, s, ann, 0)
	if err := s.forget(t.Context(), ann.ID, 5); err != nil {
		t.Fatal(err)
	}
	if got, want := said(t, shared.Addr, "SMISMEMBER", loginStatusKey, userText(ann.ID), "5"), "*2\r\n:1\r\n:0\r\n"; got != want {
		t.Errorf("the mirror: %q, want %q", got, want)
	}
}

// TestClaimOvertaken lets a later claim come and go between the two steps of
// an earlier one: the earlier one sees it, and draws above it.
func TestClaimOvertaken(t *testing.T) {
	s := single(t)
	ann := registered(t, s, "ann")
	drawn, err := s.number(t.Context(), about{}, draw, generationKey(ann.ID), "0")
	if err != nil {
		t.Fatal(err)
	}
	early := proto.Generation(drawn)
	late, err := s.Claim(t.Context(), ann.ID, here, 0)
	if err != nil || late <= early {
		t.Fatalf("Claim: %d, %v", late, err)
	}
	if ok, err := s.Release(t.Context(), ann.ID, late); !ok || err != nil {
		t.Fatalf("Release: %t, %v", ok, err)
	}
	if occupied, latest, err := s.occupy(t.Context(), ann.ID, here, early, "0"); !occupied || latest != late || err != nil {
		t.Errorf("the earlier claim: %t, latest %d, %v; want %d", occupied, latest, err, late)
	}
	said(t, shared.Addr, "SET", connectedKey(ann.ID), "100") // the counter was lost
	if next, err := s.Claim(t.Context(), ann.ID, here, early); err != nil || next <= 100 {
		t.Errorf("Claim: %d, %v; want above 100", next, err)
	}
}

// TestLongLife gives a box its time to live, and serials and leases that go on
// when it is lost.
func TestLongLife(t *testing.T) {
	s := single(t)
	ann := registered(t, s, "ann")
	var last uint64
	var held store.Lease
	for range 2 {
		lease, err := s.Acquire(t.Context(), ann.ID, time.Hour)
		if err != nil || lease <= held {
			t.Fatalf("Acquire: %d, %v; want above %d", lease, err, held)
		}
		held = lease
		if err := s.Append(t.Context(), ann.ID, ann, 0, 0, []string{"text"}); err != nil {
			t.Fatal(err)
		}
		page, err := s.Page(t.Context(), ann.ID, 0)
		if err != nil || len(page) != 1 || page[0].Serial <= last {
			t.Fatalf("Page: %+v, %v; want a serial above %d", page, err, last)
		}
		last = page[0].Serial
		if age := time.Since(page[0].Stored); age < -time.Minute || age > time.Minute {
			t.Errorf("stored %v ago", age)
		}
		if got := said(t, shared.Addr, "TTL", boxKey(ann.ID)); got < ":262790" || got > ":262800\r\n" {
			t.Errorf("it lives for %q s, want 73 h", got)
		}
		said(t, shared.Addr, "DEL", boxKey(ann.ID))
		lost := time.Now()
		await(t, "a later time to count from", func() bool { return time.Since(lost) > 2*time.Millisecond })
	}
}

// TestURLs goes through settings, wrong ones too: each fault is named, and no
// password is in it.
func TestURLs(t *testing.T) {
	const secret = "s3cr3t"
	for _, c := range []struct {
		urls string
		want string // "": it is right
	}{
		{"redis://localhost", ""},
		{"redis://:" + secret + "@127.0.0.1:7000/3", ""},
		{"rediss://me:" + secret + "@redis.example:7000", ""},
		{"redis://[::1]:7000/", ""},
		{"redis://a:1 redis://b:2", ""},
		{"redis://a:1?master_set=m redis://b:2?master_set=m", ""},
		{"", "no URL"},
		{"127.0.0.1:6379", "URL 1: not a URL"},
		{"http://:" + secret + "@a", "want redis://"},
		{"redis://:" + secret + "@", "has no host"},
		{"redis://:" + secret + "%zz@a", "URL 1: not a URL"},
		{"redis://:" + secret + "@a:b", "URL 1: not a URL"},
		{"redis://:" + secret + "@a:70000", "port"},
		{"redis://:" + secret + "@a:0", "port"},
		{"redis://:" + secret + "@a/x", "database"},
		{"redis://:" + secret + "@a/-1", "database"},
		{"redis://:" + secret + "@a/1/2", "database"},
		{"redis://:" + secret + "@a?dial_timeout=1s", "there are master_set"},
		{"redis://:" + secret + "@a?master_set=", "master_set"},
		{"redis://:#" + secret + "@a", "URL 1"},
		{"redis://a redis://:" + secret + "@b", "URL 2: differs"},
		{"redis://a redis://b/2", "URL 2: differs"},
		{"redis://a rediss://b", "URL 2: differs"},
	} {
		err := CheckURLs(strings.Fields(c.urls))
		switch {
		case c.want == "" && err != nil:
			t.Errorf("%s: %v", c.urls, err)
		case c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)):
			t.Errorf("%s: %v, want %q in it", c.urls, err, c.want)
		case err != nil && strings.Contains(err.Error(), secret):
			t.Errorf("%s: shows the password: %v", c.urls, err)
		}
	}
}

// TestOpenRefused opens with a wrong password and a database that there is
// not: that is told at once.
func TestOpenRefused(t *testing.T) {
	for _, c := range []struct{ url, want string }{
		{"redis://me:s3cr3t@" + shared.Addr, "WRONGPASS"},
		{"redis://" + shared.Addr + "/99", "DB index"},
	} {
		_, err := Open(t.Context(), Config{URLs: []string{c.url}})
		if err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), shared.Addr) || strings.Contains(err.Error(), "s3cr3t") {
			t.Errorf("%s: %v", c.want, err)
		}
	}
	if _, err := Open(t.Context(), Config{URLs: []string{"redis://" + shared.Addr}, Store: store.Config{OfflineTTL: 1}}); err == nil {
		t.Error("an age bound of 1 ns is taken")
	}
}

// TestTextsStayPrivate lets a Redis refuse the script, which quotes what it
// was sent: no text is in the error.
func TestTextsStayPrivate(t *testing.T) {
	if err := withoutArgs(errors.New("ERR unknown command 'EVALSHA', with args beginning with: 'private'")); strings.Contains(err.Error(), "private") {
		t.Error(err)
	}
}

// closedAddr is an address where nobody listens.
func closedAddr(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	return listener.Addr().String()
}

// TestOpenAway opens while the Redis is away: every call fails at once.
func TestOpenAway(t *testing.T) {
	s := opened(t, Config{URLs: []string{"redis://" + closedAddr(t)}})
	start := time.Now()
	for name, err := range callAll(t, s, proto.User{ID: 1, Name: "ann"}) {
		if !errors.Is(err, store.ErrAway) {
			t.Errorf("%s: %v, want ErrAway", name, err)
		}
	}
	if took := time.Since(start); took > callMax { // what one that waits would take
		t.Errorf("all calls took %v", took)
	}
}
