package report

import (
	"bytes"
	"encoding/xml"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"

	"cim/loadgen"
)

func files(t *testing.T, run Run) map[string][]byte {
	t.Helper()
	list, err := Files(run)
	if err != nil {
		t.Fatal(err)
	}
	byPath := map[string][]byte{}
	for _, f := range list {
		if byPath[f.Path] != nil {
			t.Errorf("%s twice", f.Path)
		}
		byPath[f.Path] = f.Bytes
	}
	return byPath
}

// TestFiles checks what a folder of results gets, twice the same.
func TestFiles(t *testing.T) {
	run := example(t, "example-a")
	got := files(t, run)
	for _, want := range []string{
		"report.txt", "report.html", "charts/cpu.svg", "charts/scenario-1-group-window-16.svg", "charts/latency-1-group-window-16-1-001-connections.svg",
		"histograms/01-group-window-16-cim-standalone-1-001-connections-window-16.hgrm",
		"histograms/07-private-over-http-cim-standalone-1-000-connections-5-000-messages-s-run-2.hgrm",
		"series/03-group-window-16-nats-1-001-connections-window-16.csv",
	} {
		if len(got[want]) == 0 {
			var paths []string
			for path := range got {
				paths = append(paths, path)
			}
			slices.Sort(paths)
			t.Errorf("no %s among %s", want, strings.Join(paths, "\n"))
		}
	}
	again := files(t, run)
	for path, b := range got {
		if !bytes.Equal(b, again[path]) {
			t.Errorf("%s differs when it is made again", path)
		}
		if strings.HasSuffix(path, ".svg") {
			checkXML(t, path, b)
		}
	}
}

func checkXML(t *testing.T, path string, b []byte) {
	t.Helper()
	d := xml.NewDecoder(bytes.NewReader(b))
	for {
		if _, err := d.Token(); errors.Is(err, io.EOF) {
			return
		} else if err != nil {
			t.Errorf("%s: %v", path, err)
			return
		}
	}
}

// TestHistogramText reads a .hgrm file's last percentile and its count.
func TestHistogramText(t *testing.T) {
	run := example(t, "example-a")
	text := string(files(t, run)["histograms/01-group-window-16-cim-standalone-1-001-connections-window-16.hgrm"])
	for _, want := range []string{"Value", "Percentile", "TotalCount", "1.000000        50000          inf", "Total count    =        50000]"} {
		if !strings.Contains(text, want) {
			t.Errorf("lacks %q:\n%s", want, text)
		}
	}
}

// TestBrokenHistogram: bytes that are no histogram are an error that names the scenario.
func TestBrokenHistogram(t *testing.T) {
	for _, broken := range []string{"x", "HISTAAA", "HISTFAAAAAB4nA=="} {
		run := example(t, "example-a")
		run.Outcomes[0].Report.Trials[0].Histogram = broken
		if _, err := Files(run); err == nil || !strings.Contains(err.Error(), "histogram") {
			t.Errorf("%q: error %v", broken, err)
		}
	}
}

func TestCSV(t *testing.T) {
	got := string(csv([]loadgen.Second{{Second: 3, Sent: 1, Deliveries: 2, P50: 1.5, ServerCPU: 0.25}}))
	want := "s,sent,deliveries,errors,p50_us,p99_us,max_us,server_cpu,own_cpu\n3,1,2,0,1.5,0,0,0.25,0\n"
	if got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

// TestCurve: a curve ends with the slowest message and leaves out percentiles
// that would be less than a message.
func TestCurve(t *testing.T) {
	few := loadgen.Trial{Latency: loadgen.Quantiles{Count: 100, P50: 1000, P90: 2000, P99: 3000, P999: 4000, P9999: 4000, Max: 4000}}
	got, err := curve(few)
	want := []point{{0.30103, 1}, {1, 2}, {2, 4}}
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("got %v, %v, want %v", got, err, want)
	}
	if got, err := curve(loadgen.Trial{}); got != nil || err != nil {
		t.Errorf("without a message: %v, %v", got, err)
	}
	trial := example(t, "example-a").Outcomes[0].Report.Trials[0]
	got, err = curve(trial)
	if err != nil || len(got) < 40 {
		t.Fatalf("%d points, %v", len(got), err)
	}
	for i := 1; i < len(got); i++ {
		if got[i][0] <= got[i-1][0] || got[i][1] < got[i-1][1] {
			t.Errorf("point %d, %v, is not after %v", i, got[i], got[i-1])
		}
	}
	if last := got[len(got)-1]; last[1]*1000 < trial.Latency.Max*0.999 || last[0] < 4.6 || last[0] > 4.8 {
		t.Errorf("ends with %v, want the slowest of 50,000: %v µs", last, trial.Latency.Max)
	}
	p99, _ := at(got, 2)
	if us := p99 * 1000; us < trial.Latency.P99*0.999 || us > trial.Latency.P99*1.001 {
		t.Errorf("p99 %v µs, want %v", us, trial.Latency.P99)
	}
}

func TestNumber(t *testing.T) {
	for v, want := range map[float64]string{0: "0", 0.63669: "0.637", 99.94: "99.9", 100: "100", 999: "999", 1000: "1,000", 1234567: "1,234,567", -1234: "-1,234"} {
		if got := Number(v); got != want {
			t.Errorf("%v: got %q, want %q", v, got, want)
		}
	}
}
