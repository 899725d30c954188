package redis

import (
	"context"
	"io"
	"net"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"cim/proto"
	"cim/store"
)

// slowProxy stands in front of a Redis and delays what it answers: a round trip
// takes as long as at a Redis with much to do.
type slowProxy struct {
	addr  string
	delay atomic.Int64 // of each read of answers, in ns
	conns sync.WaitGroup
}

func newSlowProxy(t *testing.T, behind string) *slowProxy {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &slowProxy{addr: listener.Addr().String()}
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
			p.conns.Go(func() {
				defer redis.Close()
				io.Copy(redis, client)
			})
			p.conns.Go(func() {
				defer client.Close()
				p.answer(client, redis)
			})
		}
	})
	return p
}

func (p *slowProxy) answer(client, redis net.Conn) {
	buf := make([]byte, 64<<10)
	for {
		n, err := redis.Read(buf)
		if err != nil {
			return
		}
		time.Sleep(time.Duration(p.delay.Load()))
		if _, err := client.Write(buf[:n]); err != nil {
			return
		}
	}
}

// TestRestoreSlow compares as many sessions as a server sends at once with a Redis
// whose round trip takes 10 ms, within the deadline that a route gives: the
// sessions have just begun, and so no mark yet, or the Redis has lost their marks.
func TestRestoreSlow(t *testing.T) {
	const trip = 10 * time.Millisecond
	quick := single(t)
	proxy := newSlowProxy(t, shared.Addr)
	slow := opened(t, Config{URLs: []string{"redis://" + proxy.addr}})
	sessions := make([]proto.Session, proto.SessionsMax)
	for i := range sessions {
		user := proto.UserID(i + 1)
		generation, err := quick.Claim(t.Context(), user, here, 0)
		if err != nil {
			t.Fatal(err)
		}
		sessions[i] = proto.Session{User: user, Generation: generation}
	}
	said(t, shared.Addr, "SCRIPT", "FLUSH") // marks are the first that the Redis hears of the script
	proxy.delay.Store(int64(trip))
	work, stop := context.WithTimeout(t.Context(), callMax)
	defer stop()
	if got, err := slow.Restore(work, here, sessions); err != nil || len(got.Superseded)+len(got.Returned) != 0 {
		t.Fatalf("%d superseded, %d returned: %v", len(got.Superseded), len(got.Returned), err)
	}
	for _, i := range []int{0, chunkMax, len(sessions) - 1} {
		if record, _, err := quick.Lookup(t.Context(), sessions[i].User, store.Fresh); err != nil || !record.Connected {
			t.Errorf("session %d: %+v, %v", i, record, err)
		}
	}
}

// TestMarkAllOdd marks the others of a chunk in which one user has an odd mark.
func TestMarkAllOdd(t *testing.T) {
	s := single(t)
	sessions := make([]proto.Session, 3)
	for i := range sessions {
		sessions[i] = proto.Session{User: proto.UserID(i + 1), Generation: 1}
	}
	said(t, shared.Addr, "SADD", connectedKey(2), "odd")
	if err := s.markAll(t.Context(), sessions); err != nil {
		t.Fatal(err)
	}
	marks := []string{said(t, shared.Addr, "GET", connectedKey(1)), said(t, shared.Addr, "GET", connectedKey(3))}
	if want := "$1\r\n" + strconv.Itoa(1) + "\r\n"; !slices.Equal(marks, []string{want, want}) {
		t.Errorf("marks %q", marks)
	}
}
