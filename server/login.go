package server

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"net/netip"

	"cim/internal/admission"
	"cim/proto"
	"cim/server/shard"
)

const (
	// freshTicks is how long a goodbye without a ticket does not end a grant, 2 s:
	// its client is on the way.
	freshTicks shard.Tick = 2_000 / shard.TickMillis
	// fromMax bounds the addresses that are remembered for the logins of a grant.
	fromMax = 4
)

// pending is what a grant knows about its logins over HTTP. Each login has its own
// ticket, so a login does not invalidate an earlier one that waits for its client.
// The first client that connects gets the session.
type pending struct {
	name    string       // of the account
	ticket  proto.Ticket // of the first login
	joined  bool         // more logins followed
	demand  bool         // a client must show a ticket: no login came from a client of the original
	ours    bool         // one of the logins came from a client of ours
	at      shard.Tick   // of the last login
	left    proto.Epoch  // the server whose session goes on until this one begins; 0: none
	older   proto.Epoch  // a server that may have, or had, an older session; 0: none
	expires shard.Tick   // when the session must end; 0: never

	// For logins of clients of the original, which show no ticket.
	openAt shard.Tick // of the last one
	rule   proto.AddressRule
	from   [fromMax]netip.Addr // the last different addresses, newest first; not valid: none
}

// newPending reads one login of a RecordGrant or RecordJoin.
func newPending(r *proto.Record, granted proto.Grant, now shard.Tick) pending {
	p := pending{name: string(r.Name), ticket: granted.Ticket, demand: r.Flags&proto.FlagDemandTicket != 0, at: now, rule: granted.Rule}
	p.ours, p.older = p.demand, proto.Epoch(r.Value)
	if r.Flags&proto.FlagMove != 0 {
		p.left = proto.Epoch(r.Value)
	}
	if granted.LifetimeMillis != 0 { // rounded up: now is the start of a tick
		p.expires = now + 1 + shard.Tick((granted.LifetimeMillis+shard.TickMillis-1)/shard.TickMillis)
	}
	if !p.demand {
		p.open(granted.From, now)
	}
	return p
}

// open records a login of a client that shows no ticket.
func (p *pending) open(from netip.Addr, now shard.Tick) {
	p.openAt = now
	from = sourceOf(from)
	last := 0
	for last < fromMax-1 && p.from[last].IsValid() && p.from[last] != from {
		last++
	}
	copy(p.from[1:last+1], p.from[:last])
	p.from[0] = from
}

// add records one more login. The session ends with the token that expires first,
// since it is unknown which of the logins the client belongs to.
func (p *pending) add(login pending, from netip.Addr) {
	p.joined, p.at, p.rule, p.ours = true, login.at, login.rule, p.ours || login.ours
	if login.expires != 0 && (p.expires == 0 || login.expires < p.expires) {
		p.expires = login.expires
	}
	if !login.demand {
		p.demand = false
		p.open(from, login.at)
	}
}

// sourceOf maps the address of a client, so that its HTTP login and its connection
// compare equal.
func sourceOf(addr netip.Addr) netip.Addr {
	if addr == netip.IPv6Loopback() {
		return loopback
	}
	return admission.Source(addr)
}

var loopback = netip.AddrFrom4([4]byte{127, 0, 0, 1})

// grant expects user, who has logged in from an address. It returns the ref of a
// session of an older generation, which must end. A session without a grant stays,
// and the verdict is VerdictLives.
func (d *directory) grant(user proto.UserID, generation proto.Generation, p pending, from netip.Addr) (old shard.Ref, verdict proto.Verdict) {
	s := d.stripe(user)
	s.mu.Lock()
	defer s.mu.Unlock()
	before, found := s.entry(user)
	switch {
	case found && before.grant == nil && before.generation == 0:
		return shard.Ref{}, proto.VerdictLives
	case found && before.generation >= generation:
		return shard.Ref{}, proto.VerdictStale
	}
	d.put(s, user, entry{generation: generation, grant: &p})
	d.grants.put(user, generation, from, p.at)
	return before.ref, proto.VerdictTaken
}

