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

// Want is what the sender of a message wanted to have happened before its answer.
type Want uint8

// The wants. A message to everyone has none but Taken.
const (
	Taken       Want = iota // the receiver's session has it, or it is stored
	Received                // the receiver's application is done with it, or it is stored
	StoredFirst             // it was stored before it was brought
	Wants
)

// Outcome is what the call of a message was answered.
type Outcome uint8

// The outcomes.
const (
	Unknown      Outcome = iota // no answer has come: it may arrive or not
	Delivered                   // code 9000
	Stored                      // code 7000
	Refused                     // nothing was kept, says the answer
	Failed                      // the answer does not say whether something was kept
	Acknowledged                // code 9000, and the receiver's application was done with it
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
	// Users are numbered below this.
	Users int
	// PrivateMax bounds the private messages; one takes 32 bytes.
	PrivateMax int
	// GroupMax bounds the group messages; one takes a byte for each user.
	GroupMax int
}

// Check reports all that is wrong with c.
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

// ErrFull refuses a message past a bound of the Config.
var ErrFull = errors.New("ledger: the book is full")

// Ledger is the book of one run.
type Ledger struct {
	config  Config
	session []uint32 // by user: odd while connected, one more at each change
	lanes   map[pair]*lane
	order   []*lane // as they began: a verdict walks them always alike
	private int     // messages so far
	group   int

	// What is a fault as it arrives; the verdict looks at the outcome, which may
	// come later. Each is bounded by suspectsMax, what is past it by a count.
	doubled      suspects
	reordered    suspects
	misdelivered suspects
}

type pair struct{ from, to User }

// lane is the messages of one sender to one receiver, or to everyone.
type lane struct {
	pair
	messages []message
	next     []uint32 // by receiver, one for a private lane: 1 + the highest seq that has arrived
}

// message is one message of a lane.
type message struct {
	due, answered int64
	arrived       int64 // private: its first arrival
	outcome       Outcome
	want          Want
	arrivals      uint8 // private only; stays at its maximum

	// Group only. marks has for each user the arrivals, and whether one is owed;
	// before is the sessions as the call began, and nil once it was answered.
	marks  []uint8
	before []uint32
}

const (
	markOwed    = 0x80
	markCount   = 0x7f
	arrivalsMax = math.MaxUint8
)

// New makes an empty book. c must be without fault.
func New(c Config) *Ledger {
	if err := c.Check(); err != nil {
		panic("ledger: " + err.Error())
	}
	return &Ledger{config: c, session: make([]uint32, c.Users), lanes: map[pair]*lane{}}
}

// Connected notes that a session of user has begun.
func (l *Ledger) Connected(user User) {
	if l.session[user]%2 == 0 {
		l.session[user]++
	}
}

// Disconnected notes that the session of user has ended.
func (l *Ledger) Disconnected(user User) {
	if l.session[user]%2 == 1 {
		l.session[user]++
	}
}

// Private is how many private messages have begun.
func (l *Ledger) Private() int { return l.private }

// Sent is how many messages of a pair have begun: the number of the next.
func (l *Ledger) Sent(from, to User) int {
	if of := l.lanes[pair{from, to}]; of != nil {
		return len(of.messages)
	}
	return 0
}

// Begin notes that a message is about to be sent that was due at this time, and
// numbers it. The next one of the same pair may begin once this one's call has
// ended, answered or not: only then has their order a meaning.
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
	of := l.laneOf(pair{from, to})
	of.messages = append(of.messages, m)
	return len(of.messages) - 1, nil
}

func (l *Ledger) laneOf(p pair) *lane {
	of := l.lanes[p]
	if of == nil {
		receivers := 1
		if p.to == Everyone {
			receivers = l.config.Users
		}
		of = &lane{pair: p, next: make([]uint32, receivers)}
		l.lanes[p] = of
		l.order = append(l.order, of)
	}
	return of
}

// Answer notes how the call of a message ended. A group message is owed to
// each user, but its sender, whose session was there from before the call until
// now.
func (l *Ledger) Answer(from, to User, seq int, outcome Outcome, now int64) {
	of := l.lanes[pair{from, to}]
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

// Arrival is a text that somebody received.
type Arrival struct {
	Receiver User // who received it
	From     User // whom the system named as its sender
	Tag      Tag  // what the text says
	At       int64
}

// Arrive notes an arrival, and returns when the message was due, and whether it
// is its first one at this receiver.
func (l *Ledger) Arrive(a Arrival) (due int64, first bool) {
	of := l.lanes[pair{a.Tag.From, a.Tag.To}]
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
