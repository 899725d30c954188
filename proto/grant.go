package proto

import (
	"encoding/binary"
	"net/netip"
)

// AddressRule says from where a client of the original must connect, which shows
// no ticket.
type AddressRule uint8

// The rules. An address counts as a whole network where admission counts it so.
const (
	// AddressAuto: from the address of its HTTP login, while others try to get
	// the session.
	AddressAuto AddressRule = 0
	AddressSame AddressRule = 1 // from the address of its HTTP login
	AddressAny  AddressRule = 2
)

// Grant is the body of a RecordGrant and of a RecordJoin.
//
//	ticket 16 bytes · address 16 bytes · lifetime u64, ms, little endian · rule u8
type Grant struct {
	// Ticket is the login's proof. In a RecordJoin its second half is unused:
	// the server makes that (JoinedTicket).
	Ticket Ticket
	// From is the client's address at its HTTP login; not valid: not known.
	From netip.Addr
	// LifetimeMillis is how long the session may last, in ms from the grant on; 0:
	// no bound. It is no time of day, so that the server's clock may be wrong.
	LifetimeMillis uint64
	// Rule is where the client must connect from, if it shows no ticket.
	Rule AddressRule
}

// JoinedTicket is the ticket of a login that has joined another one's grant: the
// first half of what its route has sent, and what the server has answered.
func JoinedTicket(sent Ticket, proof uint64) Ticket {
	binary.BigEndian.PutUint64(sent[TicketSize/2:], proof)
	return sent
}

// grantSize is the length of a Grant.
const grantSize = TicketSize + 16 + 8 + 1

// LifetimeMillisMax is more than any token lasts: two years. A longer lifetime is
// read as this one.
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

// ParseGrant reads what AppendGrant writes, and reports whether body is that.
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
