package ledger

import (
	"errors"
	"fmt"
	"math"
)

// User is a user of the run, numbered from 0.
type User uint32

// Everyone is the receiver of a group message.
const Everyone User = math.MaxUint32

// Want is what must have happened to a message before its sender gets a success.
type Want uint8

// The wants. Messages to Everyone have only Taken.
const (
	Taken       Want = iota // the receiver's session has it, or it is stored
	Received                // the receiver's application has processed it, or it is stored
	StoredFirst             // it was stored before it was delivered
	Wants
)

// Outcome is the result of a message's call.
type Outcome uint8

// The outcomes.
const (
	Unknown      Outcome = iota // no answer has come: it may arrive or not
	Delivered                   // code 9000
	Stored                      // code 7000
	Refused                     // by the answer, nothing was kept
	Failed                      // by the answer, something may have been kept
	Acknowledged                // code 9000, and the receiver's application had processed it
	outcomes
)

var outcomeNames = [outcomes]string{"unknown", "delivered", "stored", "refused", "failed", "received"}

func (o Outcome) String() string {
	if o < outcomes {
		return outcomeNames[o]
	}
	return fmt.Sprintf("outcome %d", uint8(o))
}

// promised reports whether the answer says that the message arrives.
func (o Outcome) promised() bool { return o == Delivered || o == Stored || o == Acknowledged }

// Config bounds a ledger.
type Config struct {
	// Users are numbered below Users.
	Users int
	// PrivateMax bounds the private messages; one takes 32 bytes.
	PrivateMax int
	// GroupMax bounds the group messages; one takes a byte for each user.
	GroupMax int
}

// Check reports all faults of c.
func (c Config) Check() error {
	var faults []error
	if c.Users < 1 || c.Users > 1<<24 {
		faults = append(faults, fmt.Errorf("users %d, want 1 to %d", c.Users, 1<<24))
	}
	if c.PrivateMax < 0 || c.GroupMax < 0 {
		faults = append(faults, fmt.Errorf("bounds %d and %d of messages, want none below 0", c.PrivateMax, c.GroupMax))
	}
	return errors.Join(faults...)
}

// ErrFull: a bound of the Config is reached.
var ErrFull = errors.New("ledger: the book is full")

// Ledger is the record of one run.
type Ledger struct {
	config    Config
	session   []uint32 // by user: odd while connected, one more at each change
	sequences map[pair]*sequence
	order     []*sequence // in the order of their first message, so that verdicts are reproducible
	private   int         // messages so far
	group     int

	// Faults that are recorded as they arrive; the verdict also needs the outcome,
	// which may come later. Each list is bounded by suspectsMax, with a count of
	// the rest.
	doubled      suspects
	reordered    suspects
	misdelivered suspects
}

type pair struct{ from, to User }

// sequence is the messages of one sender to one receiver, or to Everyone.
type sequence struct {
	pair
	messages []message
	next     []uint32 // by receiver, one for a private sequence: 1 + the highest seq that has arrived
}

// message is one message of a sequence.
type message struct {
	due, answered int64
	arrived       int64 // private: its first arrival
	outcome       Outcome
	want          Want
	arrivals      uint8 // private only; stays at its maximum

	// Group only. For each user, marks has the arrivals, and whether one is owed;
	// before is the sessions at the start of the call, and nil after the answer.
	marks  []uint8
	before []uint32
}

const (
	markOwed    = 0x80
	markCount   = 0x7f
	arrivalsMax = math.MaxUint8
)

// New makes an empty ledger. c must be valid.
func New(c Config) *Ledger {
	if err := c.Check(); err != nil {
		panic("ledger: " + err.Error())
	}
	return &Ledger{config: c, session: make([]uint32, c.Users), sequences: map[pair]*sequence{}}
}

// Connected records that a session of user has begun.
func (l *Ledger) Connected(user User) {
	if l.session[user]%2 == 0 {
		l.session[user]++
	}
}

// Disconnected records that the session of user has ended.
func (l *Ledger) Disconnected(user User) {
	if l.session[user]%2 == 1 {
		l.session[user]++
	}
}

