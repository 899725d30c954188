package loadgen

import (
	"fmt"
	"strconv"
	"sync"
	"sync/atomic"
)

// Outcome is the outcome of a message, as its sender got it.
type Outcome uint8

const (
	Delivered Outcome = iota
	Received          // and its receiver is done with it
	Stored            // kept for later, and still owed
	Refused           // for load; nothing was kept, nothing is owed
	Unknown           // an error or silence: it may arrive or not
)

// slot is one sender of a trial. Its messages are numbered from 0.
type slot struct {
	// Fixed.
	index    uint32
	trial    uint32 // the id in its texts: of this process, or of the one that sends
	sender   *client
	senderID string  // the user's, in decimal
	remote   bool    // another process sends, and sent is a bound until that process reports
	receiver *client // nil: all others
	windowed bool    // the sender waits until all have received

	// sent counts messages: one that was not sent cannot arrive. Written by the sending goroutine.
	sent atomic.Uint32
	// received is filled when all have received the last message. Windowed only.
	received chan struct{} // capacity 1

	// answered receives the outcome of the SEND that its sender waits for.
	answered chan answer // capacity 1

	// buf is the sending goroutine's.
	buf []byte

	mu       sync.Mutex
	outcomes [Unknown + 1]int
	book     book
	waiting  map[uint32]int64 // sequences of SENDs without an outcome yet, with their due times; nil: the sender waits for each
}

// answer is the outcome of one SEND.
type answer struct {
	sequence uint32
	outcome  Outcome
}

func newSlot(trial uint32, index int, sender, receiver *client) *slot {
	return &slot{
		index: uint32(index), trial: trial, sender: sender, senderID: strconv.FormatInt(int64(sender.user.ID), 10), receiver: receiver,
		received: make(chan struct{}, 1), answered: make(chan answer, 1),
	}
}

// to is the receiver as a Message names it, textTo as a text does.
func (s *slot) to() int {
	if s.receiver == nil {
		return AllClients
	}
	return s.receiver.index
}

func (s *slot) textTo() uint32 {
	if s.receiver == nil {
		return allReceivers
	}
	return uint32(s.receiver.index)
}

// heading completes the stamp of one of s's messages.
func (s *slot) heading(st stamp) heading { return heading{s.trial, s.textTo(), st} }

// from names the sender in an example.
func (s *slot) from() string {
	if s.remote {
		return s.sender.user.Name
	}
	return fmt.Sprintf("client %d", s.sender.index)
}

// file counts what became of a message.
func (s *slot) file(sequence uint32, o Outcome) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.outcomes[o]++
	s.book.note(sequence, o)
}

// failed reports whether a message is known to be lost.
func (s *slot) failed(sequence uint32) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.book.failed.has(sequence)
}

// promised reports whether a message is owed.
func (s *slot) promised(sequence uint32) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.book.promised.has(sequence)
}

// promisedFrom counts the messages from next on that are owed, and names the
// first.
func (s *slot) promisedFrom(next uint32) (n int, first uint32) {
	s.mu.Lock()
	defer s.mu.Unlock()
	sent := s.sent.Load()
	first, _ = s.book.promised.first(next, sent)
	return s.book.promised.count(next, sent), first
}

// promisedToAll counts the group messages that are owed.
func (t *trial) promisedToAll() (sum int) {
	for _, s := range t.slots[:t.groupSlots] {
		n, _ := s.promisedFrom(0)
		sum += n
	}
	return sum
}

func (s *slot) addOutcomes(r *Trial) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r.Delivered += s.outcomes[Delivered]
	r.OutcomeReceived += s.outcomes[Received]
	r.Stored += s.outcomes[Stored]
	r.Refused += s.outcomes[Refused]
	r.Unknown += s.outcomes[Unknown]
}

// errors counts the messages that were refused or whose outcome is unknown.
func (s *slot) errors() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.outcomes[Refused] + s.outcomes[Unknown]
}

// await notes that a SEND has no outcome yet, and settle that it has one;
// false: it had none to wait for.
func (s *slot) await(sequence uint32, due int64) {
	if s.waiting == nil {
		return // no outcome will come
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.waiting[sequence] = due
}

func (s *slot) settle(sequence uint32) (due int64, was bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	due, was = s.waiting[sequence]
	delete(s.waiting, sequence)
	return due, was
}

func (s *slot) unanswered() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.waiting)
}
