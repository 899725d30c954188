package bench

// order is the order of the scenarios in one turn. Scenarios with the same load, of several
// systems, stay together. Which of them comes first, and which follows which, differs from turn to
// turn, so that no system always follows the same one and gets its heat, its caches or its lowered
// clock.
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

// zigzag is 0, 1, n-1, 2, n-2 and so on. If each turn starts one further, then for an even n each
// follows each other one once in n turns.
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
