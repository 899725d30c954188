package faults

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"cim/internal/daemon"
)

// TestCut cuts each direction of a connection between two namespaces: first
// the answers do not come, though what was asked for is done, then nothing
// arrives. Healed, all of it comes.
func TestCut(t *testing.T) {
	n := newNetwork(t)
	redis, err := daemon.RedisAt(t.Context(), n.add("redis").place, filepath.Join(folder, "cut-redis"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := redis.Kill(); err != nil {
			t.Error(err)
		}
	})
	asker := newAsker(t, n.add("asker"), redis.Addr)
	asker.want("1")

	n.cut("redis", "asker")
	asker.wantSilence()
	wantCount(t, redis.Addr, "2")
	n.heal("redis", "asker")
	asker.hear("2")

	n.cut("asker", "redis")
	asker.wantSilence()
	wantCount(t, redis.Addr, "2")
	n.heal("asker", "redis")
	asker.hear("3")
	asker.want("4")
}

// asker counts up at a Redis, over one connection from a namespace.
type asker struct {
	t     *testing.T
	in    io.Writer
	lines chan string
}

func newAsker(t *testing.T, at *node, redis string) *asker {
	t.Helper()
	host, port, err := net.SplitHostPort(redis)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	line := append(append([]string(nil), at.place.Within...), "redis-cli", "-h", host, "-p", port)
	cmd := exec.CommandContext(ctx, line[0], line[1:]...)
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	a := &asker{t: t, in: in, lines: make(chan string, 16)}
	read := make(chan struct{})
	go func() {
		defer close(read)
		for said := bufio.NewScanner(out); said.Scan(); {
			a.lines <- said.Text()
		}
	}()
	t.Cleanup(func() {
		stop()
		<-read
		_ = cmd.Wait() // it was killed
	})
	return a
}

func (a *asker) ask() {
	a.t.Helper()
	if _, err := io.WriteString(a.in, "INCR count\n"); err != nil {
		a.t.Fatal(err)
	}
}

func (a *asker) want(answer string) {
	a.t.Helper()
	a.ask()
	a.hear(answer)
}

// hear waits for an answer. An answer that a cut has delayed takes longer, since TCP sends again at
// ever longer intervals.
func (a *asker) hear(answer string) {
	a.t.Helper()
	timeout := time.NewTimer(waitMax)
	defer timeout.Stop()
	select {
	case line := <-a.lines:
		if line != answer {
			a.t.Fatalf("answer %q, want %q", line, answer)
		}
	case <-timeout.C:
		a.t.Fatalf("no answer within %v, want %q", waitMax, answer)
	}
}

func (a *asker) wantSilence() {
	a.t.Helper()
	a.ask()
	timeout := time.NewTimer(500 * time.Millisecond)
	defer timeout.Stop()
	select {
	case line := <-a.lines:
		a.t.Fatalf("answer %q through a cut", line)
	case <-timeout.C:
	}
}

// wantCount asks from the test's own side, which no cut is between.
func wantCount(t *testing.T, redis, want string) {
	t.Helper()
	conn, err := net.DialTimeout("tcp", redis, time.Second)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := fmt.Fprint(conn, "GET count\r\n"); err != nil {
		t.Fatal(err)
	}
	in := bufio.NewReader(conn)
	if _, err := in.ReadString('\n'); err != nil {
		t.Fatal(err)
	}
	if count, err := in.ReadString('\n'); err != nil || strings.TrimSpace(count) != want {
		t.Errorf("Redis has counted %q, %v, want %s", count, err, want)
	}
}
