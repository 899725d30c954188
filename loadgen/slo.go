package loadgen

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// SLO is what a run must keep to, each term of it in each trial.
type SLO []term

// term compares one number of a trial with a bound.
type term struct {
	text  string
	name  string
	op    string
	bound float64
}

// numbersOf are the names that a term may have. Times are in µs.
var numbersOf = map[string]func(Trial) float64{
	"p50":    func(t Trial) float64 { return t.Latency.P50 },
	"p90":    func(t Trial) float64 { return t.Latency.P90 },
	"p99":    func(t Trial) float64 { return t.Latency.P99 },
	"p99.9":  func(t Trial) float64 { return t.Latency.P999 },
	"p99.99": func(t Trial) float64 { return t.Latency.P9999 },
	"max":    func(t Trial) float64 { return t.Latency.Max },
	"skew":   func(t Trial) float64 { return t.Skew.P99 },
	"late":   func(t Trial) float64 { return t.Late.P99 },
	"login":  func(t Trial) float64 { return t.Logins.P99 },
	"logins": func(t Trial) float64 { return t.LoginS * 1e6 },
	"cpu":    func(t Trial) float64 { return t.ServerCPUus },

	"deliveries":       func(t Trial) float64 { return t.DeliveriesPerSecond },
	"lost":             func(t Trial) float64 { return float64(t.Lost) },
	"doubled":          func(t Trial) float64 { return float64(t.Doubled) },
	"reordered":        func(t Trial) float64 { return float64(t.Reordered) },
	"misdelivered":     func(t Trial) float64 { return float64(t.Misdelivered) },
	"wrong_sender":     func(t Trial) float64 { return float64(t.WrongSender) },
	"corrupt":          func(t Trial) float64 { return float64(t.Corrupt) },
	"failed_delivered": func(t Trial) float64 { return float64(t.FailedDelivered) },
	"ghosts":           func(t Trial) float64 { return float64(t.Ghosts) },
	"refused":          func(t Trial) float64 { return float64(t.Refused) },
	"unknown":          func(t Trial) float64 { return float64(t.Unknown) },
	"ended":            func(t Trial) float64 { return float64(t.Ended) },
	"faults":           func(t Trial) float64 { return float64(t.FaultCount) },
	"memory":           func(t Trial) float64 { return t.IdleBytes },
}

// latencies are those that no trial has without a delivery.
var latencies = []string{"p50", "p90", "p99", "p99.9", "p99.99", "max"}

// timed are those whose bound is a duration.
var timed = []string{"p50", "p90", "p99", "p99.9", "p99.99", "max", "skew", "late", "login", "logins", "cpu"}

// ops are tried in this order, so that "<" is not taken for the half of "<=".
var ops = []string{"<=", ">=", "==", "!=", "<", ">"}

// ParseSLO reads terms divided by commas, as p99<20ms,lost==0.
func ParseSLO(text string) (SLO, error) {
	var slo SLO
	var faults []error
	for word := range strings.SplitSeq(text, ",") {
		t, err := parseTerm(strings.TrimSpace(word))
		slo, faults = append(slo, t), append(faults, err)
	}
	return slo, errors.Join(faults...)
}

func parseTerm(text string) (term, error) {
	for _, op := range ops {
		name, bound, has := strings.Cut(text, op)
		if !has {
			continue
		}
		t := term{text: text, name: strings.TrimSpace(name), op: op}
		if numbersOf[t.name] == nil {
			return t, fmt.Errorf("%q: no number %q; there are %s", text, t.name, strings.Join(sloNames(), " "))
		}
		var err error
		if t.bound, err = parseBound(t.name, strings.TrimSpace(bound)); err != nil {
			return t, fmt.Errorf("%q: %w", text, err)
		}
		return t, nil
	}
	return term{}, fmt.Errorf("%q is not a name, one of %s, and a bound", text, strings.Join(ops, " "))
}

func parseBound(name, text string) (float64, error) {
	if slices.Contains(timed, name) {
		d, err := time.ParseDuration(text)
		if err != nil {
			return 0, fmt.Errorf("%q is not a duration such as 20ms", text)
		}
		return float64(d.Nanoseconds()) / 1000, nil
	}
	v, err := strconv.ParseFloat(text, 64)
	if err != nil {
		return 0, fmt.Errorf("%q is not a number", text)
	}
	return v, nil
}

func sloNames() (names []string) {
	for name := range numbersOf {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// String is what ParseSLO reads.
func (s SLO) String() string {
	texts := make([]string, len(s))
	for i, t := range s {
		texts[i] = t.text
	}
	return strings.Join(texts, ",")
}

// Missed names each term that a trial of r does not keep to, with what it got.
// A run without a trial keeps to nothing.
func (s SLO) Missed(r Report) (missed []string) {
	if len(r.Trials) == 0 && len(s) > 0 {
		return []string{"nothing was measured"}
	}
	for _, t := range r.Trials {
		for _, term := range s {
			got := numbersOf[term.name](t)
			if slices.Contains(latencies, term.name) && t.Latency.Count == 0 || term.name == "skew" && t.Skew.Count == 0 {
				missed = append(missed, fmt.Sprintf("%s: %s, and nothing was measured", t.name(), term.text))
			} else if !term.met(got) {
				missed = append(missed, fmt.Sprintf("%s: %s, got %s", t.name(), term.text, term.format(got)))
			}
		}
	}
	return missed
}

func (t term) met(got float64) bool {
	switch t.op {
	case "<":
		return got < t.bound
	case "<=":
		return got <= t.bound
	case ">":
		return got > t.bound
	case ">=":
		return got >= t.bound
	case "==":
		return got == t.bound
	}
	return got != t.bound
}

func (t term) format(got float64) string {
	if slices.Contains(timed, t.name) {
		return time.Duration(got * 1000).String()
	}
	return strconv.FormatFloat(got, 'f', -1, 64)
}
