package bench

import (
	"slices"
	"testing"
)

// TestOrder: each turn has all scenarios, a load's together; each system is the
// first once in as many turns as there are, and follows no other always.
func TestOrder(t *testing.T) {
	c := Config{Peers: true, Seed: 3, Scenarios: Peers()[:11]}.completed() // the first two loads
	groups, privates := 6, 5
	before := make(map[[2]int]int)
	firsts := make(map[int]int)
	for turn := range groups {
		order := c.order(turn)
		if sorted := slices.Sorted(slices.Values(order)); len(sorted) != len(c.Scenarios) || sorted[0] != 0 || sorted[len(sorted)-1] != len(sorted)-1 || len(slices.Compact(sorted)) != len(sorted) {
			t.Fatalf("turn %d: %v", turn, order)
		}
		if slices.Max(order[:groups]) >= groups || len(order) != groups+privates {
			t.Errorf("turn %d: %v", turn, order)
		}
		firsts[order[0]]++
		for i := range order[1:] {
			before[[2]int{order[i], order[i+1]}]++
		}
	}
	if len(firsts) != groups {
		t.Errorf("first are %v", firsts)
	}
	for pair, times := range before {
		if pair[1] < groups && times != 1 { // each follows each other once
			t.Errorf("%v follow each other %d times", pair, times)
		}
		if pair[0] >= groups && times > 3 {
			t.Errorf("%v follow each other %d times in %d turns", pair, times, groups)
		}
	}
	if len(before) < groups*(groups-1) {
		t.Errorf("%v", before)
	}
}

// TestOrderSeed: the first turn of the first seed is nearly in the written order, other seeds start
// elsewhere, and a single scenario runs once.
func TestOrderSeed(t *testing.T) {
	c := Config{Seed: 1, Scenarios: []Scenario{{Name: "a"}, {Name: "b"}, {Name: "b"}, {Name: "b"}, {Name: "c"}, {Name: "c"}}}
	for seed, want := range map[uint64][]int{1: {0, 1, 2, 3, 4, 5}, 2: {0, 2, 3, 1, 5, 4}, 1<<64 - 1: {0, 3, 1, 2, 4, 5}} {
		c.Seed = seed
		if got := c.order(0); !slices.Equal(got, want) {
			t.Errorf("seed %d: %v, want %v", seed, got, want)
		}
	}
	if got := c.order(1); slices.Equal(got, c.order(0)) {
		t.Errorf("two turns have one order, %v", got)
	}
}

func TestZigzag(t *testing.T) {
	for n, want := range [][]int{{}, {0}, {0, 1}, {0, 1, 2}, {0, 1, 3, 2}, {0, 1, 4, 2, 3}, {0, 1, 5, 2, 4, 3}} {
		if got := zigzag(n); !slices.Equal(got, want) {
			t.Errorf("%d: %v, want %v", n, got, want)
		}
	}
}
