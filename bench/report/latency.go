package report

import (
	"bytes"
	"fmt"
	"math"

	"github.com/HdrHistogram/hdrhistogram-go"

	"cim/loadgen"
)

const (
	// nsPerMs converts a histogram's unit to the shown one.
	nsPerMs = 1e6
	// hgrmSteps is the number of lines of a .hgrm file for each halving of the rest to 100 %, as
	// the tools that plot those files expect.
	hgrmSteps = 5
	// curveSteps is how many points a curve has for each nine of a percentile.
	curveSteps = 10
	// ninesMax bounds a curve.
	ninesMax = 7
)

// point of a latency curve: a percentile by its nines (1 is 90 %, 2 is 99 %),
// and the latency in ms.
type point [2]float64

// histogram is the trial's, or nil if the report has none.
func histogram(t loadgen.Trial) (*hdrhistogram.Histogram, error) {
	if t.Histogram == "" {
		return nil, nil
	}
	// The decoder takes base64 text.
	h, err := hdrhistogram.Decode([]byte(t.Histogram))
	if err != nil {
		return nil, fmt.Errorf("report: histogram of %d connections: %w", t.Conns, err)
	}
	return h, nil
}

// curve is latency by percentile, up to the slowest message: from the
// histogram, or from the few percentiles of a report that has none.
func curve(t loadgen.Trial) ([]point, error) {
	h, err := histogram(t)
	if err != nil || h == nil {
		return fewPoints(t.Latency), err
	}
	var points []point
	for step := 0; step < ninesMax*curveSteps; step++ {
		nines := float64(step) / curveSteps
		left := math.Pow(10, -nines)
		if left*float64(h.TotalCount()) < 1 {
			break
		}
		points = append(points, point{nines, float64(h.ValueAtQuantile(100*(1-left))) / nsPerMs})
	}
	return withSlowest(points, h.TotalCount(), float64(h.Max())/nsPerMs), nil
}

func fewPoints(q loadgen.Quantiles) []point {
	if q.Count == 0 {
		return nil
	}
	var points []point
	for _, one := range []struct{ percentile, us float64 }{{50, q.P50}, {90, q.P90}, {99, q.P99}, {99.9, q.P999}, {99.99, q.P9999}} {
		if nines := nines(one.percentile); one.us > 0 && math.Pow(10, -nines)*float64(q.Count) >= 1 {
			points = append(points, point{nines, one.us / 1000})
		}
	}
	return withSlowest(points, q.Count, q.Max/1000)
}

// nines of a percentile, rounded to what a curve can show.
func nines(percentile float64) float64 {
	return math.Round(-math.Log10(1-percentile/100)*1e6) / 1e6
}

// withSlowest ends a curve with the slowest of count messages, at the
// percentile that leaves out less than one.
func withSlowest(points []point, count int64, ms float64) []point {
	if count == 0 {
		return nil
	}
	end := math.Log10(float64(count))
	if n := len(points); n > 0 && points[n-1][0] >= end {
		points[n-1][1] = ms
		return points
	}
	return append(points, point{math.Round(end*1e6) / 1e6, ms})
}

// hgrm is the histogram in the text format that HdrHistogram's plotters read,
// its values in ms.
func hgrm(h *hdrhistogram.Histogram) ([]byte, error) {
	var out bytes.Buffer
	if _, err := h.PercentilesPrint(&out, hgrmSteps, nsPerMs); err != nil {
		return nil, fmt.Errorf("report: hgrm: %w", err)
	}
	return out.Bytes(), nil
}
