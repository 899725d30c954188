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
	// freshTicks is how long a grant is spared by a goodbye that does not show
	// its ticket, 2 s: its client is on the way.
	freshTicks shard.Tick = 2_000 / shard.TickMillis
	// fromMax bounds the addresses of a grant's logins that are remembered.
	fromMax = 4
)

// pending is what a grant says of the logins over HTTP that stand behind it. Each
// of them has a ticket of its own: a login takes nothing from another one that
// waits for its client. The first client that connects has the session.
type pending struct {
	name    string       // the account's
	ticket  proto.Ticket // of the first login
	joined  bool         // there were more
	demand  bool         // a client must show a ticket: none of the logins was of a client of the original
	ours    bool         // one of the logins was of a client of ours
	at      shard.Tick   // of the last login
	left    proto.Epoch  // of the server whose session goes on until this one begins; 0: none
	older   proto.Epoch  // of a server that may have an older session, or had one; 0: none
	expires shard.Tick   // when the session must end; 0: never

	// Of the logins of clients of the original, which show no ticket.
	openAt shard.Tick // of the last one
	rule   proto.AddressRule
	from   [fromMax]netip.Addr // the last different addresses, newest first; not valid: none
}

// newPending is what a route says of one login.
func newPending(r *proto.Record, granted proto.Grant, now shard.Tick) pending {
	p := pending{name: string(r.Name), ticket: granted.Ticket, demand: r.Flags&proto.FlagDemandTicket != 0, at: now, rule: granted.Rule}
	p.ours, p.older = p.demand, proto.Epoch(r.Value)
	if r.Flags&proto.FlagMove != 0 {
		p.left = proto.Epoch(r.Value)
	}
	if granted.LifetimeMillis != 0 { // not before that: now is the tick that has begun
		p.expires = now + 1 + shard.Tick((granted.LifetimeMillis+shard.TickMillis-1)/shard.TickMillis)
	}
	if !p.demand {
		p.open(granted.From, now)
	}
	return p
}

// open notes a login of a client that shows no ticket.
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

// add is one more login. Its session ends with the token that expires first:
// which of the logins the client belongs to is not kept.
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

// sourceOf is what counts as the address of a client, the same for its HTTP login
// and its connection.
func sourceOf(addr netip.Addr) netip.Addr {
	if addr == netip.IPv6Loopback() {
		return loopback
	}
	return admission.Source(addr)
}

var loopback = netip.AddrFrom4([4]byte{127, 0, 0, 1})

// grant expects user, who has logged in from an address. A session of an older
// generation that is still here must end: its ref is returned. A session that
// logged in without a grant stays, and the verdict is VerdictLives.
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
	d.strays.excuse(user, login.at) // one of the two clients finds no grant
	return d.proofs.of(user, generation, login.ticket[:]), proto.VerdictTaken
}

// claim is what comes with a user's place.
type claim struct {
	generation proto.Generation
	replaced   shard.Ref   // of a session that must make way, usually zero
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

// refusal is why a login is refused: to the client, and if it knows too little
// of that, for the log and the metrics.
type refusal struct {
	reason proto.Reason
	guard  guard
}

// guard is what keeps a stranger from the session of a client of the original,
// which shows no ticket.
type guard uint8

const (
	guardNone    guard = iota
	guardWait          // the address waits after logins that nobody had announced
	guardAddress       // the user logged in over HTTP from another address
	guardCount
)

// String names the guard as metrics and logs do.
func (g guard) String() string { return [guardCount]string{"none", "wait", "address"}[g] }

// claim makes a connection the session of the user that its login names. On
// ReasonNone the claim is taken.
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

// judge says why a login is refused.
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
	case login.Ticket != nil || p.demand: // another login's ticket proves nothing where none is demanded
		return refusal{reason: proto.ReasonTicket}
	case d.mode == LoginOpen: // who connects without a grant is let in too
		return refusal{}
	case d.strays.waits(user, sourceOf(from.addr), p.openAt):
		return refusal{proto.ReasonNoGrant, guardWait}
	case d.elsewhere(user, p, from, now):
		return refusal{proto.ReasonNoGrant, guardAddress}
	}
	return refusal{}
}

// elsewhere reports whether a connection that shows no ticket comes from another
// address than the logins over HTTP, and has to come from theirs.
func (d *directory) elsewhere(user proto.UserID, p *pending, from origin, now shard.Tick) bool {
	source := sourceOf(from.addr)
	switch {
	case p.rule == proto.AddressAny || d.policy.Trusts(from.addr):
		return false // of what a proxy passes on the client's address is not known
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

// noteStray notes a login that no route has announced, unless it shows a ticket: its
// sender does not guess.
func (d *directory) noteStray(user proto.UserID, login *proto.View, from origin, now shard.Tick) {
	if login.Ticket == nil && d.mode == LoginGranted {
		d.strays.note(user, sourceOf(from.addr), now)
	}
}

// proves reports whether ticket is that of a login of a grant.
func (d *directory) proves(user proto.UserID, e entry, ticket []byte) bool {
	return isTicket(ticket, e.grant.ticket) || e.grant.joined && d.proofs.check(user, e.generation, ticket)
}

// spares reports whether a grant is not ended, since its client may be about to
// connect, and who asks has not shown that the login is their own. That is so for
// clients of ours, as for their sessions.
func (d *directory) spares(user proto.UserID, e entry, mode proto.RevokeMode, ticket []byte, now shard.Tick) bool {
	if !e.grant.ours || mode != proto.RevokeGoodbye && mode != proto.RevokeGone {
		return false
	}
	own := !e.grant.joined && d.proves(user, e, ticket)
	return !own && now < e.grant.at+freshTicks
}

// proofs make the tickets of logins that have joined a grant, and know them
// again: however many there are, nothing is kept of each.
type proofs struct{ key [sha256.Size]byte }

func newProofs() (p proofs) {
	rand.Read(p.key[:]) // ends the process rather than fail
	return p
}

// of is the second half of a ticket whose first half is known: the beginning of
// an HMAC-SHA256.
func (p *proofs) of(user proto.UserID, generation proto.Generation, ticket []byte) uint64 {
	mac := hmac.New(sha256.New, p.key[:])
	about := binary.LittleEndian.AppendUint64(nil, uint64(user))
	about = binary.LittleEndian.AppendUint64(about, uint64(generation))
	mac.Write(append(about, ticket[:proto.TicketSize/2]...))
	return binary.BigEndian.Uint64(mac.Sum(nil))
}

// check reports whether ticket is one of these.
func (p *proofs) check(user proto.UserID, generation proto.Generation, ticket []byte) bool {
	return len(ticket) == proto.TicketSize && isTicket(ticket, proto.JoinedTicket(proto.Ticket(ticket), p.of(user, generation, ticket)))
}
