package route

import (
	"time"

	"cim/proto"
)

const (
	// backoffMin and backoffMax bound a backoff. Each is twice as long as the one before, if that
	// one ended at most backoffMax ago.
	backoffMin = 100 * time.Millisecond
	backoffMax = time.Second
	// stalledAfter is the time without progress of a session's cursor after which its catch-up
	// counts as stalled. A message waits for less.
	stalledAfter = 200 * time.Millisecond
)

// backoffs are times in which messages do not wait for the end of a user's catch-up (behindPauses)
// but are stored at once. A backoff starts when one message has waited in vain. A client that reads
// nothing keeps its catch-up open for as long as that lasts; without backoffs each message to it
// would occupy its sender's worker for the whole wait, and delay the sender's messages to others.
// Between two backoffs messages do wait, so that a catch-up which they keep from ending can end.
// While a catch-up makes progress there is no backoff: messages stored at once could outnumber what
// the catch-up sends.
type backoffs struct {
	table *cacheTable[backoff]
}

// backoff is a user's last one. Its times are in ns since 1970.
type backoff struct {
	length time.Duration
	until  int64  // its end
	cursor uint64 // of the session at its last hold; 0: unknown
	moved  int64  // when the cursor was last seen to have moved; 0: never
}

func newBackoffs() *backoffs { return &backoffs{newCacheTable[backoff]()} }

// active reports whether messages to user do not wait now.
func (r *backoffs) active(user proto.UserID) bool {
	last, found := r.table.get(user)
	left := time.Duration(last.until - time.Now().UnixNano())
	return found && left > 0 && left <= backoffMax // a longer one means that the clock was set
}

// start notes that a message to user has waited in vain.
func (r *backoffs) start(user proto.UserID) {
	if r.active(user) {
		return // others have waited with it
	}
	now, length := time.Now().UnixNano(), backoffMin
	last, found := r.table.get(user)
	if found && now-last.moved <= int64(stalledAfter) {
		return
	}
	if found && now-last.until <= int64(backoffMax) {
		length = min(2*last.length, backoffMax)
	}
	last.length, last.until = length, now+int64(length)
	r.table.put(user, last)
}

// noteCursor notes the cursor of user's session, which is held for a stored message. If the cursor
// has moved, the backoff ends.
func (r *backoffs) noteCursor(user proto.UserID, cursor uint64) {
	last, found := r.table.get(user)
	switch {
	case !found || last.cursor == 0:
		last.cursor = cursor
	case last.cursor == cursor:
		return
	default:
		last = backoff{cursor: cursor, moved: time.Now().UnixNano()}
	}
	r.table.put(user, last)
}
