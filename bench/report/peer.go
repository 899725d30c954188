package report

import (
	"cmp"
	"maps"
	"slices"
)

func sortedKeys(m map[string]string) []string { return slices.Sorted(maps.Keys(m)) }

// peers is the table of the systems that bore the same load in one run, with
// how far each is from the floor. It has no rows if
// there was but one system.
func peers(runs []Run, loads []load) table {
	t := table{
		ID: "peers", Caption: "Times the floor's and times ours: medians of the ratios in each turn. Beyond noise: by a sign test over the turns, at 5 %",
		Head: append(loadHead(runs, "Deliveries/s", "of the floor's, %", "Server CPU, µs a delivery", "times the floor's", "least to most"),
			append(words("times ours"), numbers(append([]string{"p50, ms", "p99, ms"}, wrongHead...)...)...)...),
	}
	for _, l := range besideEachOther(loads) {
		if !l.sends() || !slices.ContainsFunc(loads, func(other load) bool { return other.same(l) && other.System != l.System }) {
			continue
		}
		floor, _ := floorOf(l, loads)
		part := l.against(floor, deliveriesOf)
		cells := []cell{
			figure(l.over(deliveriesOf)), measured(100*part, part > 0),
			l.usual(cpuOf), l.timesFloor(loads), between(l.quotients(floor, cpuOf)), l.timesOurs(loads),
			ms(l.over(p50Of), l.timed()), ms(l.over(p99Of), l.timed()),
		}
		t.Rows = append(t.Rows, newRow(runs, l, append(cells, l.wrong()...)...))
	}
	return t
}

// besideEachOther puts those under the same load next to each other.
func besideEachOther(loads []load) []load {
	return slices.SortedStableFunc(slices.Values(loads), func(a, b load) int {
		return cmp.Or(a.Run-b.Run, a.Scenario-b.Scenario, a.Conns-b.Conns, a.Window-b.Window, a.Rate-b.Rate)
	})
}

// floorOf finds the same load on the bare sender and receiver.
func floorOf(l load, loads []load) (load, bool) {
	at := slices.IndexFunc(loads, func(other load) bool { return other.same(l) && other.System == Floor })
	if at < 0 {
		return load{}, false
	}
	return loads[at], true
}
