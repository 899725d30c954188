package loadgen

import (
	"fmt"
	"math"
	"strconv"
	"strings"

	"cim/proto"
)

// Sizes is how long texts are. The length of a message follows from its seed,
// slot and sequence alone, so that its receiver knows it too.
type Sizes struct {
	// Least and Most bound the length in bytes. Equal: all are alike.
	Least, Most int
	// Mean is of an exponential distribution, from Least on and cut at Most; 0:
	// all lengths are equally likely.
	Mean int
}

// OneSize is texts of n bytes.
func OneSize(n int) Sizes { return Sizes{Least: n, Most: n} }

// expMost is where an exponential distribution is cut, in means: one text in
// 22,000 is longer.
const expMost = 10

// ParseSizes reads "128", "64-1024" or "exp:200", a mean.
func ParseSizes(text string) (Sizes, error) {
	if mean, is := strings.CutPrefix(text, "exp:"); is {
		n, err := strconv.Atoi(mean)
		if err != nil {
			return Sizes{}, fmt.Errorf("%q is not a mean", mean)
		}
		return Sizes{Least: TextMin, Most: min(proto.TextMax, expMost*n), Mean: n}, nil
	}
	first, last, ranged := strings.Cut(text, "-")
	if !ranged {
		last = first
	}
	least, err1 := strconv.Atoi(first)
	most, err2 := strconv.Atoi(last)
	if err1 != nil || err2 != nil {
		return Sizes{}, fmt.Errorf("%q is not a number, a range such as 64-1024, or exp:200", text)
	}
	return Sizes{Least: least, Most: most}, nil
}

// String is what ParseSizes reads.
func (s Sizes) String() string {
	switch {
	case s.Mean > 0:
		return fmt.Sprintf("exp:%d", s.Mean)
	case s.fixed():
		return strconv.Itoa(s.Most)
	}
	return fmt.Sprintf("%d-%d", s.Least, s.Most)
}

// Check reports the faults of s.
func (s Sizes) Check() error {
	if s.Least < TextMin || s.Most > proto.TextMax || s.Least > s.Most || s.Mean != 0 && s.Mean < s.Least {
		return fmt.Errorf("size %s is not within %d to %d", s, TextMin, proto.TextMax)
	}
	return nil
}

func (s Sizes) fixed() bool { return s.Least == s.Most }

// of is the length of one message of a trial.
func (s Sizes) of(trial, slot, sequence uint32) int {
	if s.fixed() {
		return s.Most
	}
	random := mix(uint64(trial)<<32 ^ uint64(slot)*0x9e3779b97f4a7c15 ^ uint64(sequence))
	if s.Mean == 0 {
		return s.Least + int(random%uint64(s.Most-s.Least+1))
	}
	uniform := (float64(random>>11) + 0.5) / (1 << 53)
	return min(s.Most, s.Least+int(-math.Log(uniform)*float64(s.Mean-s.Least)))
}

// mix spreads a number over all bits, as the finalizer of splitmix64 does.
func mix(v uint64) uint64 {
	v ^= v >> 30
	v *= 0xbf58476d1ce4e5b9
	v ^= v >> 27
	v *= 0x94d049bb133111eb
	return v ^ v>>31
}
