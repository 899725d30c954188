package main

import (
	"errors"
	"math"
	"strings"
	"testing"
	"time"

	"cim/route"
	"cim/server"
)

// stateAt is a standalone's state after seconds of constant work.
func stateAt(started time.Time, seconds float64) processState {
	return processState{
		Kind: "standalone", Started: started, UptimeSeconds: seconds, CPUSeconds: seconds / 2, ResidentBytes: 64 << 20,
		Server: &server.State{
			Sessions: 4, Logins: uint64(10 * seconds), Sends: uint64(20 * seconds), Deliveries: uint64(1000 * seconds),
			Loops: []server.LoopState{{Letters: 3}, {Letters: 4}}, Links: []server.LinkState{{WaitingBytes: 5}},
		},
		Route: &route.State{Logins: uint64(10 * seconds), Messages: uint64(30 * seconds), CatchupsWaiting: 2, SendsWaiting: 1},
	}
}

// TestRates are of two states of one process, by its own clock.
func TestRates(t *testing.T) {
	started := time.Unix(1_700_000_000, 0)
	before := map[string]totals{}
	at := func(s processState, err error) processRow {
		return processRows([]listenerAnswer{{adminListener{url: "http://a"}, s, err}}, before)[0]
	}
	if row := at(stateAt(started, 10), nil); row.Rates != nil {
		t.Errorf("rates of one state: %+v", row.Rates)
	}
	row := at(stateAt(started, 14), nil)
	if want := (rates{CPU: 0.5, Logins: 10, Messages: 50, Deliveries: 1000}); row.Rates == nil || *row.Rates != want {
		t.Errorf("rates %+v, want %+v", row.Rates, want)
	}
	if row.Queued != 10 || row.LinkBytes != 5 || row.Links != 1 || row.BytesPerSession != 16<<20 {
		t.Errorf("row %+v", row)
	}
	if row := at(stateAt(started, 14), nil); row.Rates != nil {
		t.Errorf("rates of no time: %+v", row.Rates)
	}
	if row := at(stateAt(started.Add(time.Minute), 20), nil); row.Rates != nil {
		t.Errorf("rates over a new start: %+v", row.Rates)
	}
	if row := at(processState{}, errors.New("gone\x1b[2J")); row.Error != "gone\uFFFD[2J" || row.Rates != nil || row.Kind != "" {
		t.Errorf("of a silent one: %+v", row)
	}
	if row := at(stateAt(started.Add(time.Minute), 22), nil); row.Rates != nil {
		t.Errorf("rates over a silence: %+v", row.Rates)
	}
}

// TestTotal counts a login once, whether servers, routes or both are asked.
func TestTotal(t *testing.T) {
	r := &rates{CPU: 1, Logins: 5, Messages: 7, Deliveries: 100}
	of := func(kind string) processRow {
		return processRow{Kind: kind, Sessions: 2, ResidentBytes: 1 << 30, Queued: 3, LinkBytes: 4, Rates: r}
	}
	for want, rows := range map[string][]processRow{
		"0 of 1 processes, 0 sessions; a second: 0.0 logins, 0.0 messages, 0.0 deliveries; cpu 0%, rss 0 B; queued 0, on links 0 B":       {{Error: "x"}},
		"2 of 2 processes, 4 sessions; a second: 5.0 logins, 14 messages, 200 deliveries; cpu 200%, rss 2.0 GiB; queued 6, on links 8 B":  {of("server"), of("route")},
		"2 of 3 processes, 4 sessions; a second: 10 logins, 14 messages, 200 deliveries; cpu 200%, rss 2.0 GiB; queued 6, on links 8 B":   {of("route"), of("route"), {Error: "x"}},
		"1 of 1 processes, 2 sessions; a second: 5.0 logins, 7.0 messages, 100 deliveries; cpu 100%, rss 1.0 GiB; queued 3, on links 4 B": {of("standalone")},
		"1 of 1 processes, 0 sessions; a second: 0.0 logins, 0.0 messages, 0.0 deliveries; cpu 0%, rss 0 B; queued 0, on links 0 B":       {{Kind: "server"}},
	} {
		if got := totalText(rows); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

func TestShownFigures(t *testing.T) {
	for want, got := range map[string]string{
		"0 B": size(0), "1023 B": size(1023), "1.0 KiB": size(1024), "100 KiB": size(100 << 10), "1.0 MiB": size(1 << 20),
		"1.0 GiB": size(1 << 30), "2048 GiB": size(1 << 41),
		"0s": span(0), "1m00s": span(60), "59m59s": span(3599), "1h00m": span(3600), "47h59m": span(48*3600 - 1), "2d00h": span(48 * 3600),
		"9.9": decimal(9.9), "10": decimal(10), "-\tx y": cells("", "x\ty"),
		"a\uFFFDb": cells("a\x1bb"), "\uFFFD\t1": cells("\u202e", 1),
	} {
		if got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
	if got := size(math.MaxUint64); !strings.HasSuffix(got, " GiB") {
		t.Errorf("the largest size is %q", got)
	}
}
