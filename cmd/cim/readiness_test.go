package main

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"strings"
	"testing"
	"time"

	"cim/internal/metrics"
)

// TestReadiness: what a service waits for is logged once, other reasons when
// they stand, and that it is ready when it is.
func TestReadiness(t *testing.T) {
	var log bytes.Buffer
	r := &readinessLog{log: slog.New(slog.NewTextHandler(&log, nil)), addresses: addresses{Route: "here"}}
	now := time.Unix(0, 0)
	for _, step := range []struct {
		after time.Duration
		parts []notReady
		want  string // in the one line that is logged; "": none is
	}{
		{0, []notReady{{"registry", "out of date for 1ms: no session"}, {"store", "away"}}, "not ready yet"},
		{time.Second, []notReady{{"registry", "out of date for 1.002s: no session"}, {"store", "away"}}, ""},
		{time.Minute, []notReady{{"registry", "out of date for 1m1s: no session"}, {"store", "away"}}, ""},
		{time.Second, []notReady{{"store", "away"}}, ""},
		{time.Second / 10, []notReady{{"store", "loads"}}, ""},
		{time.Second / 2, []notReady{{"store", "loads"}}, ""},
		{time.Second, []notReady{{"store", "loads"}}, `not ready yet" waits_for="store: loads"`},
		{time.Minute, []notReady{{"store", "loads"}}, ""},
		{time.Second, nil, "msg=ready route=here"},
		{time.Second, nil, ""},
		{time.Minute, []notReady{{"store", "is full"}}, `level=WARN msg="not ready" why="store: is full"`},
		{time.Second, []notReady{{"store", "is full"}}, ""},
		{time.Second, nil, "ready again"},
		{time.Second, nil, ""},
	} {
		now = now.Add(step.after)
		log.Reset()
		r.note(step.parts, now)
		if got := log.String(); step.want == "" && got != "" || !strings.Contains(got, step.want) || strings.Count(got, "\n") > 1 {
			t.Errorf("at %v, %v: logged %q, want %q in it", now, step.parts, got, step.want)
		}
	}
}

// TestReadinessAtOnce: a process that is ready at the first look logs only that.
func TestReadinessAtOnce(t *testing.T) {
	var log bytes.Buffer
	r := &readinessLog{log: slog.New(slog.NewTextHandler(&log, nil))}
	r.note(nil, time.Unix(0, 0))
	r.note(nil, time.Unix(1, 0))
	if got := log.String(); strings.Count(got, "\n") != 1 || !strings.Contains(got, "msg=ready") {
		t.Errorf("logged %q", got)
	}
}

// endedAtOnce is a service that is ready, and ends before its readiness is read.
type endedAtOnce struct{ end context.CancelFunc }

func (e *endedAtOnce) awaitReady(context.Context) error { e.end(); return nil }
func (*endedAtOnce) ready() []notReady                  { return nil }
func (*endedAtOnce) ends() []<-chan error               { return nil }
func (*endedAtOnce) addresses() addresses               { return addresses{Route: "here"} }
func (*endedAtOnce) counters() *metrics.Set             { return metrics.NewSet() }
func (*endedAtOnce) drain() error                       { return nil }

// TestReadinessEndedAtOnce: the log has the addresses that a service has printed, however soon it
// ends.
func TestReadinessEndedAtOnce(t *testing.T) {
	var log bytes.Buffer
	ctx, end := context.WithCancel(t.Context())
	err := serve(ctx, &endedAtOnce{end}, slog.New(slog.NewTextHandler(&log, nil)), io.Discard)
	if !errors.Is(err, context.Canceled) || strings.Count(log.String(), "msg=ready route=here") != 1 {
		t.Errorf("%v, logged %q", err, log.String())
	}
}