// Private is the number of private messages that have begun.
func (l *Ledger) Private() int { return l.private }

// Sent is the number of messages of a pair that have begun: the number of the next
// one.
func (l *Ledger) Sent(from, to User) int {
	if of := l.sequences[pair{from, to}]; of != nil {
		return len(of.messages)
	}
	return 0
}

// Begin records a message that is about to be sent and was due at this time, and
// numbers it. The next one of the same pair may begin after this one's call has
// ended, answered or not: otherwise their order has no meaning.
func (l *Ledger) Begin(from, to User, want Want, due int64) (seq int, err error) {
	m := message{due: due, want: want}
	if to == Everyone {
		if l.group++; l.group > l.config.GroupMax {
			return 0, fmt.Errorf("%w: %d group messages", ErrFull, l.config.GroupMax)
		}
		m.marks, m.before = make([]uint8, l.config.Users), append([]uint32(nil), l.session...)
	} else if l.private++; l.private > l.config.PrivateMax {
		return 0, fmt.Errorf("%w: %d private messages", ErrFull, l.config.PrivateMax)
	}
	of := l.sequenceOf(pair{from, to})
	of.messages = append(of.messages, m)
	return len(of.messages) - 1, nil
}

func (l *Ledger) sequenceOf(p pair) *sequence {
	of := l.sequences[p]
	if of == nil {
		receivers := 1
		if p.to == Everyone {
			receivers = l.config.Users
		}
		of = &sequence{pair: p, next: make([]uint32, receivers)}
		l.sequences[p] = of
		l.order = append(l.order, of)
	}
	return of
}

// Answer records the end of a message's call. A group message is owed to each user,
// except its sender, who was connected in one session from before the call until
// now.
func (l *Ledger) Answer(from, to User, seq int, outcome Outcome, now int64) {
	of := l.sequences[pair{from, to}]
	if of == nil || seq >= len(of.messages) {
		panic("ledger: an answer to a message that did not begin")
	}
	m := &of.messages[seq]
	m.outcome, m.answered = outcome, now
	for user, session := range m.before {
		if session%2 == 1 && l.session[user] == session && User(user) != from {
			m.marks[user] |= markOwed
		}
	}
	m.before = nil
}

// Arrival is a received text.
type Arrival struct {
	Receiver User // the user who received it
	From     User // its sender, according to the system
	Tag      Tag  // the content of the text
	At       int64
}

// Arrive records an arrival, and returns when the message was due, and whether it
// is its first arrival at this receiver.
func (l *Ledger) Arrive(a Arrival) (due int64, first bool) {
	of := l.sequences[pair{a.Tag.From, a.Tag.To}]
	suspect := Fault{From: a.Tag.From, To: a.Tag.To, Seq: a.Tag.Seq, Receiver: a.Receiver, Arrived: a.At}
	if of == nil || a.Tag.Seq >= len(of.messages) || a.From != of.from ||
		of.to != Everyone && a.Receiver != of.to || of.to == Everyone && a.Receiver == of.from {
		l.misdelivered.add(suspect)
		return 0, false
	}
	m := &of.messages[a.Tag.Seq]
	if !m.count(of.to, a) {
		l.doubled.add(suspect)
		return m.due, false
	}
	next := &of.next[0]
	if of.to == Everyone {
		next = &of.next[a.Receiver]
	}
	if uint32(a.Tag.Seq) < *next {
		l.reordered.add(suspect)
	} else {
		*next = uint32(a.Tag.Seq) + 1
	}
	return m.due, true
}

// count counts an arrival, and reports whether it is the first.
func (m *message) count(to User, a Arrival) bool {
	if to == Everyone {
		mark := &m.marks[a.Receiver]
		if *mark&markCount < markCount {
			*mark++
		}
		return *mark&markCount == 1
	}
	if m.arrivals < arrivalsMax {
		m.arrivals++
	}
	if m.arrivals == 1 {
		m.arrived = a.At
	}
	return m.arrivals == 1
}
