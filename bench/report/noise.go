package report

import (
	"fmt"
	"math"
)

// noiseMax is how probable a difference may be by chance that is called beyond
// noise.
const noiseMax = 0.05

// What noise says if there are turns enough.
const (
	beyondNoise = "beyond noise"
	withinNoise = "within noise"
)

// turnsLeast is how many turns that takes: of five that all say the same, chance
// makes one in sixteen.
const turnsLeast = 6

// ours reports whether it is cim that was measured.
func (l load) ours() bool { return Outcome{System: l.System}.ours() }

// timesOurs is how much more CPU than ours a system spent under the same load,
// and whether that is more than chance.
func (l load) timesOurs(loads []load) cell {
	for _, our := range loads {
		if !our.ours() || l.ours() || !our.same(l) {
			continue
		}
		if times := l.against(our, cpuOf); times > 0 {
			return cell{Text: Number(times) + ", " + noise(l.quotients(our, cpuOf))}
		}
	}
	return cell{Text: notMeasured}
}

// noise says whether the ratios of all turns differ from 1 beyond noise. Each turn is a pair, so
// this is the sign test: without a difference each ratio would be above or below 1 with equal
// chance. A ratio of 0 is of a turn without a figure.
func noise(ratios []float64) string {
	above, below, turns := 0, 0, 0
	for _, r := range ratios {
		if r > 0 {
			turns++
		}
		if r > 1 {
			above++
		} else if r > 0 && r < 1 {
			below++
		}
	}
	switch {
	case turns < turnsLeast:
		return fmt.Sprintf("too few to say: %d turns are needed", turnsLeast)
	case chanceOf(above, below) < noiseMax:
		return beyondNoise
	}
	return withinNoise
}

// chanceOf is the probability that this many coins or more fall on the same side.
func chanceOf(above, below int) float64 {
	n, ways, sum := above+below, 1.0, 0.0
	for k := range min(above, below) + 1 {
		sum += ways
		ways = ways * float64(n-k) / float64(k+1)
	}
	return min(1, 2*sum/math.Exp2(float64(n)))
}
