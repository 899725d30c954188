package bench

// order is in which order the scenarios are run in one turn. Those with one
// load, of several systems, stay together; which of them comes first and which
// follows which differs from turn to turn, so that no system always bears what
// the same one has left behind: heat, caches, a clock that was lowered.
func (c Config) order(turn int) (order []int) {
	for first := 0; first < len(c.Scenarios); {
		n := 1
		for first+n < len(c.Scenarios) && c.Scenarios[first+n].Name == c.Scenarios[first].Name {
			n++
		}
		from := (int((c.Seed-1)%uint64(n)) + turn) % n
		for _, step := range zigzag(n) {
			order = append(order, first+(from+step)%n)
		}
		first += n
	}
	return order
}

// zigzag is 0, 1, n-1, 2, n-2 and so on. If each turn begins one further, each
// of an even number follows each other one once in n turns.
func zigzag(n int) []int {
	steps := make([]int, n)
	for i := range steps {
		steps[i] = (i + 1) / 2
		if i%2 == 0 {
			steps[i] = (n - i/2) % n
		}
	}
	return steps
}
