package zk

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/go-zookeeper/zk"
)

// TestReplaced registers a name again with other data: it is the same node's,
// and others see it at once.
func TestReplaced(t *testing.T) {
	server, route := open(t, shared), open(t, shared)
	m := member("a", 1)
	register(t, server, m)
	register(t, server, m)
	wantMembers(t, route, m)
	m.Epoch, m.Link = 2, "a:9001"
	register(t, server, m)
	wantMembers(t, route, m)
	if err := server.Deregister(t.Context(), member("a", 1)); err != nil {
		t.Fatal(err)
	}
	wantMembers(t, route, m)
}

// TestRemovedByHand puts back the node, and the root with it.
func TestRemovedByHand(t *testing.T) {
	server, route := open(t, shared), open(t, shared)
	m := member("a", 1)
	register(t, server, m)
	wantMembers(t, route, m)
	conn := client(t, shared)
	path := rootOf(t) + "/" + m.Name()
	for _, remove := range [][]any{
		{&zk.DeleteRequest{Path: path, Version: -1}},
		{&zk.DeleteRequest{Path: path, Version: -1}, &zk.DeleteRequest{Path: rootOf(t), Version: -1}},
	} {
		_, before, err := conn.Get(path)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := conn.Multi(remove...); err != nil {
			t.Fatal(err)
		}
		until(t, "it is there again", func() bool {
			exists, after, err := conn.Exists(path)
			return err == nil && exists && after.Czxid != before.Czxid && after.EphemeralOwner == before.EphemeralOwner
		})
		wantMembers(t, route, m)
	}
}

// TestForeignNode takes its name from a node that somebody else left there.
func TestForeignNode(t *testing.T) {
	conn := client(t, shared)
	m := member("a", 1)
	path := makeRoot(t, conn) + "/" + m.Name()
	if _, err := conn.Create(path, []byte(`{"epoch":"9"}`), zk.FlagEphemeral, world); err != nil {
		t.Fatal(err)
	}
	server := open(t, shared)
	register(t, server, m)
	if session, data := owner(t, conn, path); session == conn.SessionID() || data == `{"epoch":"9"}` {
		t.Errorf("it is still %s of session %#x", data, session)
	}
	if err := server.Deregister(t.Context(), m); err != nil {
		t.Fatal(err)
	}
	if exists, _, err := conn.Exists(path); exists || err != nil {
		t.Errorf("exists %t, %v", exists, err)
	}
}

// TestForeignNodeStays does not remove what is no longer its own.
func TestForeignNodeStays(t *testing.T) {
	conn := client(t, shared)
	server := open(t, shared)
	m := member("a", 1)
	register(t, server, m)
	path := rootOf(t) + "/" + m.Name()
	c := newClaim(m, []byte("other"))
	s := &session{root: rootOf(t), conn: conn, ctx: t.Context(), callMax: patience}
	if _, err := server.release(s, c, node{owner: 1, data: []byte("theirs")}, true); err != nil {
		t.Fatal(err)
	}
	if exists, _, err := conn.Exists(path); !exists || err != nil {
		t.Errorf("exists %t, %v", exists, err)
	}
}

// TestFight has two living processes claim one name: they do not take it from
// each other as fast as they can.
func TestFight(t *testing.T) {
	route, one, other := open(t, shared), open(t, shared), open(t, shared)
	wantReady(t, route, true)
	begin := time.Now()
	register(t, one, member("a", 1))
	register(t, other, member("a", 2))
	for range 6 {
		changed := route.Changed()
		select {
		case <-changed:
		case <-time.After(patience):
			t.Fatal("they have come to terms")
		}
	}
	if took := time.Since(begin); took < 400*time.Millisecond {
		t.Errorf("seven takes in %v", took)
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := errors.Join(one.Deregister(ctx, member("a", 1)), other.Deregister(ctx, member("a", 2))); err != nil {
		t.Fatal(err)
	}
	wantMembers(t, route)
}
