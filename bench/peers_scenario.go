package bench

import "slices"

// Peers are the scenarios in which systems that others would pick stand beside
// ours: each load goes to one after the other before the next load, so that
// what disturbs the machine for a while disturbs all. Only our own figures are
// promised anything, elsewhere.
func Peers() []Scenario {
	besides := []*kind{&standaloneKind, &natsKind, &redisKind, &mosquittoKind, &floorKind}
	measured := []string{"--via", "conn", "--verify", "--warmup", "1s", "--duration", "3s"}
	with := func(load ...string) []string { return append(load, measured...) }
	return slices.Concat(
		onEach(Scenario{
			Name: "group, 1,000 receivers", Load: with("--mode", "group", "--conns", "1001", "--window", "1,16"),
			Figures: []Figure{
				cpu("window 1, CPU a delivery", 0, 0), rate("window 1, deliveries", 0, 0),
				cpu("window 16, CPU a delivery", 1, 0), rate("window 16, deliveries", 1, 0),
			},
		}, append(besides, &pairKind)...),
		onEach(Scenario{
			Name: "private, 1,000 clients, 5,000/s", Load: with("--mode", "private", "--conns", "1000", "--rate", "5000"),
			Figures: []Figure{cpu("CPU a message", 0, 0), p50(0), p99(0)},
		}, besides...),
	)
}

// onEach is the scenario on each of the systems.
func onEach(s Scenario, kinds ...*kind) []Scenario {
	var all []Scenario
	for _, k := range kinds {
		s.kind = k
		all = append(all, s)
	}
	return all
}

// withFloor puts behind each scenario that sends the same load on the floor, by
// which report tells how far from the machine's limit the system is.
func withFloor(scenarios []Scenario) []Scenario {
	var all []Scenario
	for _, s := range scenarios {
		all = append(all, s)
		if slices.Contains(s.Load, "--via") {
			bare := Scenario{Name: s.Name, Load: withoutWant(s.Load), Figures: promisedNothing(s.Figures), kind: &floorKind}
			bare.Load[slices.Index(bare.Load, "--via")+1] = "conn"
			all = append(all, bare)
		}
	}
	return all
}

// withoutWant is the same load without a promise that only ours can be asked
// for.
func withoutWant(load []string) []string {
	load = slices.Clone(load)
	if at := slices.Index(load, "--want"); at >= 0 {
		load = slices.Delete(load, at, at+2)
	}
	return load
}

// promisedNothing are the same figures of a system that promises none of them.
func promisedNothing(figures []Figure) []Figure {
	figures = slices.Clone(figures)
	for i := range figures {
		figures[i].Reach, figures[i].FloorTimes = 0, 0
	}
	return figures
}
