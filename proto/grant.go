package proto

import (
	"encoding/binary"
	"net/netip"
)

// Grant is the body of a RecordGrant.
//
//	ticket 16 bytes · address 16 bytes · lifetime u64, ms, little endian
type Grant struct {
	// Ticket is the login's proof.
	Ticket Ticket
	// From is the client's address at its HTTP login; not valid: not known.
	From netip.Addr
	// LifetimeMillis is how long the session may last, in ms from the grant on; 0:
	// no bound. It is no time of day, so that the server's clock may be wrong.
	LifetimeMillis uint64
}

// grantSize is the length of a Grant.
const grantSize = TicketSize + 16 + 8

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
	return binary.LittleEndian.AppendUint64(dst, g.LifetimeMillis)
}

// ParseGrant reads what AppendGrant writes, and reports whether body is that.
func ParseGrant(body []byte) (g Grant, ok bool) {
	if len(body) != grantSize {
		return Grant{}, false
	}
	g.Ticket = Ticket(body)
	if from := netip.AddrFrom16([16]byte(body[TicketSize:])).Unmap(); !from.IsUnspecified() {
		g.From = from
	}
	g.LifetimeMillis = min(binary.LittleEndian.Uint64(body[TicketSize+16:]), LifetimeMillisMax)
	return g, true
}
