package compat

import (
	"context"
	"sync"
	"time"

	"cim/proto"
	"cim/store"
)

const (
	// scanTimeout bounds the scan of the records for the users on servers of the
	// original.
	scanTimeout = 2 * time.Second
	// messagesKnownMax bounds the messages to everybody that are recognised when they
	// come to the next server. One that is not makes a scan more.
	messagesKnownMax = 1024
)

// scans find the users on servers of the original, by reading all records: one scan
// at a time, which serves all messages that came before it began.
type scans struct {
	adapter *Adapter

	mu      sync.Mutex
	count   uint64                // of messages to everybody
	numbers map[messageKey]uint64 // of the last ones, by what they are; <= messagesKnownMax
	order   []messageKey          // the same, oldest first
	running *scan                 // nil: none is
	next    *scan                 // begins behind it; nil: none is asked for
	last    *scan                 // the newest that has ended; nil: it is forgotten
}

// messageKey is the same for all parts of a message.
type messageKey struct {
	sender proto.UserID
	id     proto.TextID
}

// scan is one. What it has found stands when done is closed.
type scan struct {
	upTo uint64 // the last message that came before it began
	done chan struct{}
	at   map[string][]proto.UserID // by the name of their server
	err  error
}

func newScans(a *Adapter) *scans { return &scans{adapter: a, numbers: map[messageKey]uint64{}} }

// number counts a message, once whichever servers it comes to. A key without an id
// is of a new message each time.
func (s *scans) number(key messageKey) uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	if n, known := s.numbers[key]; known {
		return n
	}
	s.count++
	if key.id == 0 {
		return s.count
	}
	if len(s.order) == messagesKnownMax {
		delete(s.numbers, s.order[0])
		s.order = s.order[1:]
	}
	s.numbers[key] = s.count
	s.order = append(s.order, key)
	return s.count
}

// users returns those at the server of a name, as a scan has found them that began
// behind a message.
func (s *scans) users(ctx context.Context, message uint64, name string) ([]proto.UserID, error) {
	found := s.behind(message)
	select {
	case <-found.done:
		return found.at[name], found.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// behind returns a scan that began behind a message, or will.
func (s *scans) behind(message uint64) *scan {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, some := range []*scan{s.last, s.running} {
		if some != nil && some.upTo >= message {
			return some
		}
	}
	if s.next == nil {
		s.next = &scan{done: make(chan struct{})}
	}
	found := s.next
	if s.running == nil {
		s.beginLocked()
	}
	return found
}

// beginLocked begins the next scan. The caller holds mu.
func (s *scans) beginLocked() {
	now := s.next
	now.upTo = s.count
	s.running, s.next = now, nil
	s.adapter.runs.Go(func() {
		s.run(now)
		s.end(now)
	})
}

func (s *scans) run(now *scan) {
	defer close(now.done)
	ctx, stop := context.WithTimeout(s.adapter.ctx, scanTimeout)
	defer stop()
	s.adapter.counters.scans.Inc()
	places, err := s.adapter.store.OriginalPlaces(ctx)
	if err != nil {
		now.err = err
		s.adapter.notices.Say("store failed", "doing", "scan for users on servers of the original", "error", err)
		return
	}
	now.at = byServer(places)
}

// end keeps what a scan has found for the messages that came before it, for as long
// as these last.
func (s *scans) end(now *scan) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.last, s.running = now, nil
	time.AfterFunc(pushTimeout, func() { s.forget(now) })
	if s.next != nil {
		s.beginLocked()
	}
}

func (s *scans) forget(old *scan) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.last == old {
		s.last = nil
	}
}

// byServer returns users by the name of their server.
func byServer(places map[proto.UserID]store.Place) map[string][]proto.UserID {
	at := map[string][]proto.UserID{}
	for user, place := range places {
		at[placeName(place)] = append(at[placeName(place)], user)
	}
	return at
}
