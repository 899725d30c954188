package main

import (
	"context"
	"log/slog"
	"regexp"
	"strings"
	"time"
)

const (
	// readinessEvery is between two looks whether a service is ready,
	// readinessFirst until it is ready for the first time.
	readinessEvery = time.Second
	readinessFirst = 100 * time.Millisecond
	// readinessSettled is how long other reasons must stand until they are
	// logged: at a start one part after the other gets ready within moments.
	readinessSettled = time.Second
)

// readinessLog logs when a service is ready and when it is not, and why: once, and
// again when that changes. It is used by one goroutine.
type readinessLog struct {
	ready     func() []notReady
	addresses addresses
	log       *slog.Logger

	was     bool      // ready once
	logged  string    // the reasons that were logged last; "": that it is ready
	seen    string    // the reasons of the last look
	seenAt  time.Time // since when they are the same
	started bool      // there was a look
}

func newReadinessLog(s service, log *slog.Logger) *readinessLog {
	return &readinessLog{ready: s.ready, addresses: s.addresses(), log: log}
}

// follow looks until ctx ends.
func (r *readinessLog) follow(ctx context.Context) {
	for ctx.Err() == nil {
		parts := r.ready()
		if ctx.Err() != nil {
			return // it goes down
		}
		r.note(parts, time.Now())
		pause := readinessEvery
		if !r.was {
			pause = readinessFirst
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
		}
	}
}

// note logs what a look at this time has found, if it has something new.
func (r *readinessLog) note(parts []notReady, now time.Time) {
	words := make([]string, len(parts))
	for i, p := range parts {
		words[i] = p.String()
	}
	why := strings.Join(words, "; ")
	// How long something has lasted is no other reason.
	reasons := lasting.ReplaceAllString(why, "")
	if first := !r.started; first || reasons != r.seen {
		r.started, r.seen, r.seenAt = true, reasons, now
		if !first && reasons != "" && r.logged != "" {
			return
		}
	}
	if reasons == r.logged && (reasons != "" || r.was) || reasons != "" && r.logged != "" && now.Sub(r.seenAt) < readinessSettled {
		return
	}
	switch {
	case reasons != "" && r.was:
		r.log.Warn("not ready", "why", why)
	case reasons != "":
		r.log.Info("not ready yet", "waits_for", why)
	case r.was:
		r.log.Info("ready again")
	default:
		r.log.Info("ready", r.addresses.attrs()...)
		r.was = true
	}
	r.logged = reasons
}

// lasting matches a duration as Go writes it.
var lasting = regexp.MustCompile(`[0-9.]+(ns|µs|ms|s|m|h)([0-9.]+(ns|µs|ms|s|m))*\b`)
