package bench

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"cim/bench/report"
)

// soakMetrics is what a process says of itself, with others between.
const soakMetrics = `go_memstats_heap_inuse_bytes 5046272
go_gc_duration_seconds{quantile="1"} 9
go_gc_duration_seconds_sum 0.25
go_gc_duration_seconds_count 12
go_goroutines 239
other 1
process_resident_memory_bytes 25812992
`

// TestParseSample: a metric that is missing or no number is named.
func TestParseSample(t *testing.T) {
	got, err := parseSample(soakMetrics)
	if want := (report.Sample{RSS: 25812992, Heap: 5046272, Goroutines: 239, Collections: 12, PauseS: 0.25}); err != nil || got != want {
		t.Errorf("%+v, %v", got, err)
	}
	for text, want := range map[string]string{
		strings.Replace(soakMetrics, "go_goroutines 239", "", 1):                  "no metric go_goroutines",
		strings.Replace(soakMetrics, "go_goroutines 239", "go_goroutines two", 1): "metric go_goroutines",
	} {
		if _, err := parseSample(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want %q", err, want)
		}
	}
}

// TestSampler sums up two processes until it is finished; a process that does not answer is a fault
// of the run.
func TestSampler(t *testing.T) {
	http.DefaultClient.CloseIdleConnections()
	t.Cleanup(http.DefaultClient.CloseIdleConnections)
	answer := make(chan struct{}, 100)
	one := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, err := io.WriteString(w, soakMetrics)
		if err != nil {
			t.Error(err)
		}
		answer <- struct{}{}
	}))
	defer one.Close()
	p := &process{Addresses: Addresses{Admin: strings.TrimPrefix(one.URL, "http://")}}
	s := startSampler(t.Context(), Config{Soak: time.Minute}, sampled{p, p})
	for range 4 { // two samples of two processes
		<-answer
	}
	samples, err := s.finish()
	if err != nil || len(samples) < 1 || samples[0].Goroutines != 2*239 || samples[0].PauseS != 0.5 {
		t.Errorf("%+v, %v", samples, err)
	}
	away := &process{Addresses: Addresses{Admin: "127.0.0.1:1"}}
	s = startSampler(t.Context(), Config{Soak: time.Minute}, sampled{away})
	<-s.done
	if samples, err := s.finish(); err == nil || len(samples) != 0 {
		t.Errorf("of a process that is away: %v, %v", samples, err)
	}
	s = startSampler(t.Context(), Config{}, sampled{away})
	if samples, err := s.finish(); err != nil || samples != nil {
		t.Errorf("without a soak: %v, %v", samples, err)
	}
}

// sampled is a system of these processes.
type sampled []*process

func (s sampled) target() []string     { return nil }
func (s sampled) pids() []int          { return nil }
func (s sampled) profiled() []*process { return s }
func (s sampled) stop() error          { return nil }

// TestSoakScenario: a soak is one scenario in the place of all others.
func TestSoakScenario(t *testing.T) {
	c := Config{Soak: 90 * time.Second}.completed()
	if len(c.Scenarios) != 1 || !strings.Contains(strings.Join(c.Scenarios[0].Load, " "), "--duration 1m30s") {
		t.Errorf("%+v", c.Scenarios)
	}
}