// join adds a login to a grant that no client has used. proof is for
// proto.JoinedTicket.
func (d *directory) join(user proto.UserID, generation proto.Generation, login pending, from netip.Addr) (proof uint64, verdict proto.Verdict) {
	s := d.stripe(user)
	s.mu.Lock()
	defer s.mu.Unlock()
	e, found := s.entry(user)
	switch {
	case !found || e.generation != generation:
		return 0, proto.VerdictAbsent
	case e.grant == nil:
		return 0, proto.VerdictLives
	}
	e.grant.add(login, from)
	d.grants.join(user, from, login.at)
	d.strays.excuse(user, login.at) // only one of the two clients finds the grant
	return d.proofs.of(user, generation, login.ticket[:]), proto.VerdictTaken
}

// claim is what a successful login gets.
type claim struct {
	generation proto.Generation
	replaced   shard.Ref   // a session that must end, usually zero
	left       proto.Epoch // as in the grant
	older      proto.Epoch // likewise
	name       string      // as in the grant: the account's; "" without one
	expires    shard.Tick  // as in the grant
}

// origin is where a connection comes from.
type origin struct {
	addr netip.Addr
	own  bool // from this machine, by another address than loopback
}

// refusal is why a login is refused: reason goes to the client; guard, which the
// client must not learn, to the log and the metrics.
type refusal struct {
	reason proto.Reason
	guard  guard
}

// guard is a check that protects the session of a client of the original, which
// shows no ticket.
type guard uint8

const (
	guardNone    guard = iota
	guardWait          // the address waits after logins that no route had announced
	guardAddress       // the user logged in over HTTP from another address
	guardCount
)

// String names the guard as metrics and logs do.
func (g guard) String() string { return [guardCount]string{"none", "wait", "address"}[g] }

// claim makes a connection the session of the user that its login names. If the
// refusal is ReasonNone, the connection is the session.
func (d *directory) claim(user proto.UserID, login *proto.View, ref shard.Ref, from origin, now shard.Tick) (claim, refusal) {
	s := d.stripe(user)
	s.mu.Lock()
	defer s.mu.Unlock()
	e, found := s.entry(user)
	if why := d.judge(user, e, found, login, from, now); why.reason != proto.ReasonNone {
		return claim{}, why
	}
	granted, replaced, name := claim{}, e.ref, ""
	next := entry{ref: ref, generation: e.generation, dialect: login.LoginDialect()}
	switch p := e.grant; {
	case p == nil: // an open login
		next.generation = 0
		if d.names {
			name = string(login.Text)
		}
	default:
		d.grants.drop(user)
		granted, next.ticket = claim{left: p.left, older: p.older, name: p.name, expires: p.expires}, p.ticket
		if login.Ticket != nil {
			next.ticket = proto.Ticket(login.Ticket)
		}
	}
	granted.generation, granted.replaced = next.generation, replaced
	d.put(s, user, next)
	if name != "" {
		s.names[user] = name
	}
	return granted, refusal{}
}

// judge returns why a login is refused.
func (d *directory) judge(user proto.UserID, e entry, found bool, login *proto.View, from origin, now shard.Tick) refusal {
	switch {
	case found && e.grant != nil:
		return d.judgeGranted(user, e, login, from, now)
	case d.mode == LoginGranted:
		d.noteStray(user, login, from, now)
		return refusal{reason: proto.ReasonNoGrant}
	case proto.CheckUserName(string(login.Text)) != nil || login.ID <= 0:
		return refusal{reason: proto.ReasonAccountMismatch}
	case found && (d.repeat == RepeatRefuse || e.dialect != proto.DialectCIM):
		return refusal{reason: proto.ReasonRepeatLogin}
	}
	return refusal{}
}

