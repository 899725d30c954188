package loadgen

import (
	"fmt"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// histograms are the histograms of a trial, whose quantiles it reports.
type histograms struct{ latency, service, skew, credit, late, logins, outcome *hdrhistogram.Histogram }

func newHistograms() *histograms {
	return &histograms{newHistogram(), newHistogram(), newHistogram(), newHistogram(), newHistogram(), newHistogram(), newHistogram()}
}

// encodedHistograms is kept between processes.
type encodedHistograms struct{ Latency, Service, Skew, Credit, Late, Logins, Outcome string }

func (k *histograms) text() encodedHistograms {
	if k == nil {
		k = newHistograms()
	}
	return encodedHistograms{encoded(k.latency), encoded(k.service), encoded(k.skew), encoded(k.credit), encoded(k.late), encoded(k.logins), encoded(k.outcome)}
}

// merge adds what another process has kept.
func (k *histograms) merge(t encodedHistograms) error {
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
func (k *histograms) fill(t *Trial) {
	t.Latency, t.Service, t.Skew = quantilesOf(k.latency), quantilesOf(k.service), quantilesOf(k.skew)
	t.Credit, t.Late, t.Logins = quantilesOf(k.credit), quantilesOf(k.late), quantilesOf(k.logins)
	t.Outcome = quantilesOf(k.outcome)
	t.Histogram = encoded(k.latency)
	t.kept = k
}
