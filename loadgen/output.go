package loadgen

import (
	"encoding/base64"
	"encoding/csv"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// encoded is a histogram as text, which other HdrHistogram libraries read too.
func encoded(h *hdrhistogram.Histogram) string {
	b, err := h.Encode(hdrhistogram.V2CompressedEncodingCookieBase)
	if err != nil {
		panic("loadgen: encode a histogram: " + err.Error()) // it is one of ours
	}
	return string(b)
}

// decoded is the latency of a trial, nil if it has none.
func (t Trial) decoded() (*hdrhistogram.Histogram, error) {
	if t.Histogram == "" {
		return nil, nil
	}
	if _, err := base64.StdEncoding.DecodeString(t.Histogram); err != nil {
		return nil, fmt.Errorf("loadgen: histogram of %s: %w", t.name(), err)
	}
	h, err := hdrhistogram.Decode([]byte(t.Histogram))
	if err != nil {
		return nil, fmt.Errorf("loadgen: histogram of %s: %w", t.name(), err)
	}
	return h, nil
}

// What an .hgrm file has: lines for each halving of the distance to 100 %, and
// values in ms.
const (
	hgrmTicks = 5
	hgrmUnit  = 1e6
)

// WriteHGRM writes the latency of a trial by percentile, in ms, as HdrHistogram's
// plotters read it.
func (t Trial) WriteHGRM(w io.Writer) error {
	h, err := t.decoded()
	if err != nil || h == nil {
		return err
	}
	_, err = h.PercentilesPrint(w, hgrmTicks, hgrmUnit)
	return err
}

// WriteCSV writes all series, a line a second.
func (r Report) WriteCSV(w io.Writer) error {
	table := csv.NewWriter(w)
	faults := []error{table.Write([]string{
		"trial", "conns", "window", "rate", "s", "sent", "deliveries", "errors", "p50_us", "p99_us", "max_us", "server_cpu", "own_cpu", "logins",
	})}
	whole := strconv.Itoa
	part := func(v float64) string { return strconv.FormatFloat(v, 'f', -1, 64) }
	for i, t := range r.Trials {
		for _, s := range t.Series {
			faults = append(faults, table.Write([]string{
				whole(i + 1), whole(t.Conns), whole(t.Window), whole(t.Rate), whole(s.Second), whole(s.Sent), whole(s.Deliveries), whole(s.Errors),
				part(s.P50), part(s.P99), part(s.Max), part(s.ServerCPU), part(s.OwnCPU), whole(s.Logins),
			}))
		}
	}
	table.Flush()
	for _, err := range append(faults, table.Error()) {
		if err != nil {
			return err
		}
	}
	return nil
}

// WriteBenchmark writes a line for each trial in the format of Go's benchmarks,
// so that benchstat compares runs.
func (r Report) WriteBenchmark(w io.Writer) error {
	p := printer{w: w}
	for _, t := range r.Trials {
		name := fmt.Sprintf("BenchmarkLoadgen/system=%s/mode=%s/via=%s/size=%s/conns=%d", r.System, r.Mode, r.Via, r.Size, t.Conns)
		switch {
		case t.Window > 0:
			name += fmt.Sprintf("/window=%d", t.Window)
		case t.Rate > 0:
			name += fmt.Sprintf("/rate=%d/arrivals=%s", t.Rate, r.Arrivals)
		}
		if t.Phase != "" {
			name += "/phase=" + t.Phase
		}
		if r.Want > 0 {
			name += fmt.Sprintf("/want=%d", r.Want)
		}
		p.line("%s\t%d\t%s", strings.ReplaceAll(name, " ", "_"), max(1, t.Deliveries), strings.Join(t.benchmarks(), "\t"))
	}
	return p.err
}

// benchmarks are pairs of a value and its unit; figures that were not measured are left out.
func (t Trial) benchmarks() (pairs []string) {
	for _, m := range []struct {
		unit  string
		value float64
	}{
		{"deliveries/s", t.DeliveriesPerSecond},
		{"server-cpu-ns/op", t.ServerCPUus * 1000},
		{"own-cpu-ns/op", t.OwnCPUus * 1000},
		{"p50-ns", t.Latency.P50 * 1000},
		{"p90-ns", t.Latency.P90 * 1000},
		{"p99-ns", t.Latency.P99 * 1000},
		{"p99.9-ns", t.Latency.P999 * 1000},
		{"max-ns", t.Latency.Max * 1000},
		{"outcome-p50-ns", t.Outcome.P50 * 1000},
		{"outcome-p99-ns", t.Outcome.P99 * 1000},
		{"login-p99-ns", t.Logins.P99 * 1000},
		{"all-logins-ns", t.LoginS * 1e9},
		{"login-server-cpu-ns/op", t.LoginCPUus * 1000},
		{"logins/s", t.LoginsPerSecond},
		{"bytes/conn", t.IdleBytes},
	} {
		if m.value > 0 {
			pairs = append(pairs, strconv.FormatFloat(m.value, 'f', -1, 64)+" "+m.unit)
		}
	}
	return pairs
}
