package loadgen

import (
	"fmt"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// histograms are the histograms of a trial, whose quantiles it reports.
type kept struct{ latency, service, skew, credit, late, logins, outcome *hdrhistogram.Histogram }

func newKept() *kept {
	return &kept{newHistogram(), newHistogram(), newHistogram(), newHistogram(), newHistogram(), newHistogram(), newHistogram()}
}

// keptText is kept between processes.
type keptText struct{ Latency, Service, Skew, Credit, Late, Logins, Outcome string }

func (k *kept) text() keptText {
	if k == nil {
		k = newKept()
	}
	return keptText{encoded(k.latency), encoded(k.service), encoded(k.skew), encoded(k.credit), encoded(k.late), encoded(k.logins), encoded(k.outcome)}
}

// merge adds what another process has kept.
func (k *kept) merge(t keptText) error {
	for _, pair := range []struct {
		into *hdrhistogram.Histogram
		text string
	}{
		{k.latency, t.Latency}, {k.service, t.Service}, {k.skew, t.Skew}, {k.credit, t.Credit}, {k.late, t.Late}, {k.logins, t.Logins}, {k.outcome, t.Outcome},
	} {
		if err := mergeText(pair.into, pair.text); err != nil {
			return err
		}
	}
	return nil
}

func mergeText(into *hdrhistogram.Histogram, text string) error {
	h, err := hdrhistogram.Decode([]byte(text))
	if err != nil {
		return fmt.Errorf("loadgen: a worker's histogram: %w", err)
	}
	into.Merge(h)
	return nil
}

// fill puts the quantiles into a trial.
func (k *kept) fill(t *Trial) {
	t.Latency, t.Service, t.Skew = quantilesOf(k.latency), quantilesOf(k.service), quantilesOf(k.skew)
	t.Credit, t.Late, t.Logins = quantilesOf(k.credit), quantilesOf(k.late), quantilesOf(k.logins)
	t.Outcome = quantilesOf(k.outcome)
	t.Histogram = encoded(k.latency)
	t.kept = k
}
