package loadgen

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"
)

func TestReportFailed(t *testing.T) {
	good := Trial{Conns: 2, Rate: 1, Deliveries: 1, Refused: 5, Stored: 5}
	if err := (Report{Trials: []Trial{good, {Conns: 3}}}).Failed(); err != nil {
		t.Error(err)
	}
	if (Report{Trials: []Trial{good}, Stopped: "signal: interrupt"}).Failed() == nil {
		t.Error("a run that was stopped does not count as failed")
	}
	for _, spoil := range []func(*Trial){
		func(t *Trial) { t.Lost = 1 }, func(t *Trial) { t.Doubled = 1 }, func(t *Trial) { t.Reordered = 1 },
		func(t *Trial) { t.Misdelivered = 1 }, func(t *Trial) { t.Unknown = 1 }, func(t *Trial) { t.Unanswered = 1 },
		func(t *Trial) { t.Unsent = 1 }, func(t *Trial) { t.FaultCount = 1 }, func(t *Trial) { t.Deliveries = 0 },
		func(t *Trial) { t.Ended = 1 }, func(t *Trial) { t.Undelivered = 1 },
	} {
		bad := good
		spoil(&bad)
		if (Report{Trials: []Trial{good, bad}}).Failed() == nil {
			t.Errorf("%+v does not count as failed", bad)
		}
	}
}

// TestFaultsQuoted goes to the bound of quoted faults and one past it.
func TestFaultsQuoted(t *testing.T) {
	for count, want := range map[int]string{
		5: "loadgen: 2 connections, idle: faults 5\n  bad\n  bad\n  bad\n  bad\n  bad",
		6: "loadgen: 2 connections, idle: faults 6\n  bad\n  bad\n  bad\n  bad\n  bad\n  and 1 more",
	} {
		var all faults
		for range count {
			all.add("bad")
		}
		trial := Trial{Conns: 2}
		trial.FaultCount, trial.Faults = all.take()
		if err := trial.Failed(); err == nil || err.Error() != want {
			t.Errorf("%v, want %s", err, want)
		}
	}
}

type brokenWriter struct{}

func (brokenWriter) Write([]byte) (int, error) { return 0, errors.ErrUnsupported }

func TestReportPrint(t *testing.T) {
	r := Report{Mode: Private, Via: ViaHTTP, Stopped: "the server ended 2 of 3 connections", Trials: []Trial{{
		Conns: 12345, Rate: 678, Lost: 9, Ended: 2, Undelivered: 4, Partial: true, MeasuredS: 1.5,
		Outcome: Quantiles{Count: 1, P50: 70, P99: 80, P999: 85, Max: 90},
	}}}
	var out strings.Builder
	if err := r.Print(&out, 0); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"12345", "678", "lost 9", "private via http", "server CPU µs", "own CPU µs", "with the warm-up: delivered",
		"until the sender was answered: p50 70, p99 80, p99.9 85, max 90 µs", "partial: 1.50 s", "ended connections 2, not delivered to them 4", "stopped early: the server ended 2 of 3",
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q in\n%s", want, &out)
		}
	}
	if err := r.Print(brokenWriter{}, 0); !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("error %v", err)
	}
}

// TestPrintNotMeasured shows a dash for each number that there is not, and a
// number for each that there is.
func TestPrintNotMeasured(t *testing.T) {
	full := Trial{
		Conns: 2, Window: 3, DeliveriesPerSecond: 4, ServerCPUus: 5, OwnCPUus: 6, LoginS: 8,
		Latency: Quantiles{Count: 10_000, P50: 1, P90: 2, P99: 3, P999: 4, P9999: 5, Max: 6},
	}
	noPID, open, few, fewer := full, full, full, full
	few.Latency.Count, fewer.Latency.Count = 9_999, 999
	noPID.ServerCPUus = 0
	open.Window, open.Rate = 0, 9
	for want, trial := range map[string]Trial{
		"2 3 - 4 5.00 6.00 8.00 1 2 3 4 5 6": full,
		"2 3 - 4 - 6.00 8.00 1 2 3 4 5 6":    noPID,
		"2 3 - 4 5.00 6.00 8.00 1 2 3 4 - 6": few,
		"2 3 - 4 5.00 6.00 8.00 1 2 3 - - 6": fewer,
		"2 - 9 4 5.00 6.00 8.00 1 2 3 4 5 6": open,
		"2 - - - - - 8.00 - - - - - -":       {Conns: 2, LoginS: 8},
	} {
		var out strings.Builder
		if err := (Report{Trials: []Trial{trial}}).Print(&out, 0); err != nil {
			t.Fatal(err)
		}
		row := strings.Join(strings.Fields(strings.Split(out.String(), "\n")[3]), " ")
		if row != want {
			t.Errorf("row %q, want %q", row, want)
		}
		if idle := strings.Contains(out.String(), "idle: - bytes"); idle != trial.idle() {
			t.Errorf("idle is reported: %v\n%s", idle, &out)
		}
	}
}

// TestPrintNarrow: a terminal with room for the whole table gets it, and so does a file; on a
// narrower one no line is cut, and nothing is missing.
func TestPrintNarrow(t *testing.T) {
	r := Report{Mode: Group, Via: ViaConn, Dialect: "v2", Size: "128", Trials: []Trial{{
		Conns: 1_000_000, Window: 1000, DeliveriesPerSecond: 1e9, ServerCPUus: 1234.5, OwnCPUus: 1234.5, LoginS: 1234.5,
		Latency: Quantiles{Count: 1e9, P50: 1e7, P90: 2e7, P99: 3e7, P999: 4e7, P9999: 5e7, Max: 6e7},
		Skew:    Quantiles{Count: 1e6, P50: 1e7, P99: 3e7, Max: 6e7}, Credit: Quantiles{Count: 1e6, P50: 1e7, P99: 3e7, Max: 6e7},
		Unfollowed: 123_456, Delivered: 1e9, Examples: []string{"lost: " + strings.Repeat("much ", 30)},
		Warnings: []string{"1 % of the sends left more than 5.0 ms late: lower --rate, give more HTTP connections, or a machine of its own"},
	}}}
	printed := func(width int) string {
		var out strings.Builder
		if err := r.Print(&out, width); err != nil {
			t.Fatal(err)
		}
		return out.String()
	}
	whole := printed(0)
	if printed(tableWidth) != whole || printed(tableWidth-1) == whole {
		t.Error("the table does not depend on the width, or not at its own")
	}
	if got := printed(80); !slices.Equal(strings.Fields(got), strings.Fields(whole)) {
		t.Errorf("of\n%s\nthere is\n%s", whole, got)
	}
	for _, width := range []int{72, 80, 131} {
		for line := range strings.Lines(printed(width)) {
			if n := utf8.RuneCountInString(line) - 1; n > width {
				t.Errorf("%d characters for %d: %s", n, width, line)
			}
		}
	}
}

func TestWrapped(t *testing.T) {
	for width, want := range map[int]string{0: "a µs def", 8: "a µs def", 7: "a µs|def", 4: "a µs|def", 3: "a|µs|def", 1: "a|µs|def"} {
		if got := strings.Join(Wrapped("a µs def", width), "|"); got != want {
			t.Errorf("%d: %q, want %q", width, got, want)
		}
	}
}
