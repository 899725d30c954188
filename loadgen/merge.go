package loadgen

import (
	"cmp"
	"fmt"
)

// merge makes one report of those of all members.
func (c *workerGroup) merge() (Report, error) {
	r := newReport(c.cfg)
	first := c.members[0].report.Report
	r.System, r.Guarantee = first.System, first.Guarantee
	for _, number := range c.left {
		r.Stopped = cmp.Or(r.Stopped, c.members[number].report.Report.Stopped)
	}
	for i := range first.Trials {
		t, err := c.mergeTrial(i)
		if err != nil {
			return r, err
		}
		r.Trials = append(r.Trials, t)
	}
	return r, nil
}

// mergeTrial adds up one trial. A member that was stopped before it has none.
func (c *workerGroup) mergeTrial(i int) (Trial, error) {
	var sum Trial
	k := newHistograms()
	cpu := 0.0
	for number, m := range c.members {
		if i >= len(m.report.Report.Trials) {
			sum.Partial = true
			continue
		}
		t := m.report.Report.Trials[i]
		if c.cfg.shares() {
			sum.Rate, sum.Window = 0, 0 // each has the whole
		}
		sum.add(t)
		cpu += t.OwnCPUus * float64(t.Deliveries)
		for _, example := range t.Examples {
			sum.Examples = append(sum.Examples, fmt.Sprintf("worker %d: %s", number, example))
		}
		for _, warning := range t.Warnings {
			sum.Warnings = append(sum.Warnings, fmt.Sprintf("worker %d: %s", number, warning))
		}
		if err := k.merge(m.report.Kept[i]); err != nil {
			return sum, err
		}
	}
	if i < len(c.trials) && c.trials[i].join != nil {
		c.trials[i].join.addTo(&sum, k, c.trials[i].owed)
	}
	k.fill(&sum)
	if sum.Deliveries > 0 {
		sum.OwnCPUus = cpu / float64(sum.Deliveries)
	}
	sum.refusals()
	if sum.LoginS > 0 && sum.Phase != phaseChurn {
		sum.LoginsPerSecond = float64(sum.Logins.Count) / sum.LoginS
	}
	if i < len(c.trials) {
		return sum, c.addObserved(&sum, c.trials[i])
	}
	return sum, nil
}

// addObserved adds what the starter saw of the processes under test.
func (c *workerGroup) addObserved(t *Trial, o *observed) error {
	<-o.ready
	for i, cpu := range o.used.servers {
		p := Process{PID: c.cfg.ServerPIDs[i], CPUus: perDelivery(cpu, t.Deliveries)}
		t.Processes = append(t.Processes, p)
		t.ServerCPUus += p.CPUus
	}
	if t.Phase == phaseChurn {
		t.LoginCPUus = perDelivery(o.used.ofServers(), int(t.Logins.Count))
	}
	if span := t.MeasuredS; span > 0 {
		full := strain{own: t.OwnCPUus * float64(t.Deliveries) / 1e6 / span, servers: o.used.ofServers().Seconds() / span}
		t.Warnings = append(t.Warnings, full.machine()...)
	}
	for i, grown := range o.rss {
		p := Process{PID: c.cfg.ServerPIDs[i], IdleBytes: float64(grown) / float64(t.Conns)}
		t.Processes = append(t.Processes, p)
		t.IdleBytes += p.IdleBytes
	}
	for _, parts := range o.seconds {
		s := mergeSecond(parts)
		if s.Second < len(o.cores) {
			s.ServerCPU = o.cores[s.Second]
		}
		t.Series = append(t.Series, s)
	}
	return o.err
}

// add adds the counts of another process's part.
func (t *Trial) add(o Trial) {
	t.Window, t.Rate, t.Phase = t.Window+o.Window, t.Rate+o.Rate, o.Phase
	t.LoginS = max(t.LoginS, o.LoginS)
	if t.Conns == 0 || o.MeasuredS < t.MeasuredS {
		t.MeasuredS = o.MeasuredS
	}
	t.Partial = t.Partial || o.Partial
	t.LoginsPerSecond += o.LoginsPerSecond
	t.DeliveriesPerSecond += o.DeliveriesPerSecond
	for _, pair := range []struct {
		into *int
		n    int
	}{
		{&t.Conns, o.Conns},
		{&t.LoginRetries, o.LoginRetries},
		{&t.Deliveries, o.Deliveries},
		{&t.Delivered, o.Delivered},
		{&t.OutcomeReceived, o.OutcomeReceived},
		{&t.Stored, o.Stored},
		{&t.Refused, o.Refused},
		{&t.Received, o.Received},
		{&t.Offline, o.Offline},
		{&t.Foreign, o.Foreign},
		{&t.Moved, o.Moved},
		{&t.Lost, o.Lost},
		{&t.Ended, o.Ended},
		{&t.Undelivered, o.Undelivered},
		{&t.Doubled, o.Doubled},
		{&t.Duplicates, o.Duplicates},
		{&t.Reordered, o.Reordered},
		{&t.Misdelivered, o.Misdelivered},
		{&t.WrongSender, o.WrongSender},
		{&t.Corrupt, o.Corrupt},
		{&t.FailedDelivered, o.FailedDelivered},
		{&t.Ghosts, o.Ghosts},
		{&t.Unknown, o.Unknown},
		{&t.Unanswered, o.Unanswered},
		{&t.Unsent, o.Unsent},
		{&t.FaultCount, o.FaultCount},
	} {
		*pair.into += pair.n
	}
	t.Faults = append(t.Faults, o.Faults...)
	t.Faults = t.Faults[:min(len(t.Faults), faultsKept)]
}

// mergeSecond adds up one second of several processes.
func mergeSecond(parts []partSecond) (sum Second) {
	h := newHistogram()
	for _, p := range parts {
		sum.Second = p.Second.Second
		sum.Sent += p.Second.Sent
		sum.Deliveries += p.Second.Deliveries
		sum.Errors += p.Second.Errors
		sum.OwnCPU += p.Second.OwnCPU
		sum.Logins += p.Second.Logins
		if err := mergeText(h, p.Histogram); err != nil {
			panic(err.Error()) // it comes from the same binary, and was read whole
		}
	}
	q := quantilesOf(h)
	sum.P50, sum.P99, sum.Max = q.P50, q.P99, q.Max
	return sum
}
