package proto

import (
	"encoding/hex"
	"fmt"
	"math"
	"strconv"
)

// UserID is the number of an account. The route assigns it at registration; it is
// positive.
type UserID int64

// Generation counts the logins of one user. A larger one is newer; 0 is a login
// without a grant.
type Generation uint64

// Epoch names one run of a server process. It is never 0 and never reused.
type Epoch uint64

// TextID identifies a text, wherever it is stored or sent again: a receiver that
// has had it drops a second copy. The route or server that gets a message first
// draws it at random; 0 is no id.
type TextID uint64

const textIDSize = 8

// Next is the id of the nth text after this one in the same message; for 0 it is 0.
func (id TextID) Next(n int) TextID {
	if id == 0 {
		return 0
	}
	return id + TextID(n)
}

// TextIDsFrom returns the ids of n texts of one message, the first of which is id;
// none for id 0.
func TextIDsFrom(id TextID, n int) []TextID {
	if id == 0 {
		return nil
	}
	ids := make([]TextID, n)
	for i := range ids {
		ids[i] = id.Next(i)
	}
	return ids
}

// ParseTextID parses an id in decimal, as in HTTP bodies. The empty string is no
// id: 0.
func ParseTextID(s string) (TextID, error) {
	if s == "" {
		return 0, nil
	}
	id, err := strconv.ParseUint(s, 10, 64)
	if err != nil || id == 0 {
		return 0, fmt.Errorf("textId %q is not a number from 1 to %d", s, uint64(math.MaxUint64))
	}
	return TextID(id), nil
}

// UnixMilli is a time in milliseconds since 1970. 0: unknown.
type UnixMilli int64

// SameTime returns n copies of at, the times of texts that were sent together; none
// for 0.
func SameTime(at UnixMilli, n int) []UnixMilli {
	if at == 0 {
		return nil
	}
	times := make([]UnixMilli, n)
	for i := range times {
		times[i] = at
	}
	return times
}

// Receivers is the number of sessions that got a group message. The zero value
// means that the number is unknown.
type Receivers uint64

// receiversMax is far above any possible number.
const receiversMax = 1 << 53

// ReceiversOf is the number n, which is at least 0.
func ReceiversOf(n int) Receivers { return Receivers(n) + 1 }

// Count returns the number, if it is known.
func (r Receivers) Count() (n int, known bool) {
	if r == 0 {
		return 0, false
	}
	return int(r - 1), true
}

// User is an account as other users see it.
type User struct {
	ID   UserID
	Name string
}

// TicketSize is the length of a ticket in bytes.
const TicketSize = 16

// Ticket is the random proof of one login. The zero ticket proves nothing.
type Ticket [TicketSize]byte

// IsZero reports whether t is the zero ticket, which means no ticket.
func (t Ticket) IsZero() bool { return t == Ticket{} }

// String is t in hexadecimal, its form in HTTP bodies. A ticket is a secret: never
// log it.
func (t Ticket) String() string { return hex.EncodeToString(t[:]) }

// ParseTicket parses what String writes. The empty string is the zero ticket.
func ParseTicket(s string) (Ticket, error) {
	var t Ticket
	if s == "" {
		return t, nil
	}
	if len(s) != 2*TicketSize {
		return t, fmt.Errorf("ticket of %d characters, want %d", len(s), 2*TicketSize)
	}
	if _, err := hex.Decode(t[:], []byte(s)); err != nil {
		return Ticket{}, fmt.Errorf("ticket: %w", err)
	}
	return t, nil
}

// Bounds of what a peer may send. Each has a test at its edge and one past it.
const (
	// FrameMaxBeforeLogin bounds a frame, without its length prefix, from a
	// connection that has not logged in.
	FrameMaxBeforeLogin = 1 << 10
	// FrameMax bounds a frame, without its length prefix, in both directions.
	FrameMax = 64 << 10
	// TextMax bounds one text in bytes.
	TextMax = 32 << 10
	// BatchMax bounds the texts of one frame or request.
	BatchMax = 128
	// PropertiesMax bounds the properties of one frame or request.
	PropertiesMax = 32
	// UserNameMax bounds a user's name in characters (code points).
	UserNameMax = 64
	// BodyMax bounds the body of a request to the route in bytes.
	BodyMax = 64 << 10
	// IntakeBodyMax bounds the body of a request to a server's /sendMsg.
	IntakeBodyMax = 4 << 20
	// OfflineBatchMax bounds the texts of one OFFLINE frame: the page of the
	// original.
	OfflineBatchMax = 100
	// MessageBytesMax bounds the sum of the texts of one message, so that their
	// frame with names and lengths stays within FrameMax.
	MessageBytesMax = FrameMax - 2<<10
)
