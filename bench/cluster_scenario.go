package bench

import "cim/loadgen"

// connsHeld is how many connections each of the two load generators of the
// idle scenario has: within 20,000 descriptors a process.
const connsHeld = 18_000

// clusterFigures is what the project promises of two servers and two routes on
// one machine with two cores.
func clusterFigures() []Scenario {
	measured := []string{"--warmup", "2s", "--duration", "5s"}
	with := func(load ...string) []string { return append(load, measured...) }
	return []Scenario{
		{
			Name: "private over HTTP, 1,000 clients on two servers, 5,000/s",
			Load: with("--mode", "private", "--via", "http", "--conns", "1000", "--rate", "5000"),
			Figures: []Figure{
				p50(0.35), p99(1.5), cpu("CPU a message, of servers, routes and Redis", 0, 180),
			},
		},
		{
			Name: "group, 1,000 and 10,000 receivers on two servers",
			Load: with("--mode", "group", "--via", "http", "--conns", "1001,10001", "--window", "1"),
			Figures: []Figure{
				cpu("1,000: CPU a delivery, of all", 0, 8), cpu("10,000: CPU a delivery, of all", 1, 8),
			},
		},
		{
			Name: "36,000 connections on two servers, held for 2 minutes", Processes: 2,
			Load:    []string{"--mode", "idle", "--conns", "18000", "--duration", "2m"},
			Figures: []Figure{held(2 * connsHeld)},
		},
	}
}

// held counts the connections that were there from the login to the end.
func held(reach float64) Figure {
	return Figure{
		Name: "connections held", Unit: "", Anywhere: true, Reach: reach, Bound: AtLeast,
		Number: func(t loadgen.Trial) float64 { return float64(t.Conns - t.Ended) },
		Merge:  func(a, b float64) float64 { return a + b },
	}
}
