package admission

import (
	"fmt"
	"math"
	"net/netip"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func limits(places int, share float64) Limits {
	return Limits{Max: places, ClosingMax: 1 << 20, Policy: Policy{Share: share}}
}

func enter(t *testing.T, table *Table[string], addr, name string) (*Place[string], string) {
	t.Helper()
	place, victim, result := table.Enter(netip.MustParseAddr(addr), name)
	if result != Admitted {
		t.Fatalf("%s from %s: %v, want admitted", name, addr, result)
	}
	if victim == nil {
		return place, ""
	}
	table.Leave(victim)
	return place, victim.Conn
}

// TestNoEvictionWhileThereIsRoom fills a table from one address, far past its
// share.
func TestNoEvictionWhileThereIsRoom(t *testing.T) {
	table := New[string](limits(8, 0.25))
	for i := range 8 {
		if _, victim := enter(t, table, "203.0.113.1", fmt.Sprint(i)); victim != "" {
			t.Fatalf("connection %d evicted %s though %d of 8 places were free", i, victim, 8-i)
		}
	}
}

// TestLongestIdleGoesFirst: with all within their shares, age decides.
func TestLongestIdleGoesFirst(t *testing.T) {
	table := New[string](limits(3, 1))
	a, _ := enter(t, table, "203.0.113.1", "a")
	enter(t, table, "203.0.113.2", "b")
	enter(t, table, "203.0.113.3", "c")
	table.Use(a)
	table.Idle(a) // now the youngest
	for _, want := range []string{"b", "c", "a"} {
		if _, victim := enter(t, table, "203.0.113.9", "new"); victim != want {
			t.Errorf("evicted %q, want %q", victim, want)
		}
	}
}

// TestAddressAboveItsShareGoesFirst: one address fills the table after older
// connections of others. Its oldest connections are evicted until it is within its
// share; after that age decides again.
func TestAddressAboveItsShareGoesFirst(t *testing.T) {
	table := New[string](limits(8, 0.25)) // share: 2
	enter(t, table, "203.0.113.1", "old")
	for i := range 5 {
		enter(t, table, "203.0.113.2", fmt.Sprint("many", i))
	}
	for i := range 2 {
		enter(t, table, "203.0.113.3", fmt.Sprint("some", i))
	}
	for i, want := range []string{"many0", "many1", "many2", "old"} {
		if _, victim := enter(t, table, fmt.Sprint("203.0.113.1", i), "new"); victim != want {
			t.Errorf("evicted %q, want %q", victim, want)
		}
	}
}

// TestInUseIsNeverEvicted: a table full of connections in use refuses new ones,
// even if one address has all of them.
func TestInUseIsNeverEvicted(t *testing.T) {
	table := New[string](limits(3, 0.34))
	for i := range 3 {
		place, _ := enter(t, table, "203.0.113.1", fmt.Sprint(i))
		table.Use(place)
	}
	place, victim, result := table.Enter(netip.MustParseAddr("203.0.113.2"), "new")
	if place != nil || victim != nil || result != Full || result.String() != "full" {
		t.Errorf("%v, %v, %v, want refused as full", place, victim, result)
	}
}

// TestVictimCannotBeginToWork: its request may arrive while it is being evicted.
func TestVictimCannotBeginToWork(t *testing.T) {
	table := New[string](limits(1, 1))
	first, _ := enter(t, table, "203.0.113.1", "first")
	_, victim, _ := table.Enter(netip.MustParseAddr("203.0.113.2"), "second")
	if victim != first {
		t.Fatalf("victim %v, want the first connection", victim)
	}
	if table.Use(first) {
		t.Error("an evicted connection was let begin")
	}
	if table.Closing() != 1 {
		t.Errorf("%d closing, want 1", table.Closing())
	}
	table.Leave(first)
	table.Leave(first)
	if table.Closing() != 0 || table.Len() != 1 || table.Use(first) {
		t.Errorf("%d closing, %d places, want 0 and 1", table.Closing(), table.Len())
	}
}

// TestClosingIsBounded: while evicted connections do not close, new ones are
// refused.
func TestClosingIsBounded(t *testing.T) {
	table := New[string](Limits{Max: 2, ClosingMax: 1, Policy: DefaultPolicy()})
	addr := netip.MustParseAddr("203.0.113.1")
	for range 2 {
		table.Enter(addr, "old")
	}
	_, victim, _ := table.Enter(addr, "new")
	if _, _, result := table.Enter(addr, "newer"); result != Closing || result.String() != "closing" {
		t.Errorf("%v with a victim that has not left, want closing", result)
	}
	table.Leave(victim)
	if _, _, result := table.Enter(addr, "newer"); result != Admitted {
		t.Errorf("%v after it has left, want admitted", result)
	}
}

// TestExemptHaveNoShare: for loopback and proxies only age counts.
func TestExemptHaveNoShare(t *testing.T) {
	for _, addr := range []string{"127.0.0.1", "::1", "::ffff:127.3.2.1", "192.0.2.7", "2001:db8:1:2::9"} {
		limits := limits(4, 0.25)
		limits.Policy.Trusted = []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24"), netip.MustParsePrefix("2001:db8:1::/48")}
		table := New[string](limits)
		enter(t, table, "203.0.113.1", "old")
		for range 3 {
			enter(t, table, addr, "many")
		}
		if _, victim := enter(t, table, "203.0.113.2", "new"); victim != "old" {
			t.Errorf("%s: evicted %q, want the oldest, since the address is exempt", addr, victim)
		}
		limits.Policy.Trusted, limits.Policy.LoopbackCounts = nil, true
		if limits.Policy.Exempt(netip.MustParseAddr(addr)) {
			t.Errorf("%s is exempt though nothing says so", addr)
		}
	}
}

// TestIPv6CountsBySixtyFourBits: a customer has 2^64 addresses.
func TestIPv6CountsBySixtyFourBits(t *testing.T) {
	table := New[string](limits(4, 0.25))
	enter(t, table, "2001:db8::1", "old")
	for i := range 3 {
		enter(t, table, fmt.Sprintf("2001:db8:0:7::%x", i+1), fmt.Sprint("many", i))
	}
	if _, victim := enter(t, table, "2001:db8:0:8::1", "new"); victim != "many0" {
		t.Errorf("evicted %q, want the oldest of 2001:db8:0:7::/64", victim)
	}
}

// TestShareIsChecked tries the edges and what lies beyond them.
func TestShareIsChecked(t *testing.T) {
	for share, good := range map[float64]bool{
		ShareMin: true, ShareMax: true, ShareDefault: true,
		0: false, ShareMin - 0.001: false, ShareMax + 0.001: false, math.NaN(): false, math.Inf(1): false, -1: false,
	} {
		err := Policy{Share: share}.Check()
		if (err == nil) != good || err != nil && !strings.Contains(err.Error(), fmt.Sprint(share)) {
			t.Errorf("share %v: %v", share, err)
		}
	}
}

// TestTableAgainstModel makes random calls to a table, and to a model that finds
// each victim by a full search.
func TestTableAgainstModel(t *testing.T) {
	addrs := []string{"203.0.113.1", "203.0.113.2", "203.0.113.3", "127.0.0.1", "192.0.2.1", "2001:db8:0:7::1", "2001:db8:0:7::2"}
	rapid.Check(t, func(t *rapid.T) {
		m := model{limits: Limits{
			Max:        rapid.IntRange(1, 12).Draw(t, "places"),
			ClosingMax: rapid.IntRange(1, 3).Draw(t, "closing"),
			Policy: Policy{
				Share:   rapid.Float64Range(ShareMin, ShareMax).Draw(t, "share"),
				Trusted: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")},
			},
		}}
		table := New[*member](m.limits)
		some := func(t *rapid.T) *member {
			if len(m.members) == 0 {
				t.Skip("the table is empty")
			}
			return rapid.SampledFrom(m.members).Draw(t, "member")
		}
		t.Repeat(map[string]func(*rapid.T){
			"enter": func(t *rapid.T) {
				one := &member{addr: netip.MustParseAddr(rapid.SampledFrom(addrs).Draw(t, "addr"))}
				want, wantVictim := m.enter(one)
				place, victim, result := table.Enter(one.addr, one)
				one.place = place
				if result != want || (victim == nil) != (wantVictim == nil) {
					t.Fatalf("%v, victim %v, want %v, %v", result, victim, want, wantVictim)
				}
				if victim != nil && !m.mayBe(victim.Conn, wantVictim) {
					t.Fatalf("victim from %v since %d, want one from %v since %d",
						victim.Conn.addr, victim.Conn.since, wantVictim.addr, wantVictim.since)
				}
				if victim != nil {
					victim.Conn.state = closing
				}
				if (place != nil) != (result == Admitted) {
					t.Fatalf("%v with place %v", result, place)
				}
				m.settle(one, result)
			},
			"use": func(t *rapid.T) {
				one := some(t)
				if got, want := table.Use(one.place), one.state == evictable || one.state == inUse; got != want {
					t.Fatalf("use: %v, want %v", got, want)
				}
				if one.state == evictable {
					one.state = inUse
				}
			},
			"idle": func(t *rapid.T) {
				one := some(t)
				table.Idle(one.place)
				if one.state == inUse {
					one.state, one.since = evictable, m.tick()
				}
			},
			"leave": func(t *rapid.T) {
				one := some(t)
				table.Leave(one.place)
				one.state = left
			},
			"": func(t *rapid.T) {
				if got, want := [3]int{table.Len(), table.Evictable(), table.Closing()},
					[3]int{m.count(evictable) + m.count(inUse), m.count(evictable), m.count(closing)}; got != want {
					t.Fatalf("places, evictable, closing: %v, want %v", got, want)
				}
				if table.Len() > m.limits.Max || table.Closing() > m.limits.ClosingMax {
					t.Fatalf("%d places, %d closing: past the bounds", table.Len(), table.Closing())
				}
				if got, want := len(table.addresses), m.sources(); got != want {
					t.Fatalf("%d addresses are kept, want %d", got, want)
				}
			},
		})
	})
}

type member struct {
	addr  netip.Addr
	state state
	since int
	place *Place[*member]
}

type model struct {
	limits  Limits
	members []*member
	now     int
}

func (m *model) tick() int { m.now++; return m.now }

func (m *model) count(s state) int {
	n := 0
	for _, one := range m.members {
		if one.state == s {
			n++
		}
	}
	return n
}

func (m *model) sources() int {
	seen := map[netip.Addr]bool{}
	for _, one := range m.members {
		if one.state != left && !m.limits.Policy.Exempt(one.addr) {
			seen[Source(one.addr)] = true
		}
	}
	return len(seen)
}

// held counts the evictable connections of one's address; 0 if it is exempt.
func (m *model) held(one *member) int {
	n := 0
	for _, other := range m.members {
		if other.state == evictable && Source(other.addr) == Source(one.addr) {
			n++
		}
	}
	if m.limits.Policy.Exempt(one.addr) || n <= max(1, int(m.limits.Policy.Share*float64(m.limits.Max))) {
		return 0
	}
	return n
}

// enter returns the expected result and victim.
func (m *model) enter(*member) (Result, *member) {
	if m.count(evictable)+m.count(inUse) < m.limits.Max {
		return Admitted, nil
	}
	var victim *member
	for _, other := range m.members {
		if other.state == evictable && (victim == nil || m.before(other, victim)) {
			victim = other
		}
	}
	switch {
	case victim == nil:
		return Full, nil
	case m.count(closing) >= m.limits.ClosingMax:
		return Closing, nil
	}
	return Admitted, victim
}

func (m *model) before(a, b *member) bool {
	if x, y := m.held(a), m.held(b); x != y {
		return x > y
	}
	return a.since < b.since
}

// mayBe accepts any address of several that hold equally many.
func (m *model) mayBe(got, want *member) bool {
	if got == want {
		return true
	}
	if m.held(want) == 0 || m.held(got) != m.held(want) {
		return false
	}
	for _, other := range m.members {
		if other.state == evictable && Source(other.addr) == Source(got.addr) && other.since < got.since {
			return false
		}
	}
	return true
}

func (m *model) settle(one *member, result Result) {
	if result != Admitted {
		return
	}
	one.state, one.since = evictable, m.tick()
	kept := m.members[:0]
	for _, other := range m.members {
		if other.state != left {
			kept = append(kept, other)
		}
	}
	m.members = append(kept, one)
}

// BenchmarkUseIdle is what a request costs: it must not allocate.
func BenchmarkUseIdle(b *testing.B) {
	table := New[int](limits(4096, 0.01))
	places := make([]*Place[int], 4096)
	for i := range places {
		places[i], _, _ = table.Enter(netip.AddrFrom4([4]byte{203, 0, 113, byte(i % 64)}), i)
	}
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		p := places[i%len(places)]
		table.Use(p)
		table.Idle(p)
		i++
	}
}

