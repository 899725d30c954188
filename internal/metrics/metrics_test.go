package metrics

import (
	"strings"
	"testing"
)

// TestNilSet: without a set, counters count, and only the process's own metrics are
// exported.
func TestNilSet(t *testing.T) {
	var set *Set
	one, other := set.Counter("cim_test_total"), set.Counter("cim_test_total")
	one.Inc()
	if one.Get() != 1 || other.Get() != 0 {
		t.Errorf("counters %d and %d, want 1 and 0: they are not shared", one.Get(), other.Get())
	}
	set.Gauge("cim_test", func() float64 { t.Error("the gauge was read"); return 0 })
	var out strings.Builder
	set.Write(&out)
	if strings.Contains(out.String(), "cim_") || !strings.Contains(out.String(), "go_") {
		t.Errorf("a nil set shows %.200q", out.String())
	}
}
