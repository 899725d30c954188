package route

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"cim/internal/link"
	"cim/proto"
)

// A server is *suspect* from when it has sent nothing for 250 ms although it owes an answer to a
// RecordConfirm, until its next record. Requests that wait for a suspect server, and new ones, get
// errSilence at once. So a server that hangs delays the requests of its first 300 ms, by 300 ms at
// most, and none after that. A server that refuses a confirm, because one of its event loops stands
// still, is suspect until it takes one.
const (
	// checkInterval is the time between two checks of a link. While asks wait, each check sends a
	// confirm; so an ask waits for one check at most.
	checkInterval = 50 * time.Millisecond
	// silentChecksMax is how many checks in a row without a record make a server suspect. Checks
	// are counted, not timed: a route that stood still itself has missed its checks too, and then
	// suspects no server.
	silentChecksMax = 5
	// idleChecksMax is how often an idle link is confirmed: each 500 ms. It keeps
	// the server's lease of 10 s.
	idleChecksMax = 10
	// confirmID is no ask's.
	confirmID = 0
)

// linkMonitor watches one stream. At most one confirm is unanswered: a working link loses none, so
// a second one would prove nothing more.
type linkMonitor struct {
	server      *server
	on          *stream
	log         *slog.Logger
	counters    *counters
	onRecovered func(*server) // called when the server is not suspect any more

	silent       int       // checks in a row without a record while a confirm was unanswered
	idle         int       // looks since the last confirm was due
	unsent       bool      // the last confirm has found no room yet
	suspectSince time.Time // when the monitor found the server suspect; zero: it is not
}

// run looks until ctx, which ends with the stream, does.
func (k *linkMonitor) run(ctx context.Context) {
	again := time.NewTicker(checkInterval)
	defer again.Stop()
	k.confirm()
	for {
		select {
		case <-again.C:
			k.check()
		case <-ctx.Done():
			return
		}
	}
}

func (k *linkMonitor) check() {
	if k.on.stale() {
		k.on.conn.Abort(errStoodStill)
	}
	heard := k.on.heard.Swap(false)
	switch {
	case heard:
		k.silent = 0
		k.on.clearSuspicion() // a record may have come just before the server became suspect
	case k.on.confirming.Load():
		k.silent++
	}
	if !k.suspectSince.IsZero() && !k.on.suspect.Load() {
		k.markRecovered()
	}
	halted := k.on.halted.Load()
	if (k.silent == silentChecksMax || halted) && k.suspectSince.IsZero() {
		k.markSuspect(halted)
	}
	k.idle++
	if !k.on.confirming.Load() && (k.idle >= idleChecksMax || halted || k.on.hasWaiting()) {
		k.confirm()
	} else if k.unsent {
		k.send()
	}
}

func (k *linkMonitor) confirm() {
	k.idle = 0
	k.on.confirming.Store(true) // before it can be answered
	k.send()
}

// send sends the confirm. If the link has no room, the next check tries again: a server that takes
// no bytes is as silent as one that sends no answer.
func (k *linkMonitor) send() {
	err := k.on.conn.Send(&proto.Record{Kind: proto.RecordConfirm, ID: confirmID})
	k.unsent = errors.Is(err, link.ErrFull)
}

func (k *linkMonitor) markSuspect(halted bool) {
	k.suspectSince = time.Now()
	k.on.becomeSuspect()
	k.counters.suspicions.Inc()
	why := "server suspect: it does not answer"
	if halted {
		why = "server suspect: an event loop of it stands still"
	}
	k.log.Warn(why, "server", k.server.member.Name())
}

func (k *linkMonitor) markRecovered() {
	k.log.Info("server answers again", "server", k.server.member.Name(), "after", time.Since(k.suspectSince))
	k.suspectSince = time.Time{}
	k.onRecovered(k.server)
}

// onReceive is called with each record that the server sends, by the link's reader.
func (s *stream) onReceive() {
	if !s.heard.Load() {
		s.heard.Store(true)
	}
	if s.suspect.Load() {
		s.clearSuspicion()
	}
}

// becomeSuspect makes the server suspect.
func (s *stream) becomeSuspect() {
	s.suspectSince.Store(time.Now().UnixNano())
	s.setSuspect(true)
	s.giveUpAll(errSilence)
}

// clearSuspicion ends the suspicion, unless the server itself says that it is halted.
func (s *stream) clearSuspicion() {
	if !s.halted.Load() {
		s.setSuspect(false)
	}
}

// confirmed is called with the server's answer to a confirm.
func (s *stream) confirmed(verdict proto.Verdict) {
	s.halted.Store(verdict != proto.VerdictTaken)
	s.confirming.Store(false)
	if s.suspect.Load() {
		s.clearSuspicion()
	}
}

// unusableSince is since when a stream that ends now has been useless.
func (s *stream) unusableSince() time.Time {
	if s.suspect.Load() {
		return time.Unix(0, s.suspectSince.Load())
	}
	return time.Now()
}

func (s *stream) setSuspect(suspect bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.suspect.Store(suspect)
}

// hasWaiting reports whether asks wait.
func (s *stream) hasWaiting() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.waiting) > 0
}

// sendOneWay sends a record whose answer is not awaited: a broadcast, which is lost if there is no
// room, or the end of a session. If there is no room for that, the link ends; on the next one the
// server reports its sessions.
func (s *stream) sendOneWay(r *proto.Record) {
	if r.Kind != proto.RecordBroadcast && r.Kind != proto.RecordRevoke {
		return
	}
	r.ID = s.nextID()
	err := s.conn.Send(r)
	if r.Kind == proto.RecordRevoke && errors.Is(err, link.ErrFull) {
		s.conn.Close()
	}
}

// echo answers the RecordPaused with this id. The server ignores everything it was sent before, so
// waiting asks get errSilence. So do asks sent between the two calls, although the server may still
// do them. If the echo cannot be sent the link ends, since the server would stay muted.
func (s *stream) echo(id uint64) error {
	if err := s.conn.Send(&proto.Record{Kind: proto.RecordEcho, ID: id}); err != nil {
		return fmt.Errorf("route: answer a server that stood still: %w", err)
	}
	s.giveUpAll(errSilence)
	return nil
}
