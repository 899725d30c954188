package loadgen

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"cim/proto"
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

// number is what a term may be about.
type number struct {
	of    func(Trial) float64 // times are in µs
	timed bool                // its bound is a duration
	// lacks says what a run of c would need so that there is such a number,
	// empty if nothing; nil: there always is one.
	lacks func(c Config) string
	// there reports whether it was measured; nil: always.
	there func(r Report, t Trial) bool
}

// numbersOf are the names that a term may have.
var numbersOf = map[string]number{
	"p50":    latency(func(q Quantiles) float64 { return q.P50 }),
	"p90":    latency(func(q Quantiles) float64 { return q.P90 }),
	"p99":    latency(func(q Quantiles) float64 { return q.P99 }),
	"p99.9":  latency(func(q Quantiles) float64 { return q.P999 }),
	"p99.99": latency(func(q Quantiles) float64 { return q.P9999 }),
	"max":    latency(func(q Quantiles) float64 { return q.Max }),
	"skew": {
		of: func(t Trial) float64 { return t.Skew.P99 }, timed: true, lacks: lacksSkew,
		there: func(_ Report, t Trial) bool { return t.Skew.Count > 0 },
	},
	"late": {
		of: func(t Trial) float64 { return t.Late.P99 }, timed: true, lacks: lacksRate,
		there: func(_ Report, t Trial) bool { return t.Late.Count > 0 },
	},
	"login": {
		of: func(t Trial) float64 { return t.Logins.P99 }, timed: true,
		there: func(_ Report, t Trial) bool { return t.Logins.Count > 0 },
	},
	"logins": {
		of: func(t Trial) float64 { return t.LoginS * 1e6 }, timed: true,
		there: func(_ Report, t Trial) bool { return t.LoginS > 0 },
	},
	"cpu": {
		of: func(t Trial) float64 { return t.ServerCPUus }, timed: true,
		lacks: func(c Config) string { return cmp.Or(lacksMessages(c), lacksPID(c)) },
		there: func(_ Report, t Trial) bool { return len(t.Processes) > 0 && t.Deliveries > 0 },
	},
	"deliveries": {
		of: func(t Trial) float64 { return t.DeliveriesPerSecond }, lacks: lacksMessages,
		there: func(_ Report, t Trial) bool { return !t.quiet() },
	},
	"ghosts": {
		of: func(t Trial) float64 { return float64(t.Ghosts) }, lacks: lacksRoster,
		there: func(r Report, _ Trial) bool { return r.Verified },
	},
	"memory": {
		of: func(t Trial) float64 { return t.IdleBytes }, lacks: lacksIdle,
		there: func(_ Report, t Trial) bool { return t.idle() && len(t.Processes) > 0 },
	},
	"outcome_p50":      outcome(func(q Quantiles) float64 { return q.P50 }),
	"outcome_p99":      outcome(func(q Quantiles) float64 { return q.P99 }),
	"delivered":        count(func(t Trial) int { return t.Delivered }),
	"outcome_received": {of: func(t Trial) float64 { return float64(t.OutcomeReceived) }, lacks: lacksWant},
	"duplicates":       {of: func(t Trial) float64 { return float64(t.Duplicates) }, lacks: lacksWant},
	"lost":             count(func(t Trial) int { return t.Lost }),
	"doubled":          count(func(t Trial) int { return t.Doubled }),
	"reordered":        count(func(t Trial) int { return t.Reordered }),
	"misdelivered":     count(func(t Trial) int { return t.Misdelivered }),
	"wrong_sender":     count(func(t Trial) int { return t.WrongSender }),
	"corrupt":          count(func(t Trial) int { return t.Corrupt }),
	"failed_delivered": count(func(t Trial) int { return t.FailedDelivered }),
	"refused":          count(func(t Trial) int { return t.Refused }),
	"stored":           count(func(t Trial) int { return t.Stored }),
	"unknown":          count(func(t Trial) int { return t.Unknown }),
	"unanswered":       count(func(t Trial) int { return t.Unanswered }),
	"unsent":           count(func(t Trial) int { return t.Unsent }),
	"undelivered":      count(func(t Trial) int { return t.Undelivered }),
	"ended":            count(func(t Trial) int { return t.Ended }),
	"faults":           count(func(t Trial) int { return t.FaultCount }),
}

