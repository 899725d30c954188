package route

import (
	"time"

	"cim/proto"
)

const (
	// restMin and restMax bound a rest. Each is twice as long as the one before, if
	// that is not longer ago than restMax.
	restMin = 100 * time.Millisecond
	restMax = time.Second
	// standsAfter is how long the cursor of a session has not moved until its catch-up
	// counts as one that stands. A message waits for less.
	standsAfter = 200 * time.Millisecond
)

// rests are times in which no message waits for the end of a user's catch-up
// (behindPauses), since one has just waited in vain: all are stored at once. A client
// that reads nothing is behind its catch-up for as long as that lasts, and each message
// to it would keep its sender's worker, and so the sender's messages to others, for
// the whole wait. Between two rests messages do wait, which lets a catch-up end that
// they keep from its end. While a catch-up brings its session something there is no
// rest: what is stored meanwhile at once would be more than it can bring.
type rests struct {
	table *table[rest]
}

// rest is a user's last one. Its times are in ns since 1970.
type rest struct {
	length time.Duration
	until  int64  // its end
	cursor uint64 // of the session at its last hold; 0: none is known
	moved  int64  // when the cursor was last seen to have moved; 0: never
}

func newRests() *rests { return &rests{newTable[rest]()} }

// lasts reports whether messages to user do not wait now.
func (r *rests) lasts(user proto.UserID) bool {
	last, found := r.table.get(user)
	left := time.Duration(last.until - time.Now().UnixNano())
	return found && left > 0 && left <= restMax // else the clock was set
}

// begin notes that a message to user has waited in vain.
func (r *rests) begin(user proto.UserID) {
	if r.lasts(user) {
		return // others have waited with it
	}
	now, length := time.Now().UnixNano(), restMin
	last, found := r.table.get(user)
	if found && now-last.moved <= int64(standsAfter) {
		return
	}
	if found && now-last.until <= int64(restMax) {
		length = min(2*last.length, restMax)
	}
	last.length, last.until = length, now+int64(length)
	r.table.put(user, last)
}

// seen notes the cursor of user's session, which is held for a message that was
// stored. A cursor that has moved ends the rest.
func (r *rests) seen(user proto.UserID, cursor uint64) {
	last, found := r.table.get(user)
	switch {
	case !found || last.cursor == 0:
		last.cursor = cursor
	case last.cursor == cursor:
		return
	default:
		last = rest{cursor: cursor, moved: time.Now().UnixNano()}
	}
	r.table.put(user, last)
}
