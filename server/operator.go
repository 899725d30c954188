package server

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"cim/proto"
	"cim/server/shard"
)

// What an operator asks of a server: to list the sessions, and to end one. Each
// request is a letter to one loop, for a bounded number of sessions.

// Session is one session in an operator's list.
type Session struct {
	ID          string           `json:"id"` // of the session, in this run of the server
	User        proto.UserID     `json:"userId"`
	Name        string           `json:"userName"` // "" of a client of the original
	Address     string           `json:"address"`
	Dialect     string           `json:"dialect"`
	Generation  proto.Generation `json:"generation"`
	Since       time.Time        `json:"since"`       // to a tick
	UnsentBytes int              `json:"unsentBytes"` // in this process, without the socket's buffer
	Held        bool             `json:"held"`        // waits for its catch-up
}

// ListingCursor is a position in the list of all sessions. The zero ListingCursor is the start.
type ListingCursor struct {
	Loop int
	Slot uint32
}

const cursorFormat = "%d-%d"

// String is the cursor as ParseListingCursor reads it.
func (c ListingCursor) String() string { return fmt.Sprintf(cursorFormat, c.Loop, c.Slot) }

// ParseListingCursor reads what String wrote.
func ParseListingCursor(text string) (ListingCursor, error) {
	var c ListingCursor
	if n, err := fmt.Sscanf(text, cursorFormat, &c.Loop, &c.Slot); n != 2 || err != nil || c.String() != text || c.Loop < 0 {
		return ListingCursor{}, fmt.Errorf("cursor %q is not valid: want one that an earlier answer gave, or none to start again", text)
	}
	return c, nil
}

// listing is a request for sessions to one loop. The loop fills it and then signals
// done; after that the requester owns it. The loop only copies; the requester
// formats.
type listing struct {
	ref  shard.Ref // of one session; zero: list many
	from uint32    // first slot
	most int       // maximum number of sessions

	at    shard.Tick
	found []listedSession
	next  uint32
	more  bool
	done  chan struct{} // of 1
}

// listedSession is a session and its client's address.
type listedSession struct {
	shard.SessionInfo
	address netip.AddrPort
}

// answer implements requester; fill answers a listing.
func (k *listing) answer(uint64, proto.Verdict, uint64) {}

// fill is called by the loop.
func (k *listing) fill(l *loop) {
	k.at = l.server.now()
	if k.ref == (shard.Ref{}) {
		k.next, k.more = l.shard.List(k.from, k.most, func(seen shard.SessionInfo) { k.add(l, seen) })
	} else if seen, live := l.shard.Info(k.ref); live {
		k.add(l, seen)
	}
	k.done <- struct{}{}
}

func (k *listing) add(l *loop, seen shard.SessionInfo) {
	k.found = append(k.found, listedSession{seen, l.conns[seen.Ref.Slot].address()})
}

// sessions are the sessions that the loop has found, for an operator.
func (k *listing) sessions() []Session {
	var all []Session
	now := time.Now().UTC()
	for _, s := range k.found {
		age := time.Duration(k.at-s.Since) * shard.TickMillis * time.Millisecond
		all = append(all, Session{
			ID: sessionID(s.Ref), User: s.User, Name: s.Name, Address: s.address.String(),
			Dialect: s.Dialect.String(), Generation: s.Generation, Since: now.Add(-age).Round(time.Millisecond),
			UnsentBytes: s.Unsent, Held: s.Held,
		})
	}
	return all
}

func sessionID(ref shard.Ref) string { return fmt.Sprintf("%d-%d-%d", ref.Shard, ref.Slot, ref.Reuse) }

// errBusy: a mailbox has no room.
var errBusy = errors.New("server: an event loop has too much to do, try again")

// ask sends k to a loop and waits until it is filled.
func (s *Server) ask(ctx context.Context, loop int, k *listing) error {
	k.done = make(chan struct{}, 1)
	if !s.loops[loop].mailbox.post(letter{kind: letterList, requester: k}, nil) {
		return errBusy
	}
	select {
	case <-k.done:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("server: an event loop does not answer: %w", context.Cause(ctx))
	}
}

// SessionsMax is how many sessions one call of Sessions may ask for.
const SessionsMax = 1024

// listAsksMax bounds the listings of one call of Sessions, so that it ends in time
// even if nearly all slots are empty.
const listAsksMax = 64

// Sessions returns up to most live sessions from a position on, and the next
// position unless the list has ended. It may return none and a next position. It is
// no snapshot: a session that lives during all calls is listed once, another one
// once or not at all.
func (s *Server) Sessions(ctx context.Context, from ListingCursor, most int) (found []Session, next *ListingCursor, err error) {
	for asks := 0; from.Loop < len(s.loops); asks++ {
		if len(found) == most || asks == listAsksMax {
			return found, &from, nil
		}
		room := min(most-len(found), shard.ListSlots)
		k := &listing{from: from.Slot, most: room, found: make([]listedSession, 0, room)}
		if err := s.ask(ctx, from.Loop, k); err != nil {
			return nil, nil, err
		}
		found = append(found, k.sessions()...)
		if k.more {
			from.Slot = k.next
		} else {
			from = ListingCursor{Loop: from.Loop + 1}
		}
	}
	return found, nil, nil
}

// SessionOf returns the live session of user, or none.
func (s *Server) SessionOf(ctx context.Context, user proto.UserID) ([]Session, error) {
	ref, _, found := s.directory.find(user)
	if !found {
		return nil, nil
	}
	k := &listing{ref: ref}
	if err := s.ask(ctx, int(ref.Shard), k); err != nil {
		return nil, err // the loop may still write k
	}
	return k.sessions(), nil
}

// verdicts is a requester that waits for one verdict.
type verdicts chan proto.Verdict // of 1

func (v verdicts) answer(_ uint64, verdict proto.Verdict, _ uint64) { v <- verdict }

// Kick ends the session of user with ReasonKicked, if it has this id or id is
// empty. It reports whether there was one.
func (s *Server) Kick(ctx context.Context, user proto.UserID, id string) (bool, error) {
	ref, _, found := s.directory.find(user)
	if !found || id != "" && id != sessionID(ref) {
		return false, nil
	}
	v := make(verdicts, 1)
	if !s.loops[ref.Shard].mailbox.post(letter{kind: letterKick, ref: ref, requester: v}, nil) {
		return false, errBusy
	}
	select {
	case verdict := <-v:
		return verdict == proto.VerdictTaken, nil
	case <-ctx.Done():
		return false, fmt.Errorf("server: an event loop does not answer, the session may end yet: %w", context.Cause(ctx))
	}
}

// kick answers whether the session was there. Its user may log in again by the time
// the client learns the reason.
func (l *loop) kick(ref shard.Ref) proto.Verdict {
	seen, live := l.shard.Info(ref)
	if !live {
		return proto.VerdictAbsent
	}
	l.shard.End(ref, proto.ReasonKicked)
	l.server.returns.expect(seen.User)
	l.server.forget(seen.User, seen.Generation, ref)
	l.mailbox.post(letter{kind: letterEnded, user: seen.User}, nil)
	return proto.VerdictTaken
}
