package model

import (
	"slices"
	"strconv"
	"strings"

	"cim/proto"
)

// pair is a sender and a receiver.
type pair struct{ from, to proto.UserID }

// message is a text, and what its sender knows of it.
type message struct {
	pair
	key     proto.TextKey
	number  int // number within the pair
	want    proto.Want
	padding int

	tries   int
	doubted bool // it must be sent again
	refused bool // a try was answered busy: later messages may have been taken
	over    bool // its outcome is known, or will never be
	outcome proto.Outcome
}

func (m *message) text() string { return strconv.Itoa(m.number) + strings.Repeat(" ", m.padding) }

func (m *message) body() []byte {
	return proto.AppendBody(nil, proto.MessageFrom(
		proto.CommandMessage, proto.User{ID: m.from, Name: "s"}, m.key.ID, []string{m.text()}))
}

type answer struct {
	try     *try
	outcome proto.Outcome
}

// sender is a user's client that sends. Other senders use the same ids.
type sender struct {
	user     proto.UserID
	server   *server
	session  int
	lastID   proto.TextID
	outgoing []*message // not over
	socket   []*try     // written, and not read by its server
	answers  []answer   // of this session, not read
}

// send sends a new text. An earlier one to the same receiver that is in doubt goes
// first.
func (w *world) send(s *sender, to proto.UserID, want proto.Want, padding int) {
	w.resend(s)
	s.lastID++
	p := pair{s.user, to}
	w.numbers[p]++
	m := &message{
		pair: p, key: proto.TextKey{Sender: s.user, ID: s.lastID}, number: w.numbers[p], want: want, padding: padding,
	}
	w.messages = append(w.messages, m)
	s.outgoing = append(s.outgoing, m)
	w.try(s, m)
}

func (w *world) try(s *sender, m *message) {
	if m.refused {
		w.disordered[m.pair] = true
	}
	m.tries++
	m.doubted = false
	s.socket = append(s.socket, &try{message: m, sender: s, session: s.session})
}

// resend sends messages in doubt again, in the order of their first tries.
func (w *world) resend(s *sender) {
	for _, m := range s.outgoing {
		if m.doubted {
			w.try(s, m)
		}
	}
}

// arrivesAtRoute has the sender's server read all that it has written.
func (w *world) arrivesAtRoute(s *sender) {
	for _, t := range s.socket {
		w.queues[t.message.pair] = append(w.queues[t.message.pair], t)
	}
	s.socket = nil
}

// readOutcome reads the oldest outcome.
func (w *world) readOutcome(s *sender) {
	if len(s.answers) == 0 {
		return
	}
	a := s.answers[0]
	s.answers = s.answers[1:]
	m := a.try.message
	switch {
	case m.over:
	case a.outcome == proto.OutcomeUnknown, a.outcome == proto.OutcomeBusy && m.tries > 1:
		m.doubted = true
	default:
		s.settle(m, a.outcome)
	}
}

func (s *sender) settle(m *message, outcome proto.Outcome) {
	m.over, m.outcome = true, outcome
	at := slices.Index(s.outgoing, m)
	s.outgoing = slices.Delete(s.outgoing, at, at+1)
}

// reconnect is a new connection: what its server has not read, and outcomes that it
// has not read, are lost. A killed process without a journal forgets everything.
func (w *world) reconnect(s *sender, at *server, lost int, forgets bool) {
	s.socket = s.socket[:max(0, len(s.socket)-lost)]
	w.arrivesAtRoute(s)
	s.session++
	s.server, s.answers = at, nil
	for _, m := range slices.Clone(s.outgoing) {
		if forgets {
			s.settle(m, proto.OutcomeUnknown)
		} else {
			m.doubted = true
		}
	}
	w.resend(s)
}