func (d *directory) judgeGranted(user proto.UserID, e entry, login *proto.View, from origin, now shard.Tick) refusal {
	p := e.grant
	switch {
	case !proto.SameName(p.name, string(login.Text)):
		d.noteStray(user, login, from, now)
		return refusal{reason: proto.ReasonAccountMismatch}
	case login.Ticket != nil && d.proves(user, e, login.Ticket):
		return refusal{}
	case login.Ticket != nil || p.demand: // a ticket of another login proves nothing where none is demanded
		return refusal{reason: proto.ReasonTicket}
	case d.mode == LoginOpen: // a client without a grant is let in too
		return refusal{}
	case d.strays.waits(user, sourceOf(from.addr), p.openAt):
		return refusal{proto.ReasonNoGrant, guardWait}
	case d.fromOtherAddress(user, p, from, now):
		return refusal{proto.ReasonNoGrant, guardAddress}
	}
	return refusal{}
}

// fromOtherAddress reports whether a connection without a ticket comes from another
// address than the logins over HTTP, although it must come from one of theirs.
func (d *directory) fromOtherAddress(user proto.UserID, p *pending, from origin, now shard.Tick) bool {
	source := sourceOf(from.addr)
	switch {
	case p.rule == proto.AddressAny || d.policy.Trusts(from.addr):
		return false // for a connection from a proxy, the client's address is unknown
	case p.rule == proto.AddressAuto && !d.strays.others(user, source, now):
		return false
	}
	for _, login := range p.from {
		if login == source || from.own && login == loopback {
			return false
		}
	}
	return p.from[0].IsValid()
}

// noteStray records a login that no route has announced. A login with a ticket does
// not count, since its sender is not guessing.
func (d *directory) noteStray(user proto.UserID, login *proto.View, from origin, now shard.Tick) {
	if login.Ticket == nil && d.mode == LoginGranted {
		d.strays.note(user, sourceOf(from.addr), now)
	}
}

// proves reports whether ticket is the ticket of a login of the grant.
func (d *directory) proves(user proto.UserID, e entry, ticket []byte) bool {
	return isTicket(ticket, e.grant.ticket) || e.grant.joined && d.proofs.check(user, e.generation, ticket)
}

// isSpared reports whether a grant is not ended, since its client may be about to
// connect, and the caller has not proved that the login is its own. As for
// sessions, this protects clients of ours.
func (d *directory) isSpared(user proto.UserID, e entry, mode proto.RevokeMode, ticket []byte, now shard.Tick) bool {
	if !e.grant.ours || mode != proto.RevokeGoodbye && mode != proto.RevokeGone {
		return false
	}
	own := !e.grant.joined && d.proves(user, e, ticket)
	return !own && now < e.grant.at+freshTicks
}

// proofs make and check the tickets of logins that have joined a grant. Nothing is
// stored for each of them, however many there are.
type proofs struct{ key [sha256.Size]byte }

func newProofs() (p proofs) {
	rand.Read(p.key[:]) // ends the process rather than fail
	return p
}

// of is the second half of a joined ticket, given its first half: the beginning of
// an HMAC-SHA256.
func (p *proofs) of(user proto.UserID, generation proto.Generation, ticket []byte) uint64 {
	mac := hmac.New(sha256.New, p.key[:])
	about := binary.LittleEndian.AppendUint64(nil, uint64(user))
	about = binary.LittleEndian.AppendUint64(about, uint64(generation))
	mac.Write(append(about, ticket[:proto.TicketSize/2]...))
	return binary.BigEndian.Uint64(mac.Sum(nil))
}

// check reports whether of made ticket.
func (p *proofs) check(user proto.UserID, generation proto.Generation, ticket []byte) bool {
	return len(ticket) == proto.TicketSize && isTicket(ticket, proto.JoinedTicket(proto.Ticket(ticket), p.of(user, generation, ticket)))
}
