package redis

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"log/slog"
	"net"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"cim/internal/daemon"
	"cim/store"
	"cim/store/storetest"
)

// logged is a log that any goroutine may write to.
type logged struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *logged) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *logged) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

func (l *logged) count(text string) int { return strings.Count(l.String(), text) }

// openedLogged opens a store whose log can be read.
func openedLogged(t *testing.T, config Config) (*Store, *logged) {
	t.Helper()
	log := new(logged)
	config.Log = slog.New(slog.NewTextHandler(log, nil))
	return opened(t, config), log
}

// serves lets s do what needs each kind of command: an account, a login, a text
// and its way out.
func serves(t *testing.T, s *Store) {
	t.Helper()
	ann := registered(t, s, "ann")
	loggedIn(t, s, ann, 0)
	if err := s.Append(t.Context(), ann.ID, ann, 0, 0, []string{"text"}); err != nil {
		t.Fatalf("Append: %v", err)
	}
	if page, err := s.Page(t.Context(), ann.ID, 0); err != nil || len(page) != 1 {
		t.Fatalf("Page: %v, %v", page, err)
	}
	for range 2 { // the second from a cache, if there is one
		if record, found, err := s.Lookup(t.Context(), ann.ID, store.Cached); err != nil || !found || record.Place != here {
			t.Fatalf("Lookup: %v, %t, %v", record, found, err)
		}
	}
	if name, found, err := s.Account(t.Context(), ann.ID); err != nil || !found || name != "ann" {
		t.Fatalf("Account: %q, %t, %v", name, found, err)
	}
	if err := s.Ready(t.Context()); err != nil {
		t.Fatalf("Ready: %v", err)
	}
}

// TestWithoutCache runs the suite on a Redis as before version 6: without
// HELLO, and so without the client cache.
func TestWithoutCache(t *testing.T) {
	d := own(t, "--rename-command", "HELLO", "")
	storetest.RunAgain(t, func(t *testing.T, config store.Config) store.Store {
		said(t, d.Addr, "FLUSHALL")
		return opened(t, Config{URLs: []string{"redis://" + d.Addr}, Store: config})
	})
}

// TestLacks goes through what a Redis, a proxy or an ACL may lack: the store
// works, and says once that it is slower. A record that another process changes
// is seen at once, since nothing is cached.
func TestLacks(t *testing.T) {
	for name, c := range map[string]struct {
		setup func(t *testing.T) (url string)
		lacks string
		off   bool
	}{
		"All": {setup: func(t *testing.T) string { return "redis://" + own(t).Addr }},
		"Off": {setup: func(t *testing.T) string { return "redis://" + own(t).Addr }, off: true},
		"No HELLO": {lacks: "HELLO", setup: func(t *testing.T) string {
			return "redis://" + own(t, "--rename-command", "HELLO", "").Addr
		}},
		"No HELLO, off": {lacks: "", off: true, setup: func(t *testing.T) string {
			return "redis://" + own(t, "--rename-command", "HELLO", "").Addr
		}},
		"No HELLO, password": {lacks: "HELLO", setup: func(t *testing.T) string {
			d := own(t, "--rename-command", "HELLO", "")
			said(t, d.Addr, "CONFIG", "SET", "requirepass", "pw")
			return "redis://:pw@" + d.Addr + "/2"
		}},
		"No CLIENT": {lacks: "CLIENT TRACKING", setup: func(t *testing.T) string {
			return "redis://" + own(t, "--rename-command", "CLIENT", "").Addr
		}},
		"ACL without CLIENT": {lacks: "CLIENT TRACKING", setup: func(t *testing.T) string {
			return aclUser(t, own(t), "+@all", "-client")
		}},
		"ACL without CACHING": {lacks: "CLIENT CACHING", setup: func(t *testing.T) string {
			return aclUser(t, own(t), "+@all", "-client|caching")
		}},
		"ACL without HELLO": {setup: func(t *testing.T) string {
			return aclUser(t, own(t), "+@all", "-hello")
		}},
		"ACL without INFO, CONFIG, SCAN, PING": {setup: func(t *testing.T) string {
			return aclUser(t, own(t), "+@all", "-info", "-config", "-scan", "-ping")
		}},
		"Proxy that answers": {lacks: "HELLO", setup: func(t *testing.T) string { return "redis://" + newProxy(t, own(t).Addr, false).addr }},
		"Proxy that closes":  {lacks: "HELLO", setup: func(t *testing.T) string { return "redis://" + newProxy(t, own(t).Addr, true).addr }},
	} {
		t.Run(name, func(t *testing.T) {
			s, log := openedLogged(t, Config{URLs: []string{c.setup(t)}, NoCache: c.off})
			serves(t, s)
			const slower = "works without the client cache"
			if c.lacks == "" && log.count(slower) != 0 {
				t.Errorf("slower, it says: %s", log)
			}
			if c.lacks != "" && (log.count(slower) != 1 || !strings.Contains(log.String(), c.lacks)) {
				t.Errorf("want once that %q is lacking: %s", c.lacks, log)
			}
			if strings.Contains(log.String(), "cannot be used") {
				t.Errorf("it could not be used: %s", log)
			}
		})
	}
}

