package e2e

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"testing"
	"time"

	"cim/proto"
)

// askRedis sends one command to the cluster's Redis and returns what its answer
// is read from, until the end of the test.
func (c *cluster) askRedis(t *testing.T, command ...string) *bufio.Reader {
	t.Helper()
	conn, err := net.DialTimeout("tcp", c.redis.Addr, waitMax)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(waitMax)); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(conn, strings.Join(command, " ")+"\r\n"); err != nil {
		t.Fatal(err)
	}
	return bufio.NewReader(conn)
}

// redisSays sends one command to the cluster's Redis, and returns its answer,
// a bulk string.
func (c *cluster) redisSays(t *testing.T, command ...string) string {
	t.Helper()
	in := c.askRedis(t, command...)
	head, err := in.ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	size, err := strconv.Atoi(strings.TrimSpace(strings.TrimPrefix(head, "$")))
	if err != nil || size < 0 || size > answerMax {
		t.Fatalf("%v: Redis says %q", command, head)
	}
	text := make([]byte, size)
	if _, err := io.ReadFull(in, text); err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// lookups counts the commands that a lookup would send. The background sends
// some too, whatever is sent to users: it compares sessions with their records
// every few seconds, and looks whether Redis takes writes.
func (c *cluster) lookups(t *testing.T) map[string]int {
	t.Helper()
	calls := map[string]int{}
	for line := range strings.Lines(c.redisSays(t, "INFO", "commandstats")) {
		name, rest, found := strings.Cut(strings.TrimPrefix(line, "cmdstat_"), ":calls=")
		if !found {
			continue
		}
		switch name {
		case "get", "mget", "getex", "hget", "hmget", "eval", "evalsha", "evalsha_ro", "set":
			number, _, _ := strings.Cut(rest, ",")
			n, err := strconv.Atoi(number)
			if err != nil {
				t.Fatalf("commandstats: %q", line)
			}
			calls[name] = n
		}
	}
	return calls
}

// TestLookupCached sends to a live user over and over: after the first message
// Redis is not asked.
func TestLookupCached(t *testing.T) {
	t.Parallel()
	if !clustered {
		return
	}
	const count = 100
	sys, c := startCluster(t, components{})
	receiver := sys.old("olga").logIn()
	onAda := sys.ours("ada").logIn()
	byHTTP := []*user{sys.old("abe"), sys.old("bea")}
	var want []delivery
	each := func(text string) {
		for i, u := range byHTTP {
			u.at = sys.routes[i]
			u.sendPrivate(proto.CodeSuccess, receiver.user, text)
			want = append(want, from(u, text)...)
		}
		onAda.wantSend(proto.OutcomeDelivered, receiver.user, text)
		want = append(want, from(onAda.user, text)...)
	}
	before := c.lookups(t)
	eventually(t, "a message costs no lookup", func() bool {
		was := fmt.Sprint(before)
		each("first")
		before = c.lookups(t)
		return fmt.Sprint(before) == was
	})
	for i := range count {
		each(fmt.Sprint("number ", i))
	}
	after, background := c.lookups(t), 0
	for name, calls := range after {
		background += calls - before[name]
	}
	if background >= count || after["get"] == 0 || after["evalsha"] == 0 {
		t.Errorf("commands after %d messages %v, before %v", 3*count, after, before)
	}
	receiver.wantExactly(want...)
}
