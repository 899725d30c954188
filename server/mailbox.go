package server

import (
	"sync"

	"cim/proto"
	"cim/server/shard"
)

type letterKind uint8

const (
	letterPush      letterKind = iota // body to ref's session; value is the number of the wanted receipt, for a page its cursor
	letterBroadcast                   // fanout
	letterHold                        // hold ref's session
	letterResume                      // resume it if its count of holds is value
	letterEnd                         // end it for the reason value
	letterSend                        // a SEND from another loop to ref's session
	letterOutcome                     // the outcome value, code of ref's SEND id
	letterDrain                       // end every connection: the server is going down
	letterMove                        // ask value sessions of ours to move; the answer's value is how many were asked
	letterEndOld                      // end value sessions of old clients; likewise
	letterList                        // fill the requester, a *listing
	letterKick                        // end ref's session, for an operator
	letterShed                        // end the sessions that hold most memory, value bytes in total, none that holds less than id
	letterEvict                       // close ref's connection unless it has logged in
	letterEnded                       // the end of user's session has been handed out; answered when its kept texts are in the box
	letterMoving                      // hold ref's session, whose client moves; answered when its kept texts are in the box; value counts the checks
	letterReturned                    // the kept texts of ref's session up to its count value are in the box, or with id 1 are not
)

// requester waits for a verdict: a link, or a request to /sendMsg.
type requester interface {
	// answer is called by event loops and must not block.
	answer(id uint64, verdict proto.Verdict, value uint64)
}

// letter is one item of work for a loop. Its body lies in the mailbox and is valid
// while the loop reads its mail.
type letter struct {
	kind       letterKind
	code       proto.Code
	pass       bool // a held session takes it too
	page       bool // the verdict waits until all bytes have left the process
	doubt      bool // to be stored, not delivered: the session may be superseded
	ref        shard.Ref
	user       proto.UserID // the user of ref; for a letterEnd: the user whose return is expected, or 0
	requester  requester
	id         uint64
	value      uint64
	fanout     *fanout
	pauses     uint64 // the number of pauses when it was posted
	send       send   // for a letterSend, with the body as its text; for a letterOutcome the textID and the receivers
	start, end uint32 // of the body
}

// Bounds of a mailbox. Above them messages are refused with VerdictBusy; holds,
// resumes, answers and broadcasts have as much room again. The other letters always
// have room, since their number is bounded: letters that end a session (one for
// each session or SEND, and the session is already out of the directory), evictions
// (evictingMax), the request to shed memory (one), and ends of flushes (one for
// each session).
const (
	mailboxLettersMax = 16 << 10
	mailboxBytesMax   = 8 << 20
)

// mailbox is how everything outside an event loop reaches it. Any goroutine posts
// letters; the loop takes all of them at once. The bell rings once for all letters
// that are posted between two visits.
type mailbox struct {
	mu      sync.Mutex
	letters []letter
	bytes   []byte
	rung    bool

	// mu is not held while the bell rings: the loop, woken at once, would block on
	// it.
	ringing sync.Mutex
	bell    bell
}

// post adds a letter with its body, and reports whether there was room.
func (m *mailbox) post(l letter, body []byte) bool {
	room, silent := m.put(l, body)
	if silent {
		m.ring()
	}
	return room
}

// put adds a letter if there is room. silent: the bell has not rung for it.
func (m *mailbox) put(l letter, body []byte) (room, silent bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.hasRoom(l.kind, len(body)) {
		return false, false
	}
	l.start = uint32(len(m.bytes))
	m.bytes = append(m.bytes, body...)
	l.end = uint32(len(m.bytes))
	m.letters = append(m.letters, l)
	return true, m.isSilent()
}

func (m *mailbox) hasRoom(kind letterKind, bytes int) bool {
	switch kind {
	case letterPush, letterSend:
		return len(m.letters) < mailboxLettersMax && len(m.bytes)+bytes <= mailboxBytesMax
	case letterEnd, letterDrain, letterEvict, letterShed, letterReturned, letterEnded:
		return true
	}
	return len(m.letters) < 2*mailboxLettersMax
}

// wake has the loop visit its mailbox, its clock and its shard.
func (m *mailbox) wake() {
	m.mu.Lock()
	silent := m.isSilent()
	m.mu.Unlock()
	if silent {
		m.ring()
	}
}

// isSilent reports whether the bell has not rung since the last visit; the caller
// rings then. It is called with mu held.
func (m *mailbox) isSilent() bool {
	silent := !m.rung
	m.rung = true
	return silent
}

// ring holds ringing, so that the bell is not closed meanwhile.
func (m *mailbox) ring() {
	m.ringing.Lock()
	defer m.ringing.Unlock()
	m.bell.ring()
}

// waiting returns the number of letters that wait, and the bytes of their bodies.
func (m *mailbox) waiting() (letters, bytes int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.letters), len(m.bytes)
}

// setBell sets the bell that ring uses; close closes it.
func (m *mailbox) setBell(b bell) {
	m.ringing.Lock()
	defer m.ringing.Unlock()
	m.bell = b
}

func (m *mailbox) close() {
	m.ringing.Lock()
	defer m.ringing.Unlock()
	m.bell.close()
	m.bell = bell{}
}

// mail is what one visit to the mailbox takes out.
type mail struct {
	letters []letter
	bytes   []byte
}

func (m *mail) body(l *letter) []byte { return m.bytes[l.start:l.end:l.end] }

// keepBytes bounds the buffer that is kept for the next mail.
const keepBytes = 1 << 20

// take returns all letters; spent, the previous mail, becomes the next buffer.
func (m *mailbox) take(spent mail) mail {
	clear(spent.letters)
	if cap(spent.bytes) > keepBytes {
		spent.bytes = nil
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	got := mail{m.letters, m.bytes}
	m.letters, m.bytes, m.rung = spent.letters[:0], spent.bytes[:0], false
	return got
}
