package proto

import (
	"slices"
	"unicode/utf8"
)

// scannable is a request type that most clients write in a simple form. The scanner
// reads that form in a fifth of the time of the general decoder.
type scannable interface {
	// scan reads body if it is in the simple form, and reports whether it is. The
	// general decoder gives the same result for such a body.
	scan(body []byte) bool
}

// scan implements scannable.
func (r *PrivateRequest) scan(body []byte) bool {
	s := scanner{left: body}
	for s.next() {
		switch string(s.name) {
		case "userId":
			s.number(0, &r.UserID)
		case "receiveUserId":
			s.number(1, &r.ReceiveUserID)
		case "msg":
			s.optional(2, &r.Msg)
		case "client":
			s.number(3, &r.Client)
		case "sent":
			s.number(4, &r.Sent)
		case "textId":
			s.text(5, &r.TextID)
		case "want":
			s.number(6, &r.Want)
		default:
			s.unused(7)
		}
	}
	return s.complete
}

// scan implements scannable.
func (r *GroupRequest) scan(body []byte) bool {
	s := scanner{left: body}
	for s.next() {
		switch string(s.name) {
		case "userId":
			s.number(0, &r.UserID)
		case "msg":
			s.optional(1, &r.Msg)
		case "client":
			s.number(2, &r.Client)
		case "textId":
			s.text(3, &r.TextID)
		case "want":
			s.number(4, &r.Want)
		default:
			s.unused(5)
		}
	}
	return s.complete
}

// scan implements scannable.
func (r *LoginRequest) scan(body []byte) bool {
	s := scanner{left: body}
	for s.next() {
		switch string(s.name) {
		case "userId":
			s.number(0, &r.UserID)
		case "userName":
			s.text(1, &r.UserName)
		case "client":
			s.number(2, &r.Client)
		case "ticket":
			s.text(3, &r.Ticket)
		case "move":
			s.number(4, &r.Move)
		case "ack":
			s.number(5, &r.Ack)
		default:
			s.unused(6)
		}
	}
	return s.complete
}

// scanner reads the members of a JSON object whose values are whole numbers or
// texts without escapes. At anything else it stops: the general decoder then judges
// the body.
type scanner struct {
	left     []byte // of the body
	name     []byte // the member whose value is next in left
	seen     uint   // bits of the members read so far
	begun    bool   // a member was read
	bad      bool   // the body is not in the simple form
	complete bool   // the whole body was read
}

// next moves to the next member; the caller then reads its value.
func (s *scanner) next() bool {
	if s.bad || !s.between() || s.complete {
		return false
	}
	name, plain := s.quoted()
	if !plain || !s.skip(':') {
		return false
	}
	s.name, s.begun = name, true
	return true
}

// between reads the separator before a member, or the end of the object.
func (s *scanner) between() bool {
	if !s.begun {
		return s.skip('{')
	}
	if s.skip(',') {
		return true
	}
	s.complete = s.skip('}') && len(s.space()) == 0
	return s.complete
}

// space skips white space and returns the rest.
func (s *scanner) space() []byte {
	i := 0
	for i < len(s.left) && (s.left[i] == ' ' || s.left[i] == '\n' || s.left[i] == '\r' || s.left[i] == '\t') {
		i++
	}
	s.left = s.left[i:]
	return s.left
}

// skip skips white space and c, if c is next.
func (s *scanner) skip(c byte) bool {
	left := s.space()
	if len(left) == 0 || left[0] != c {
		return false
	}
	s.left = left[1:]
	return true
}

// once records the member with this bit, and reports whether it is the first one.
func (s *scanner) once(bit uint) bool {
	again := s.seen&(1<<bit) != 0
	s.seen |= 1 << bit
	s.bad = s.bad || again
	return !again
}

// number reads a whole number from 0 to less than 10^18, or a text of its digits
// only: white space in a text need not be JSON's.
func (s *scanner) number(bit uint, n *Number) {
	if !s.once(bit) {
		return
	}
	quoted := s.skip('"')
	v, digits := Number(0), s.digits()
	for _, c := range digits {
		v = 10*v + Number(c-'0')
	}
	plain := len(digits) > 0 && (digits[0] != '0' || len(digits) == 1)
	if quoted {
		plain = plain && len(s.left) > 0 && s.left[0] == '"'
		s.left = s.left[min(1, len(s.left)):]
	}
	s.bad, *n = s.bad || !plain, v
}

// digitsMax is how many digits always fit into a Number.
const digitsMax = 18

// digits reads up to digitsMax digits. If another digit follows, the scan fails,
// since a colon, comma or quote must follow.
func (s *scanner) digits() []byte {
	left, i := s.left, 0
	for i < len(left) && i < digitsMax && '0' <= left[i] && left[i] <= '9' {
		i++
	}
	s.left = left[i:]
	return left[:i]
}

// text reads a text.
func (s *scanner) text(bit uint, text *string) {
	if s.once(bit) {
		quoted, plain := s.quoted()
		s.bad, *text = s.bad || !plain, string(quoted)
	}
}

// optional reads a text that may be absent.
func (s *scanner) optional(bit uint, text **string) {
	*text = new(string)
	s.text(bit, *text)
}

// unusedNames are members that many clients send and no request uses. Their bits
// follow the first one's.
var unusedNames = []string{"reqNo", "timeStamp"}

// unused skips a member without a use.
func (s *scanner) unused(firstBit uint) {
	i := slices.Index(unusedNames, string(s.name))
	if i < 0 || !s.once(firstBit+uint(i)) {
		s.bad = true
		return
	}
	if left := s.space(); len(left) > 0 && left[0] == '"' {
		_, plain := s.quoted()
		s.bad = !plain
		return
	}
	var n Number
	s.seen &^= 1 << (firstBit + uint(i))
	s.number(firstBit+uint(i), &n)
}

// quoted reads a JSON string without escapes, and reports whether it is one.
func (s *scanner) quoted() (text []byte, plain bool) {
	if !s.skip('"') {
		return nil, false
	}
	ascii := true
	for i, c := range s.left {
		switch {
		case c == '"':
			text, s.left = s.left[:i], s.left[i+1:]
			return text, ascii || utf8.Valid(text)
		case c == '\\' || c < ' ':
			return nil, false
		case c >= utf8.RuneSelf:
			ascii = false
		}
	}
	return nil, false
}
