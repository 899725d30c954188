package loadgen

import (
	"errors"
	"strings"
	"testing"
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

// TestFaultsQuoted goes to the bound of what is quoted and one past it.
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
	}}}
	var out strings.Builder
	if err := r.Print(&out); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"12345", "678", "lost 9", "private via http", "server CPU µs", "own CPU µs", "with the warm-up: delivered",
		"partial: 1.50 s", "ended connections 2, not delivered to them 4", "stopped early: the server ended 2 of 3",
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q in\n%s", want, &out)
		}
	}
	if err := r.Print(brokenWriter{}); !errors.Is(err, errors.ErrUnsupported) {
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
		"2 3 - 4 5.00 6.00 1 2 3 4 5 6 8.00": full,
		"2 3 - 4 - 6.00 1 2 3 4 5 6 8.00":    noPID,
		"2 3 - 4 5.00 6.00 1 2 3 4 - 6 8.00": few,
		"2 3 - 4 5.00 6.00 1 2 3 - - 6 8.00": fewer,
		"2 - 9 4 5.00 6.00 1 2 3 4 5 6 8.00": open,
		"2 - - - - - - - - - - - 8.00":       {Conns: 2, LoginS: 8},
	} {
		var out strings.Builder
		if err := (Report{Trials: []Trial{trial}}).Print(&out); err != nil {
			t.Fatal(err)
		}
		row := strings.Join(strings.Fields(strings.Split(out.String(), "\n")[3]), " ")
		if row != want {
			t.Errorf("row %q, want %q", row, want)
		}
		if idle := strings.Contains(out.String(), "idle: - bytes"); idle != trial.idle() {
			t.Errorf("idle is told: %v\n%s", idle, &out)
		}
	}
}
