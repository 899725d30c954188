package proto

import (
	"encoding/binary"
	"net/netip"
)

// AddressRule says from which address a client of the original, which shows no
// ticket, must connect.
type AddressRule uint8

// The rules. Where admission groups addresses into networks, a network counts as
// one address.
const (
	// AddressAuto: as AddressSame while other addresses try to get the session,
	// else as AddressAny.
	AddressAuto AddressRule = 0
	AddressSame AddressRule = 1 // from the address of its HTTP login
	AddressAny  AddressRule = 2
)

// Grant is the body of a RecordGrant and of a RecordJoin.
//
//	ticket 16 bytes · address 16 bytes · lifetime u64, ms, little endian · rule u8
type Grant struct {
	// Ticket is the login's proof. In a RecordJoin its second half is unused: the
	// server makes it (JoinedTicket).
	Ticket Ticket
	// From is the client's address at its HTTP login; not valid: unknown.
	From netip.Addr
	// LifetimeMillis is how long the session may last after the grant; 0: no bound.
	// It is a duration, so that the server's clock may be wrong.
	LifetimeMillis uint64
	// Rule is where the client must connect from if it shows no ticket.
	Rule AddressRule
}

// JoinedTicket is the ticket of a login that has joined an earlier grant: the first
// half of the ticket that its route has sent, and the server's answer.
func JoinedTicket(sent Ticket, proof uint64) Ticket {
	binary.BigEndian.PutUint64(sent[TicketSize/2:], proof)
	return sent
}

// grantSize is the length of a Grant.
const grantSize = TicketSize + 16 + 8 + 1

// LifetimeMillisMax is longer than the life of any token: two years. ParseGrant
// reduces a longer lifetime to it.
const LifetimeMillisMax = 2 * 366 * 24 * 3600 * 1000

// AppendGrant appends g.
func AppendGrant(dst []byte, g Grant) []byte {
	var from [16]byte
	if g.From.IsValid() {
		from = g.From.As16()
	}
	dst = append(append(dst, g.Ticket[:]...), from[:]...)
	dst = binary.LittleEndian.AppendUint64(dst, g.LifetimeMillis)
	return append(dst, byte(g.Rule))
}

// ParseGrant parses what AppendGrant writes, and reports whether body is valid.
func ParseGrant(body []byte) (g Grant, ok bool) {
	if len(body) != grantSize {
		return Grant{}, false
	}
	g.Ticket, g.Rule = Ticket(body), AddressRule(body[grantSize-1])
	if g.Rule > AddressAny {
		return Grant{}, false
	}
	if from := netip.AddrFrom16([16]byte(body[TicketSize:])).Unmap(); !from.IsUnspecified() {
		g.From = from
	}
	g.LifetimeMillis = min(binary.LittleEndian.Uint64(body[TicketSize+16:]), LifetimeMillisMax)
	return g, true
}