// TestPlacesShrink: an owner with fewer places than Max evicts by the share of
// those.
func TestPlacesShrink(t *testing.T) {
	many := limits(100, 0.25)
	many.Shrinks = true
	table := New[string](many)
	enter(t, table, "203.0.113.1", "old")
	used, _ := enter(t, table, "203.0.113.2", "used")
	for i := range 4 {
		enter(t, table, "203.0.113.3", fmt.Sprint("many", i))
	}
	enter(t, table, "127.0.0.1", "loopback")
	if !table.Use(used) {
		t.Fatal("it was evicted")
	}
	addr := netip.MustParseAddr("203.0.113.3")
	for i, want := range []string{"many0", "many1", "old", "many2", "many3", "loopback"} {
		if oldest := table.Oldest().Conn; i < 3 && oldest != "old" {
			t.Errorf("the oldest is %q, want old", oldest)
		}
		if victim := table.Evict(8); victim == nil || victim.Conn != want { // a share of 2
			t.Fatalf("evicted %+v, want %s", victim, want)
		}
	}
	if victim := table.Evict(8); victim != nil {
		t.Errorf("evicted %+v, want none: what is left is in use", victim)
	}
	if table.Len() != 1 || table.Closing() != 0 || table.Held(addr) != 0 {
		t.Errorf("%d places, %d closing, %d of the address, want 1, 0 and 0", table.Len(), table.Closing(), table.Held(addr))
	}
}

// TestUseKeepsNoQueue: a connection in use has no queue, and requests do not
// allocate any.
func TestUseKeepsNoQueue(t *testing.T) {
	table := New[string](limits(2*sparesMax, 1))
	var places []*Place[string]
	for i := range 2 * sparesMax {
		place, _ := enter(t, table, "203.0.113.1", fmt.Sprint(i))
		places = append(places, place)
	}
	for _, place := range places {
		table.Use(place)
		if place.queue != nil {
			t.Fatal("a connection in use still has a queue")
		}
	}
	if len(table.spares) != sparesMax {
		t.Errorf("%d spare queues, want %d", len(table.spares), sparesMax)
	}
	allocations := testing.AllocsPerRun(100, func() {
		table.Idle(places[0])
		table.Use(places[0])
	})
	if allocations != 0 {
		t.Errorf("%v allocations for a request, want none", allocations)
	}
}
