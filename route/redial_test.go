package route

import (
	"context"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"cim/internal/link"
	"cim/internal/metrics"
	"cim/proto"
)

// TestRedialOfSilence: a server whose address swallows everything is dialled
// ever less often, though each try takes as long as the longest pause.
func TestRedialOfSilence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dials := 0
		d := dialer{holders: new(link.Holders), log: slog.New(slog.DiscardHandler), counters: newCounters(metrics.NewSet())}
		d.dial = func(ctx context.Context, _ proto.Member) (*link.Conn, error) {
			dials++
			<-ctx.Done()
			time.Sleep(time.Millisecond) // a deadline is never to the moment
			return nil, ctx.Err()
		}
		ctx, stop := context.WithTimeout(t.Context(), 24*dialTimeout)
		defer stop()
		d.keep(ctx, newServer(proto.Member{}, d.counters))
		// The first pauses are short; later at least one and a half of dialTimeout pass between two
		// tries, by the shortest jitter.
		if dials < 8 || dials > 19 {
			t.Errorf("%d dials in %v, want 8 to 19", dials, 24*dialTimeout)
		}
	})
}
