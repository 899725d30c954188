package route

import (
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"

	"cim/internal/link"
	"cim/internal/metrics"
	"cim/proto"
)

// linkedServers returns servers of these names whose links count as up for a choice.
func linkedServers(t *testing.T, names ...string) []*server {
	t.Helper()
	counters := newCounters(metrics.NewSet())
	var all []*server
	for i, name := range names {
		m, err := proto.ParseMemberName(name)
		if err != nil {
			t.Fatal(err)
		}
		m.Epoch = proto.Epoch(i + 1)
		s := newServer(m, counters)
		near, _ := link.Pair(1)
		s.stream.Store(newStream(near))
		all = append(all, s)
	}
	return all
}

func namesOf(servers []*server) []string {
	var names []string
	for _, s := range servers {
		names = append(names, s.member.Name())
	}
	return names
}

// TestRingGolden holds the consistent hash against orders that another program
// computed from the contract.
func TestRingGolden(t *testing.T) {
	golden, err := os.ReadFile("testdata/ring.golden")
	if err != nil {
		t.Fatal(err)
	}
	lines := 0
	for line := range strings.Lines(string(golden)) {
		if strings.HasPrefix(line, "#") {
			continue
		}
		lines++
		parts := strings.Split(strings.TrimSpace(line), " | ")
		user, err := strconv.ParseInt(parts[1], 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		all := linkedServers(t, strings.Split(parts[0], ",")...)
		c := &choice{kind: ChoiceHash}
		got := strings.Join(namesOf(c.order(newServers(all), proto.UserID(user))), ",")
		if got != parts[2] {
			t.Errorf("%s, user %d: order %s, want %s", parts[0], user, got, parts[2])
		}
	}
	if lines != 44 {
		t.Errorf("%d lines, want 44", lines)
	}
}

// TestRingEdge: the first node at the key's own hash is the one, and one past
// it the next.
func TestRingEdge(t *testing.T) {
	all := linkedServers(t, "a:1:1", "b:1:1")
	at := ringHash("7")
	for _, c := range []struct {
		name string
		r    ring
		want string
	}{
		{"at", ring{{at, all[0]}, {at + 1, all[1]}}, "a:1:1,b:1:1"},
		{"one before", ring{{at - 1, all[0]}, {at + 1, all[1]}}, "b:1:1,a:1:1"},
		{"past all", ring{{at - 2, all[1]}, {at - 1, all[0]}}, "b:1:1,a:1:1"},
		{"none", nil, ""},
	} {
		if got := strings.Join(namesOf(c.r.order(7)), ","); got != c.want {
			t.Errorf("%s: order %s, want %s", c.name, got, c.want)
		}
	}
}

// TestChoiceOrder: each choice has every linked server once, and no other.
func TestChoiceOrder(t *testing.T) {
	all := linkedServers(t, "a:1:1", "b:1:1", "c:1:1", "d:1:1")
	all[2].stream.Store(nil)
	servers := newServers(all)
	for _, kind := range []ServerChoice{ChoiceHash, ChoiceRoundRobin, ChoiceRandom} {
		c := &choice{kind: kind}
		for user := range proto.UserID(20) {
			got := namesOf(c.order(servers, user))
			slices.Sort(got)
			if !slices.Equal(got, []string{"a:1:1", "b:1:1", "d:1:1"}) {
				t.Errorf("%s: order has %v", kind, got)
			}
		}
		if got := c.order(newServers(nil), 1); len(got) != 0 {
			t.Errorf("%s of no servers: %v", kind, namesOf(got))
		}
	}
}

// TestRoundRobin takes the servers in turn.
func TestRoundRobin(t *testing.T) {
	servers := newServers(linkedServers(t, "a:1:1", "b:1:1", "c:1:1"))
	c := &choice{kind: ChoiceRoundRobin}
	var got []string
	for range 6 {
		order := namesOf(c.order(servers, 1))
		got = append(got, order[0]+">"+order[1])
	}
	want := []string{
		"a:1:1>b:1:1", "b:1:1>c:1:1", "c:1:1>a:1:1", "a:1:1>b:1:1", "b:1:1>c:1:1", "c:1:1>a:1:1",
	}
	if !slices.Equal(got, want) {
		t.Errorf("turns %v, want %v", got, want)
	}
}

// TestRandomSpreads: no server is left out. A fair choice misses one of three
// in 200 with a chance of 1e-35.
func TestRandomSpreads(t *testing.T) {
	servers := newServers(linkedServers(t, "a:1:1", "b:1:1", "c:1:1"))
	c := &choice{kind: ChoiceRandom}
	first := map[string]int{}
	for range 200 {
		first[namesOf(c.order(servers, 1))[0]]++
	}
	if len(first) != 3 {
		t.Errorf("first choices %v", first)
	}
}