// proxy stands in front of a Redis, as twemproxy and Envoy do: it knows the
// commands that data is read and written with, and no others.
type proxy struct {
	addr   string
	closes bool // at a command that it does not know
	conns  sync.WaitGroup
}

var proxied = []string{
	"PING", "AUTH", "GET", "SET", "DEL", "EXISTS", "STRLEN", "EVAL", "EVALSHA", "SADD", "SREM", "SISMEMBER", "SSCAN",
	"RPUSH", "LREM", "LRANGE", "LLEN", "HGET", "HSET", "HMGET", "HGETALL", "HDEL", "PEXPIRE", "PTTL", "TYPE",
}

func newProxy(t *testing.T, behind string, closes bool) *proxy {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{addr: listener.Addr().String(), closes: closes}
	t.Cleanup(func() {
		listener.Close()
		p.conns.Wait()
	})
	p.conns.Go(func() {
		for {
			client, err := listener.Accept()
			if err != nil {
				return
			}
			redis, err := net.Dial("tcp", behind)
			if err != nil {
				client.Close()
				continue
			}
			p.conns.Go(func() { p.serve(client, redis) })
		}
	})
	return p
}

// serve passes one command at a time, so that answers keep their order.
func (p *proxy) serve(client, redis net.Conn) {
	defer client.Close()
	defer redis.Close()
	in, out := &rawConn{Conn: client, r: bufio.NewReader(client)}, bufio.NewReader(redis)
	for {
		command, err := in.read(0)
		if err != nil {
			return
		}
		var words []string
		for _, word := range command.([]any) {
			words = append(words, word.(string))
		}
		if !slices.Contains(proxied, strings.ToUpper(words[0])) {
			if p.closes {
				return
			}
			fmt.Fprintf(client, "-ERR unknown command '%s'\r\n", words[0])
			continue
		}
		fmt.Fprintf(redis, "*%d\r\n", len(words))
		for _, word := range words {
			fmt.Fprintf(redis, "$%d\r\n%s\r\n", len(word), word)
		}
		if err := copyAnswer(client, out); err != nil {
			return
		}
	}
}

// copyAnswer copies one answer of the old protocol.
func copyAnswer(to io.Writer, from *bufio.Reader) error {
	line, err := from.ReadString('\n')
	if err != nil {
		return err
	}
	if _, err := io.WriteString(to, line); err != nil {
		return err
	}
	n, _ := strconv.Atoi(strings.TrimRight(line[1:], "\r\n"))
	switch {
	case line[0] == '$' && n >= 0:
		_, err = io.CopyN(to, from, int64(n)+2)
	case line[0] == '*':
		for range n {
			if err := copyAnswer(to, from); err != nil {
				return err
			}
		}
	}
	return err
}

// TestSentinelPassword goes through what Sentinels want to be told: nothing, the
// same as the Redis, and their own.
func TestSentinelPassword(t *testing.T) {
	const own = "&sentinel_user=watch&sentinel_password=own"
	for name, c := range map[string]struct {
		lines  []string // of the Sentinel
		query  string
		wants  string // in the error; "": it works
		noName bool
	}{
		"None":          {},
		"The same":      {lines: []string{"requirepass pw"}},
		"Its own":       {lines: []string{"user default off", "user watch on >own ~* &* +@all"}, query: own},
		"Documented":    {lines: []string{"user default off", "user cim " + strings.Join(documentedACL(t, "+sentinel|"), " ")}, query: "&sentinel_user=cim&sentinel_password=pw"},
		"Only password": {lines: []string{"requirepass own"}, query: "&sentinel_password=own"},
		"Wrong":         {lines: []string{"requirepass other"}, wants: "the Sentinel"},
		"Not the name":  {noName: true, wants: "knows no master named"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			sentinel, err := daemon.Redis(t.Context(), t.TempDir())
			if err != nil {
				t.Fatal(err)
			}
			defer sentinel.Stop()
			said(t, sentinel.Addr, "CONFIG", "SET", "requirepass", "pw")
			host, text, _ := net.SplitHostPort(sentinel.Addr)
			port, _ := strconv.Atoi(text)
			lines := append([]string{"sentinel auth-pass cim pw"}, c.lines...)
			watcher, err := daemon.Sentinel(t.Context(), filepath.Join(t.TempDir(), "sentinel"), "cim", host, port, 1, lines...)
			if err != nil {
				t.Fatal(err)
			}
			defer watcher.Stop()
			set := "?master_set=cim"
			if c.noName {
				set = "?master_set=other"
			}
			log := new(logged)
			s, err := Open(t.Context(), Config{
				URLs: []string{"redis://:pw@" + watcher.Addr + set + c.query}, Log: slog.New(slog.NewTextHandler(log, nil)),
			})
			if s != nil {
				defer s.Close()
			}
			if c.wants == "" {
				if err != nil {
					t.Fatal(err)
				}
				await(t, "the master", func() bool { return s.Ready(t.Context()) == nil })
				serves(t, s)
			} else {
				if err == nil {
					err = s.Ready(t.Context())
				}
				if err == nil || !strings.Contains(err.Error(), c.wants) {
					t.Errorf("%v, want %q in it", err, c.wants)
				}
			}
			for _, secret := range []string{"pw@", "own"} {
				if strings.Contains(log.String(), secret) {
					t.Errorf("the log has a password: %s", log)
				}
			}
		})
	}
}
