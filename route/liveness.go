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

// A link's server is *suspect* from when it has said nothing for 250 ms although
// a RecordConfirm is on its way, until the next record of it comes. Whoever
// waits for a suspect server is answered errSilence at once, and whoever comes.
// So a server that hangs holds up what came within its first 300 ms, for 300 ms
// at most, and nothing after that. A server that answers a confirm with a
// refusal, since an event loop of it stands still, is suspect until it takes one.
const (
	// checkInterval is between two looks of a keeper at its link. While asks wait a
	// confirm is on its way after each; an ask waits for one look at most.
	checkInterval = 50 * time.Millisecond
	// silentChecksMax in a row that have heard nothing make a server suspect. They
	// are counted, not timed: a route that stood still itself has missed the
	// looks too, and suspects nobody for it.
	silentChecksMax = 5
	// idleChecksMax is how often an idle link is confirmed: each 500 ms. It keeps
	// the server's lease of 10 s.
	idleChecksMax = 10
	// confirmID is no ask's.
	confirmID = 0
)

// linkMonitor watches one stream. At most one confirm of it is unanswered: no link
// that stands loses one, so another one would say nothing more.
type linkMonitor struct {
	server      *server
	on          *stream
	log         *slog.Logger
	counters    *counters
	onRecovered func(*server) // called when the server is not suspect any more

	silent       int       // looks in a row that heard nothing while a confirm was on its way
	idle         int       // looks since the last confirm was due
	unsent       bool      // the last confirm has found no room yet
	suspectSince time.Time // when the server became suspect; zero: it is not, as far as was told
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
		k.on.clearSuspicion() // it may have been heard just before it became suspect
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

// send sends the confirm. A link without room is tried again at the next look:
// a server that takes nothing is as silent as one that answers nothing.
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

// unusableSince is since when a stream that ends now has been of no use.
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

// sendOneWay sends what a server is to do although nobody waits for it any
// more: to bring a broadcast to its sessions, which is lost if there is no room,
// and to end a session. If there is no room for that the link ends, since it is
// hopeless; on the next one the server tells of its sessions.
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

// echo answers the RecordPaused with this id. The server does nothing of what
// it was sent before, so nobody waits for that any more; what is sent between
// the two calls is given up too, and may be done all the same. Without an echo
// the server would never listen again: then the link ends.
func (s *stream) echo(id uint64) error {
	if err := s.conn.Send(&proto.Record{Kind: proto.RecordEcho, ID: id}); err != nil {
		return fmt.Errorf("route: answer a server that stood still: %w", err)
	}
	s.giveUpAll(errSilence)
	return nil
}
