package faults

// separation is the cuts between some processes and others.
type separation struct {
	network *network
	cuts    [][2]string // from, to
}

// cutBoth cuts each of some off from each of others, both ways.
func (s *system) cutBoth(some, others []string) *separation {
	return s.separate(append(directions(some, others), directions(others, some)...))
}

// cutOne lets nothing that some send arrive at others.
func (s *system) cutOne(some, others []string) *separation {
	return s.separate(directions(some, others))
}

func directions(some, others []string) (all [][2]string) {
	for _, from := range some {
		for _, to := range others {
			all = append(all, [2]string{from, to})
		}
	}
	return all
}

func (s *system) separate(cuts [][2]string) *separation {
	s.t.Helper()
	for _, one := range cuts {
		s.network.cut(one[0], one[1])
	}
	return &separation{s.network, cuts}
}

// heal ends all of it.
func (p *separation) heal() {
	for _, one := range p.cuts {
		p.network.heal(one[0], one[1])
	}
}
