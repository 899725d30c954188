package zk

import (
	"slices"
	"testing"
	"time"

	"github.com/go-zookeeper/zk"

	"cim/proto"
)

// TestRouteMakesNothing watches a root that does not exist, and sees it come.
func TestRouteMakesNothing(t *testing.T) {
	route := open(t, shared)
	wantReady(t, route, true)
	conn := client(t, shared)
	if exists, _, err := conn.Exists("/" + t.Name()); exists || err != nil {
		t.Fatalf("it made a node: %v", err)
	}
	makeNodes(t, conn, [2]string{makeRoot(t, conn) + "/10.0.0.7:1:2", ""})
	wantMembers(t, route, proto.Member{Host: "10.0.0.7", CIMPort: 1, HTTPPort: 2})
}

// TestStrangeNodes keeps a Java server's node and leaves out what is nobody's.
func TestStrangeNodes(t *testing.T) {
	conn := client(t, shared)
	root := makeRoot(t, conn) + "/"
	makeNodes(t, conn,
		[2]string{root + "b:11211:8081", `{"epoch":"9","link":"b:9000","version":2}`},
		[2]string{root + "a:11211:8081", ""},
		[2]string{root + "c:11211:8081", "\xac\xed\x00\x05p"},
		[2]string{root + "d:11211:8081", `{"epoch":"8"}` + string(make([]byte, proto.MemberDataMax))},
		[2]string{root + "lock", ""},
		[2]string{root + "a:0:8081", ""},
		[2]string{root + "a:011211:8081", ""},
		[2]string{root + "a:11211:8081:1", ""})
	route := open(t, shared)
	var want []proto.Member
	for _, host := range []string{"a", "b", "c", "d"} {
		want = append(want, proto.Member{Host: host, CIMPort: 11211, HTTPPort: 8081})
	}
	want[1] = member("b", 9)
	wantMembers(t, route, want...)
}

// TestDataChanged sees data that changed under no watch at the next look.
func TestDataChanged(t *testing.T) {
	conn := client(t, shared)
	path := makeRoot(t, conn) + "/a:11211:8081"
	makeNodes(t, conn, [2]string{path, ""})
	route := openAt(t, shared.Addr, patience, 20*time.Millisecond)
	wantMembers(t, route, proto.Member{Host: "a", CIMPort: 11211, HTTPPort: 8081})
	if _, err := conn.Set(path, []byte(`{"epoch":"1","link":"a:9000","version":2}`), 0); err != nil {
		t.Fatal(err)
	}
	wantMembers(t, route, member("a", 1))
}

// TestMany reads more nodes than it reads at once.
func TestMany(t *testing.T) {
	conn := client(t, shared)
	root := makeRoot(t, conn)
	var want []proto.Member
	for i := range 10 * readsAtOnce {
		m := proto.Member{Host: "a", CIMPort: 1 + i*7919%100, HTTPPort: 1}
		makeNodes(t, conn, [2]string{root + "/" + m.Name(), ""})
		want = append(want, m)
	}
	slices.SortFunc(want, byName)
	wantMembers(t, open(t, shared), want...)
}

// TestKept publishes members that have vanished until the grace is over, and
// not longer; who came back with a new epoch is not kept as the old.
func TestKept(t *testing.T) {
	r := &Registry{config: Config{}.withDefaults(), changed: make(chan struct{})}
	r.adopt(nodesOf(member("a", 1), member("b", 1), member("c", 1)))
	changed := r.Changed()
	r.keepUntil = time.Now().Add(time.Hour)
	r.adopt(nil)
	select {
	case <-changed:
		t.Error("told of a change")
	default:
	}
	wantMembers(t, r, member("a", 1), member("b", 1), member("c", 1))
	r.adopt(nodesOf(member("b", 2), member("d", 1)))
	wantMembers(t, r, member("a", 1), member("b", 2), member("c", 1), member("d", 1))
	r.keepUntil = time.Now()
	r.adopt(nodesOf(member("b", 2)))
	wantMembers(t, r, member("b", 2))
	select {
	case <-changed:
	default:
		t.Error("not told of the change")
	}
}

func nodesOf(members ...proto.Member) map[string]node {
	found := make(map[string]node)
	for _, m := range members {
		found[m.Name()] = node{member: m}
	}
	return found
}

// TestMembersMax reads as many children as are allowed; one more leaves the
// last snapshot standing, and says why.
func TestMembersMax(t *testing.T) {
	conn := client(t, shared)
	root := makeRoot(t, conn)
	for at := 0; at < membersMax; at += 512 {
		var ops []any
		for i := range 512 {
			ops = append(ops, &zk.CreateRequest{Path: root + "/" + proto.Member{Host: "a", CIMPort: at + i + 1, HTTPPort: 1}.Name(), Acl: world})
		}
		if _, err := conn.Multi(ops...); err != nil {
			t.Fatal(err)
		}
	}
	route := open(t, shared)
	until(t, "all are read", func() bool { return len(route.Snapshot().Members) == membersMax })
	makeNodes(t, conn, [2]string{root + "/one-more", ""})
	wantReady(t, route, false)
	if got := len(route.Snapshot().Members); got != membersMax {
		t.Errorf("%d members stand", got)
	}
}
