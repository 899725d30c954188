package server

import (
	"crypto/subtle"
	"sync"
	"sync/atomic"

	"cim/internal/admission"
	"cim/proto"
	"cim/server/shard"
)

// directory knows the session of each user, and the users with grants. All
// goroutines of the server share it; no code outside is called under its locks.
type directory struct {
	mode    LoginMode
	repeat  RepeatLogin
	names   bool // keep the names of sessions without a grant
	stripes [64]stripe

	entries atomic.Int64 // of all stripes
	grants  grants
	strays  *strays
	policy  admission.Policy
	proofs  proofs
}

type stripe struct {
	mu      sync.Mutex
	entries map[proto.UserID]*entry // values would take twice the room: a map is half empty
	names   map[proto.UserID]string // of sessions, where names are kept
}

// entry belongs to one user: a grant until the client has connected, then a
// session. It takes 48 bytes; what only a grant needs is behind a pointer.
type entry struct {
	ref        shard.Ref // zero in a grant
	dialect    proto.Dialect
	generation proto.Generation
	ticket     proto.Ticket // of a session
	grant      *pending     // nil: it is a session
}

func newDirectory(mode LoginMode, repeat RepeatLogin, names bool, policy admission.Policy) *directory {
	d := &directory{mode: mode, repeat: repeat, names: names, grants: newGrants(policy), strays: newStrays(), policy: policy, proofs: newProofs()}
	for i := range d.stripes {
		d.stripes[i].entries = make(map[proto.UserID]*entry)
		d.stripes[i].names = make(map[proto.UserID]string)
	}
	return d
}

func (d *directory) stripe(user proto.UserID) *stripe {
	// Fibonacci hashing: ids that are near in time differ in low bits only.
	return &d.stripes[uint64(user)*0x9E3779B97F4A7C15>>58]
}

// find returns where user's session is.
func (d *directory) find(user proto.UserID) (shard.Ref, proto.Generation, bool) {
	s := d.stripe(user)
	s.mu.Lock()
	defer s.mu.Unlock()
	e, found := s.entry(user)
	return e.ref, e.generation, found && e.grant == nil
}

// entry is that of user. The stripe is locked.
func (s *stripe) entry(user proto.UserID) (entry, bool) {
	if e := s.entries[user]; e != nil {
		return *e, true
	}
	return entry{}, false
}

// put and drop change an entry; the stripe is locked.
func (d *directory) put(s *stripe, user proto.UserID, e entry) {
	if at := s.entries[user]; at != nil {
		*at = e
	} else {
		fresh := e // so that only a new entry is allocated
		s.entries[user] = &fresh
		d.entries.Add(1)
	}
	delete(s.names, user)
}

func (d *directory) drop(s *stripe, user proto.UserID) {
	delete(s.entries, user)
	delete(s.names, user)
	d.entries.Add(-1)
}

// revoke ends the session or grant of user up to a generation, as far as mode
// allows. ref is the session, which the caller must end; zero if there was only a
// grant.
func (d *directory) revoke(user proto.UserID, upTo proto.Generation, mode proto.RevokeMode, ticket []byte, now shard.Tick) (ref shard.Ref, verdict proto.Verdict) {
	s := d.stripe(user)
	s.mu.Lock()
	defer s.mu.Unlock()
	e, found := s.entry(user)
	switch {
	case !found || e.generation > upTo:
		return shard.Ref{}, proto.VerdictAbsent
	case e.grant != nil && d.isSpared(user, e, mode, ticket, now), e.grant == nil && !e.mayEnd(mode, ticket):
		return shard.Ref{}, proto.VerdictLives
	case e.grant == nil && mode == proto.RevokeMove:
		return e.ref, proto.VerdictTaken // it goes on
	}
	d.drop(s, user)
	if e.grant != nil {
		d.grants.drop(user)
		d.strays.excuse(user, now)
	}
	return e.ref, proto.VerdictTaken
}

// isTicket compares in constant time.
func isTicket(shown []byte, want proto.Ticket) bool {
	return !want.IsZero() && subtle.ConstantTimeCompare(shown, want[:]) == 1
}

func (e *entry) mayEnd(mode proto.RevokeMode, ticket []byte) bool {
	ours := e.dialect == proto.DialectCIM
	shown := isTicket(ticket, e.ticket)
	switch mode {
	case proto.RevokeTicket, proto.RevokeMove:
		return ours && shown
	case proto.RevokeReplace:
		return ours
	case proto.RevokeGoodbye:
		return !ours || shown
	case proto.RevokeSuperseded:
		return e.generation != 0 // a login without a grant is older than none
	}
	return false
}

// leave removes the session of user at ref, and reports whether it was there: not
// if it was revoked or replaced. name is its name, where names are kept.
func (d *directory) leave(user proto.UserID, ref shard.Ref) (name string, left bool) {
	s := d.stripe(user)
	s.mu.Lock()
	defer s.mu.Unlock()
	e, found := s.entry(user)
	if !found || e.grant != nil || e.ref != ref {
		return "", false
	}
	name = s.names[user]
	d.drop(s, user)
	return name, true
}

// expire removes the expired grants and calls gone with each.
func (d *directory) expire(now shard.Tick, gone func(proto.UserID, proto.Generation)) {
	for due, some := d.grants.takeDue(now); some; due, some = d.grants.takeDue(now) {
		if d.expireOne(due) {
			gone(due.user, due.generation)
		}
	}
}

// makeRoom removes unused grants until there is room for one of user among
// entriesMax sessions and grants, and calls gone with each. It returns false if
// sessions take all the room. An address that has logged in many users does not
// evict the grants of others: its share is that of the room that the sessions
// leave.
func (d *directory) makeRoom(user proto.UserID, entriesMax int, gone func(proto.UserID, proto.Generation)) bool {
	for d.grants.isFull(user) || d.len() >= entriesMax && !d.has(user) {
		sessions := d.len() - d.grants.len()
		due, some := d.grants.evict(entriesMax - sessions)
		if !some {
			return false
		}
		if d.expireOne(due) {
			gone(due.user, due.generation)
		}
	}
	return true
}

// has reports whether user has a session or a grant.
func (d *directory) has(user proto.UserID) bool {
	s := d.stripe(user)
	s.mu.Lock()
	defer s.mu.Unlock()
	_, found := s.entries[user]
	return found
}

// forever is later than the expiry of any grant.
const forever = ^shard.Tick(0)

// endGrants removes all grants and calls gone with each.
func (d *directory) endGrants(gone func(proto.UserID, proto.Generation)) {
	d.expire(forever, gone)
}

func (d *directory) expireOne(due grantDue) bool {
	s := d.stripe(due.user)
	s.mu.Lock()
	defer s.mu.Unlock()
	e, found := s.entry(due.user)
	if !found || e.grant == nil || e.generation != due.generation {
		return false
	}
	d.drop(s, due.user)
	return true
}

// len is the number of grants and sessions.
func (d *directory) len() int { return int(d.entries.Load()) }

// appendSessions appends the sessions of one stripe that have a grant. It holds the
// lock while it copies them: some microseconds for each hundred.
func (d *directory) appendSessions(sessions []proto.Session, stripe int) []proto.Session {
	s := &d.stripes[stripe]
	s.mu.Lock()
	defer s.mu.Unlock()
	for user, e := range s.entries {
		if e.grant == nil && e.generation != 0 {
			sessions = append(sessions, proto.Session{User: user, Generation: e.generation})
		}
	}
	return sessions
}
