package redisform

import (
	"context"
	"fmt"
	"net"
	"os"
	"testing"
	"time"

	"go.uber.org/goleak"

	"cim/internal/daemon"
	"cim/proto"
	"cim/store"
	"cim/store/redis"
)

// shared is the Redis of all tests that need one that nothing happens to. Each
// has it emptied.
var shared *daemon.Daemon

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	dir, err := os.MkdirTemp("", "cim-redisform")
	if err != nil {
		return failed(err)
	}
	defer os.RemoveAll(dir)
	if shared, err = daemon.Redis(context.Background(), dir); err != nil {
		return failed(err)
	}
	code := m.Run()
	if err := shared.Stop(); err != nil {
		return failed(err)
	}
	// All end by themselves, after a second and five.
	ending := []goleak.Option{
		goleak.IgnoreAnyFunction("github.com/redis/rueidis.(*clusterClient)._refresh.func2"),
		goleak.IgnoreAnyFunction("github.com/redis/rueidis.(*call).DelayDo.func1"),
		goleak.IgnoreAnyFunction("github.com/redis/rueidis.(*clusterClient).redirectOrNew.func1"),
	}
	if err := goleak.Find(ending...); err != nil && code == 0 {
		return failed(err)
	}
	return code
}

func failed(err error) int {
	fmt.Fprintln(os.Stderr, err)
	return 1
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

// said sends a Redis one command past the library and returns its answer's
// beginning.
func said(t testing.TB, addr string, args ...string) string {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	request := fmt.Sprintf("*%d\r\n", len(args))
	for _, arg := range args {
		request += bulk(arg)
	}
	if _, err := conn.Write([]byte(request)); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 64<<10)
	n, err := conn.Read(buf)
	if err != nil {
		t.Fatal(err)
	}
	return string(buf[:n])
}

// bulk is a string as a Redis is sent it, and as it answers.
func bulk(text string) string { return fmt.Sprintf("$%d\r\n%s\r\n", len(text), text) }

// at is the configuration of a store on d.
func at(d *daemon.Daemon) Config {
	return Config{Redis: redis.Config{URLs: []string{"redis://" + d.Addr}}}
}

// opened opens a store until the end of t.
func opened(t testing.TB, config Config) *Store {
	t.Helper()
	s, err := Open(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// single opens a store on the shared Redis, emptied.
func single(t testing.TB) *Store {
	t.Helper()
	said(t, shared.Addr, "FLUSHALL")
	return opened(t, at(shared))
}

func registered(t testing.TB, s *Store, name string) proto.User {
	t.Helper()
	user, err := s.Register(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	return user
}

func keysOf(texts []store.OfflineMessage) []store.TextKey {
	keys := make([]store.TextKey, len(texts))
	for i, text := range texts {
		keys[i] = text.Key()
	}
	return keys
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
