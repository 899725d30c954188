package server

import (
	"sync"

	"cim/proto"
	"cim/server/shard"
)

type letterKind uint8

const (
	letterPush      letterKind = iota // body to ref's session; value is the number of the wanted receipt, of a page its cursor
	letterBroadcast                   // fanout
	letterHold                        // hold ref's session
	letterResume                      // resume it if its holds are value
	letterEnd                         // end it for the reason value
	letterSend                        // a SEND from another loop to ref's session
	letterOutcome                     // the outcome value, code of ref's SEND id
	letterDrain                       // end every connection: the server is going down
	letterMove                        // ask value sessions of ours to move; the answer's value is how many were
	letterEndOld                      // end value sessions of old clients; likewise
	letterList                        // fill the asker, a *listing
	letterKick                        // end ref's session, for an operator
	letterShed                        // end the sessions that hold most: value bytes, none of less than id
	letterEvict                       // close ref's connection unless it has logged in
	letterEnded                       // the end of user's session has been handed out; answered when what it kept is in the box
	letterMoving                      // hold ref's session, whose client moves; answered when what it kept is in the box; value is how often it was looked at
	letterReturned                    // what ref's session kept up to its count value is in the box, or with id 1 is not
)

// requester is who wants to know a verdict: a link, or a request to /sendMsg.
type requester interface {
	// answer is called by event loops and must not block.
	answer(id uint64, verdict proto.Verdict, value uint64)
}

// letter is one thing that a loop is to do. Its body lies in the mailbox and
// is valid while the loop reads its mail.
type letter struct {
	kind       letterKind
	code       proto.Code
	pass       bool // a held session takes it too
	page       bool // the verdict waits until all has been sent
	doubt      bool // not to be delivered, but stored: the session may be superseded
	ref        shard.Ref
	user       proto.UserID // whose session ref is; of a letterEnd: returns expects it, 0 if not
	requester  requester
	id         uint64
	value      uint64
	fanout     *fanout
	pauses     uint64 // how many there were when whoever posts it had it
	send       send   // of a letterSend, its text being the body; of a letterOutcome the textID and the receivers
	start, end uint32 // of its body
}

// Bounds of a mailbox. Messages are refused with VerdictBusy beyond them; what
// holds, resumes, answers or is broadcast has as much room again. What ends a
// session always has room: there is one for each session or SEND at most, and
// the session is nobody's any more. So has what evicts a connection: there are
// evictingMax at most; what sheds memory: there is one; and the end of a flush:
// there is one for each session at most.
const (
	mailboxLettersMax = 16 << 10
	mailboxBytesMax   = 8 << 20
)

// mailbox is how anything outside an event loop reaches it. Any goroutine
// puts letters in, the loop takes them all at once; the bell rings once for as
// many as come between.
type mailbox struct {
	mu      sync.Mutex
	letters []letter
	bytes   []byte
	rung    bool

	// Never locked together with mu: the loop wakes while the bell is being rung, and
	// would wait for its mail.
	ringing sync.Mutex
	bell    bell
}

// post puts a letter in, with its body, and reports whether there was room.
func (m *mailbox) post(l letter, body []byte) bool {
	room, silent := m.put(l, body)
	if silent {
		m.ring()
	}
	return room
}

// put puts a letter in if there is room. silent: the bell has not rung for it.
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

// wake lets the loop look at its clock and its shard.
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

// ring holds the lock of the bell, so that it cannot be taken down meanwhile.
func (m *mailbox) ring() {
	m.ringing.Lock()
	defer m.ringing.Unlock()
	m.bell.ring()
}

// waiting is how many letters wait, and how many bytes of bodies.
func (m *mailbox) waiting() (letters, bytes int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.letters), len(m.bytes)
}

// setBell hangs the bell; close takes it down.
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

// mail is what one visit to the mailbox brought.
type mail struct {
	letters []letter
	bytes   []byte
}

func (m *mail) body(l *letter) []byte { return m.bytes[l.start:l.end:l.end] }

// keepBytes is the largest buffer that is kept for the next mail.
const keepBytes = 1 << 20

// take returns all letters; spent, the mail before, becomes the next buffer.
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
