package zk

import (
	"testing"

	"github.com/go-zookeeper/zk"
)

// TestNode has the bytes that other processes read, and its member seen by
// another Registry until it deregisters.
func TestNode(t *testing.T) {
	server, route := open(t, shared), open(t, shared)
	wantMembers(t, route)
	m := member("10.0.0.7", 7)
	register(t, server, m)
	wantMembers(t, route, m)

	path := rootOf(t) + "/10.0.0.7:11211:8081"
	data, stat, err := client(t, shared).Get(path)
	if err != nil {
		t.Fatal(err)
	}
	if want := `{"epoch":"7","link":"10.0.0.7:9000","version":2}`; string(data) != want {
		t.Errorf("data %s, want %s", data, want)
	}
	if stat.EphemeralOwner == 0 {
		t.Error("the node is not ephemeral")
	}
	acl, _, err := client(t, shared).GetACL(path)
	if err != nil || len(acl) != 1 || acl[0] != (zk.ACL{Perms: zk.PermAll, Scheme: "world", ID: "anyone"}) {
		t.Errorf("ACL %v, %v", acl, err)
	}

	if err := server.Deregister(t.Context(), member("10.0.0.7", 6)); err != nil {
		t.Fatal(err)
	}
	if exists, _, err := client(t, shared).Exists(path); !exists || err != nil {
		t.Fatalf("an earlier run's end removed it: %v", err)
	}
	if err := server.Deregister(t.Context(), m); err != nil {
		t.Fatal(err)
	}
	wantMembers(t, route)
	if err := route.Ready(); err != nil {
		t.Error(err)
	}
}
