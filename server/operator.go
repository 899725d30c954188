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

// What an operator asks of a server: who is connected, and that a session ends.
// Each loop is asked through its mailbox, for a page of bounded size at a time.

// Session is one session as an operator sees it.
type Session struct {
	ID          string           `json:"id"` // of the session, in this run of the server
	User        proto.UserID     `json:"userId"`
	Name        string           `json:"userName"` // "" of a client of the original
	Address     string           `json:"address"`
	Dialect     string           `json:"dialect"`
	Generation  proto.Generation `json:"generation"`
	Since       time.Time        `json:"since"`       // to a tick
	UnsentBytes int              `json:"unsentBytes"` // in this process, without the socket's buffer
	Held        bool             `json:"held"`        // its catch-up is still to come
}

// Cursor is a place in the list of all sessions. The zero Cursor is its
// beginning.
type Cursor struct {
	Loop int
	Slot uint32
}

const cursorFormat = "%d-%d"

// String is the cursor as ParseCursor reads it.
func (c Cursor) String() string { return fmt.Sprintf(cursorFormat, c.Loop, c.Slot) }

// ParseCursor reads what String wrote.
func ParseCursor(text string) (Cursor, error) {
	var c Cursor
	if n, err := fmt.Sscanf(text, cursorFormat, &c.Loop, &c.Slot); n != 2 || err != nil || c.String() != text || c.Loop < 0 {
		return Cursor{}, fmt.Errorf("cursor %q is none that was given", text)
	}
	return c, nil
}

// listing is a question to one loop. The loop writes its answer before it says
// that it is done; whoever asks has it to itself from then on. The loop only
// copies: what can be made of that is made elsewhere.
type listing struct {
	ref  shard.Ref // whose session; zero: a page
	from uint32    // slot at which the page begins
	most int       // sessions that are wanted

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

// answer implements asker. A listing is answered by fill.
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

// sessions are what the loop has found, for an operator.
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

// errBusy is a mailbox without room.
var errBusy = errors.New("server: an event loop has too much to do, try again")

// ask has a loop fill k.
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

// listAsksMax bounds the questions to loops of one call of Sessions: so that it
// ends in time where nearly all slots are empty.
const listAsksMax = 64

// Sessions returns up to most live sessions from a place on, and where to go on
// unless there are no more. It may return none and be told to go on all the same.
// It is no snapshot: a session that lives all the while
// is there once, one that comes or goes meanwhile may be there or not.
func (s *Server) Sessions(ctx context.Context, from Cursor, most int) (found []Session, next *Cursor, err error) {
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
			from = Cursor{Loop: from.Loop + 1}
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
		return nil, err // the loop may yet write
	}
	return k.sessions(), nil
}

// verdicts is an asker that waits.
type verdicts chan proto.Verdict // of 1

func (v verdicts) answer(_ uint64, verdict proto.Verdict, _ uint64) { v <- verdict }

// Kick ends the session of user for the reason kicked, if it is the one of this
// id or id is empty. It reports whether there was one.
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

// kick answers whether the session was there to be ended. Its user may log in
// again by the time that its client is told.
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
