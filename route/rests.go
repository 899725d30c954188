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
)

// rests are times in which no message waits for the end of a user's catch-up
// (behindPauses), since one has just waited in vain: all are stored at once. A client
// that reads nothing is behind its catch-up for as long as that lasts, and each message
// to it would keep its sender's worker, and so the sender's messages to others, for
// the whole wait. Between two rests messages do wait, which lets a catch-up end that
// they keep from its end.
type rests struct {
	table *table[rest]
}

// rest is a user's last one. It ends at until, in ns since 1970.
type rest struct {
	length time.Duration
	until  int64
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
	if last, found := r.table.get(user); found && now-last.until <= int64(restMax) {
		length = min(2*last.length, restMax)
	}
	r.table.put(user, rest{length, now + int64(length)})
}