func latency(of func(Quantiles) float64) number {
	return number{
		of: func(t Trial) float64 { return of(t.Latency) }, timed: true, lacks: lacksMessages,
		there: func(_ Report, t Trial) bool { return t.Latency.Count > 0 },
	}
}

func outcome(of func(Quantiles) float64) number {
	return number{
		of: func(t Trial) float64 { return of(t.Outcome) }, timed: true, lacks: lacksMessages,
		there: func(_ Report, t Trial) bool { return t.Outcome.Count > 0 },
	}
}

func lacksWant(c Config) string {
	if c.Want == proto.WantTaken {
		return "--want 1 or 2"
	}
	return lacksMessages(c)
}

func count(of func(Trial) int) number {
	return number{of: func(t Trial) float64 { return float64(of(t)) }}
}

func lacksMessages(c Config) string {
	if c.quiet() {
		return fmt.Sprintf("a mode that sends messages, and %s does not", c.Mode)
	}
	return ""
}

func lacksPID(c Config) string {
	if len(c.ServerPIDs) == 0 {
		return "--server-pid"
	}
	return ""
}

func lacksRate(c Config) string {
	if len(c.Rates) == 0 {
		return "--rate"
	}
	return ""
}

func lacksIdle(c Config) string {
	if c.Mode != Idle {
		return fmt.Sprintf("mode %s", Idle)
	}
	return lacksPID(c)
}

func lacksSkew(c Config) string {
	if c.Mode != Group && c.Mode != Mixed {
		return fmt.Sprintf("mode %s or %s", Group, Mixed)
	}
	return ""
}

func lacksRoster(c Config) string {
	switch {
	case c.System != nil:
		return "--system cim"
	case !c.Verify:
		return "--verify"
	}
	return ""
}

// ops are tried in this order, so that "<" is not taken for the half of "<=".
var ops = []string{"<=", ">=", "==", "!=", "<", ">"}

// ParseSLO reads terms separated by commas, as p99<20ms,lost==0.
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
		if numbersOf[t.name].of == nil {
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
	if numbersOf[name].timed {
		d, err := time.ParseDuration(text)
		if err != nil || d < 0 {
			return 0, fmt.Errorf("%q is not a duration such as 20ms", text)
		}
		return float64(d.Nanoseconds()) / 1000, nil
	}
	v, err := strconv.ParseFloat(text, 64)
	if err != nil || !(v >= 0 && v <= math.MaxFloat64) { // NaN is neither
		return 0, fmt.Errorf("%q is not a number from 0", text)
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

// Check reports the terms that a run of c would not measure: they could never be missed, or never
// be met.
func (s SLO) Check(c Config) error {
	var faults []error
	for _, t := range s {
		if lacks := numbersOf[t.name].lacks; lacks != nil && lacks(c) != "" {
			faults = append(faults, fmt.Errorf("slo %s needs %s", t.text, lacks(c)))
		}
	}
	return errors.Join(faults...)
}

// names reports whether a term is about the number.
func (s SLO) names(number string) bool {
	return slices.ContainsFunc(s, func(t term) bool { return t.name == number })
}

// String is what ParseSLO reads.
func (s SLO) String() string {
	texts := make([]string, len(s))
	for i, t := range s {
		texts[i] = t.text
	}
	return strings.Join(texts, ",")
}

// Missed returns each term that a trial of r misses, with the figure. A run without a trial misses
// all.
func (s SLO) Missed(r Report) (missed []string) {
	if len(r.Trials) == 0 && len(s) > 0 {
		return []string{"nothing was measured"}
	}
	for _, t := range r.Trials {
		for _, term := range s {
			n := numbersOf[term.name]
			if got := n.of(t); n.there != nil && !n.there(r, t) {
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
	if numbersOf[t.name].timed {
		return time.Duration(got * 1000).String()
	}
	return strconv.FormatFloat(got, 'f', -1, 64)
}
