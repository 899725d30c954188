package zk

import (
	"bytes"
	"errors"
	"log/slog"
	"path"
	"strings"
	"sync"
	"testing"

	"github.com/go-zookeeper/zk"

	"cim/internal/daemon"
)

const testAuth = "cim:s3cr3t"

// lockedLog is a log that any goroutine may write to.
type lockedLog struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *lockedLog) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *lockedLog) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// openAuth opens a registry that tells ZooKeeper who it is.
func openAuth(t *testing.T, d *daemon.Daemon, change func(*Config)) (*Registry, *lockedLog) {
	t.Helper()
	log := new(lockedLog)
	c := Config{
		Servers: []string{d.Addr}, Root: rootOf(t), SessionTimeout: patience, Auth: testAuth,
		Log: slog.New(slog.NewTextHandler(log, nil)),
	}
	if change != nil {
		change(&c)
	}
	if err := c.Check(); err != nil {
		t.Fatal(err)
	}
	r := start(c, lookEvery, confirmEvery)
	t.Cleanup(func() {
		r.Close()
		if strings.Contains(log.String(), "s3cr3t") {
			t.Errorf("the log has the password: %s", log)
		}
	})
	return r, log
}

// TestAuth: nodes that were made by a user are that user's, and everybody reads
// them, with open roots servers of the original can enter themselves.
func TestAuth(t *testing.T) {
	t.Parallel()
	for _, open := range []bool{false, true} {
		t.Run(map[bool]string{false: "closed", true: "open"}[open], func(t *testing.T) {
			t.Parallel()
			r, log := openAuth(t, shared, func(c *Config) { c.Open = open })
			m := member("10.0.0.1", 1)
			register(t, r, m)
			other := client(t, shared)
			node := rootOf(t) + "/" + m.Name()
			if names, _, err := other.Children(rootOf(t)); err != nil || len(names) != 1 {
				t.Errorf("a stranger lists %v, %v", names, err)
			}
			if _, data := owner(t, other, node); !strings.Contains(data, "10.0.0.1:9000") {
				t.Errorf("a stranger reads %q", data)
			}
			for what, err := range map[string]error{
				"change": second(other.Set(node, nil, -1)), "remove": other.Delete(node, -1), "open": second(other.SetACL(node, world, -1)),
				"open the root": second(other.SetACL(rootOf(t), world, -1)), "open what is above": second(other.SetACL(path.Dir(rootOf(t)), world, -1)),
			} {
				if !errors.Is(err, zk.ErrNoAuth) {
					t.Errorf("a stranger may %s: %v", what, err)
				}
			}
			_, err := other.Create(rootOf(t)+"/10.0.0.9:1:1", nil, zk.FlagEphemeral, world)
			if open != (err == nil) {
				t.Errorf("a server of the original enters itself: %v", err)
			}
			if err := r.Deregister(t.Context(), m); err != nil {
				t.Errorf("Deregister: %v", err)
			}
			if strings.Contains(log.String(), "WARN") && !open {
				t.Errorf("the log: %s", log)
			}
		})
	}
}

func second[T any](_ T, err error) error { return err }

// TestAuthOldRoot: a root that was made without a user works, and is warned of
// once.
func TestAuthOldRoot(t *testing.T) {
	t.Parallel()
	makeRoot(t, client(t, shared))
	r, log := openAuth(t, shared, nil)
	register(t, r, member("10.0.0.1", 1))
	if strings.Count(log.String(), "everybody may enter") != 1 {
		t.Errorf("want a warning once: %s", log)
	}
}

// TestRightsLacking: what a user may not do is said, and done as soon as he may.
func TestRightsLacking(t *testing.T) {
	t.Parallel()
	conn := client(t, shared)
	root := makeRoot(t, conn)
	if err := conn.AddAuth("digest", []byte("admin:pw")); err != nil {
		t.Fatal(err)
	}
	admin := zk.DigestACL(zk.PermAll, "admin", "pw")
	if _, err := conn.SetACL(root, append(admin, zk.WorldACL(zk.PermRead)...), -1); err != nil {
		t.Fatal(err)
	}
	r, _ := openAuth(t, shared, nil)
	m := member("10.0.0.1", 1)
	done := make(chan error, 1)
	go func() { done <- r.Register(t.Context(), m) }()
	until(t, "it says what it lacks", func() bool {
		err := r.Unregistered(m)
		return err != nil && strings.Contains(err.Error(), "create "+m.Name()) && strings.Contains(err.Error(), "zk-auth")
	})
	if _, err := conn.SetACL(root, admin, -1); err != nil {
		t.Fatal(err)
	}
	until(t, "a root that cannot be read makes it not ready", func() bool {
		err := r.Ready()
		return err != nil && strings.Contains(err.Error(), "lacks the right")
	})
	if _, err := conn.SetACL(root, append(admin, zk.DigestACL(zk.PermAll, "cim", "s3cr3t")...), -1); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Errorf("Register: %v", err)
	}
	if err := r.Unregistered(m); err != nil {
		t.Errorf("it is registered: %v", err)
	}
	wantReady(t, r, true)
}

// TestAuthAgain: a session after a restart of ZooKeeper is told again who we are.
func TestAuthAgain(t *testing.T) {
	t.Parallel()
	d := own(t)
	r, _ := openAuth(t, d, nil)
	m := member("10.0.0.1", 1)
	register(t, r, m)
	if err := d.Kill(); err != nil {
		t.Fatal(err)
	}
	wantReady(t, r, false)
	restart(t, d)
	wantReady(t, r, true)
	late := member("10.0.0.2", 2)
	register(t, r, late) // demands the right
	wantMembers(t, r, m, late)
}

// TestNoSession: why there has been no session yet is said.
func TestNoSession(t *testing.T) {
	t.Parallel()
	r := openAt(t, "127.0.0.1:1", patience, lookEvery)
	until(t, "it says why", func() bool { return strings.Contains(r.Ready().Error(), "connection refused") })
}

// TestAuthSetting: a user and password that are none are named, and not shown.
func TestAuthSetting(t *testing.T) {
	for auth, want := range map[string]bool{"": true, "a:b": true, "a:b:c": true, "s3cr3t": false, "s3cr3t:": false, ":s3cr3t": false} {
		err := Config{Servers: []string{"h:1"}, Auth: auth}.Check()
		if (err == nil) != want || err != nil && strings.Contains(err.Error(), "s3cr3t") {
			t.Errorf("%q: %v", auth, err)
		}
	}
}
