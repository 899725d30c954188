package bench

import (
	"slices"
	"strconv"
)

// Peers are the scenarios with other systems beside ours. Each load goes to one system after the
// other before the next load, so that a disturbance of the machine affects all. Only our own
// figures have promises, elsewhere. Six turns of all scenarios take 25 minutes: each is short, and
// the turns make up for that.
func Peers() []Scenario { return slices.Concat(groupPeers(), privatePeers(), loginPeers()) }

// besides are the systems that promise at most once, ours, and the floor.
var besides = []*kind{&standaloneKind, &natsKind, &redisKind, &mosquittoKind, &floorKind}

// overConn is a load over the sender's connection that is measured for so long.
func overConn(warmup, duration string, load ...string) []string {
	return append(load, "--via", "conn", "--verify", "--warmup", warmup, "--duration", duration)
}

func groupPeers() []Scenario {
	return slices.Concat(
		onEach(Scenario{
			Name: "group, 1,000 receivers", Load: overConn("500ms", "1500ms", "--mode", "group", "--conns", "1001", "--window", "1,16,64"),
			Figures: slices.Concat(atWindow(0, 1), atWindow(1, 16), atWindow(2, 64)),
		}, append(slices.Clone(besides), &pairKind)...),
		onEach(Scenario{
			Name: "group, 10,000 receivers", Load: overConn("1s", "2s", "--mode", "group", "--conns", "10001", "--window", "1"),
			Figures: atWindow(0, 1),
		}, besides...),
		onEach(Scenario{
			Name: "group, 1,000 receivers, 50/s", Load: overConn("500ms", "2s", "--mode", "group", "--conns", "1001", "--rate", "50"),
			Figures: []Figure{cpu("CPU a delivery", 0, 0), p50(0), p99(0)},
		}, besides...),
	)
}

func privatePeers() []Scenario {
	private := func(rate string) []string {
		return overConn("500ms", "3s", "--mode", "private", "--conns", "1000", "--rate", rate)
	}
	overHTTP := private("5000,20000")
	overHTTP[slices.Index(overHTTP, "--via")+1] = "http"
	delivered := []Figure{cpu("CPU a message", 0, 0), p50(0), p99(0)}
	answered := append(slices.Clone(delivered), outcome50(0), outcome99(0))
	leastOnce := Scenario{Name: "private, 1,000 clients, 1,000/s, at least once", Load: private("1000"), Figures: answered}
	// Only ours can be asked to answer once the receiver is done with a message.
	received := leastOnce
	received.Figures = append(delivered, outcome50(0).called("p50 until it is received"), outcome99(0).called("p99 until it is received"))
	once := Scenario{
		Name: "private over the connection, 1,000 clients", Load: private("1000,5000,20000"),
		Figures: slices.Concat(atRate(0, "1,000/s"), atRate(1, "5,000/s"), atRate(2, "20,000/s")),
	}
	// The others answer nothing, so only ours could gain by holding answers back.
	outcomes := once
	outcomes.Figures = slices.Concat(once.Figures, at(0, "1,000/s", outcome99(0)), at(1, "5,000/s", outcome99(0)), at(2, "20,000/s", outcome99(0)))
	return slices.Concat(
		onEach(outcomes, besides[0]),
		onEach(once, besides[1:]...),
		onEach(Scenario{
			Name: "private over HTTP, 1,000 clients", Load: overHTTP,
			Figures: slices.Concat(atRate(0, "5,000/s"), atRate(1, "20,000/s")),
		}, &standaloneKind, &httpFloorKind),
		onEach(leastOnce, &standaloneKind),
		onEach(received, &receivedKind),
		onEach(leastOnce, &qos1Kind, &streamsKind),
		onEach(Scenario{
			Name: "private, 1,000 clients, 500/s, on the disk", Load: private("500"), Figures: answered,
		}, &storedKind, &syncedKind),
	)
}

func loginPeers() []Scenario {
	asking := []*kind{&standaloneKind}
	for _, k := range besides[1:4] {
		asking = append(asking, withRequests(k))
	}
	conns := strconv.Itoa(loginsMeasured)
	return slices.Concat(
		onEach(Scenario{
			Name: "10,000 logins", Load: []string{"--mode", "storm", "--conns", conns, "--duration", "1s"},
			Figures: []Figure{loginCPU(0), logins(0)},
		}, asking...),
		onEach(Scenario{
			Name: "10,000 connections, idle", Load: []string{"--mode", "idle", "--conns", conns, "--duration", "6s"},
			Figures: []Figure{memory(0)},
		}, besides[:4]...),
	)
}

// atWindow are the figures of a trial with that many messages outstanding.
func atWindow(trial, window int) []Figure {
	name := "window " + strconv.Itoa(window) + ", "
	return []Figure{cpu(name+"CPU a delivery", trial, 0), rate(name+"deliveries", trial, 0)}
}

// called is the figure under another name, by which it stands beside no other.
func (f Figure) called(name string) Figure {
	f.Name = name
	return f
}

// atRate are the figures of a trial with that many messages a second.
func atRate(trial int, name string) []Figure {
	return at(trial, name, cpu("CPU a message", trial, 0), p50(0), p99(0))
}

// at are the figures of a trial, with its name before theirs.
func at(trial int, name string, figures ...Figure) []Figure {
	for i := range figures {
		figures[i].Name, figures[i].Trial = name+", "+figures[i].Name, trial
	}
	return figures
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

// withFloor puts behind each scenario the one that sends the same load on the floor. By it the
// report shows how far from the machine's limit the system is.
func withFloor(scenarios []Scenario) []Scenario {
	var all []Scenario
	for _, s := range scenarios {
		all = append(all, s)
		if slices.Contains(s.Load, "--via") {
			all = append(all, floorOf(s))
		}
	}
	return all
}

// floorOf is the scenario on the floor. Over HTTP the floor has private messages only; group
// messages have the floor of the connection.
func floorOf(s Scenario) Scenario {
	bare := Scenario{Name: s.Name, Load: withoutWant(s.Load), Figures: promisedNothing(s.Figures), kind: &httpFloorKind}
	if !slices.Contains(s.Load, "private") || !slices.Contains(s.Load, "http") {
		bare.kind = &floorKind
		bare.Load[slices.Index(bare.Load, "--via")+1] = "conn"
	}
	return bare
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
