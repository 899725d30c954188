package embedded

import (
	"sync"
	"time"

	"cim/proto"
	"cim/store"
)

// box is what is known of one user's texts without the file.
type box struct {
	usage    store.Usage // an empty box is not kept
	oldestMs int64       // when the first one was stored
	// Of the text that came last: when it was stored, and its serial. It may have
	// been removed.
	newestMs int64
	last     uint64
}

// add counts a text behind the others.
func (b *box) add(text store.Usage, storedMs int64, serial uint64) {
	if b.usage.Texts == 0 {
		b.oldestMs = storedMs
	}
	b.usage = b.usage.Plus(text)
	b.newestMs, b.last = storedMs, serial
}

// nothingBehind reports whether the box has no text behind the serial after: each
// catch-up asks so at its end, while what it brought is not acknowledged yet.
func (b box) nothingBehind(after uint64) bool { return b.usage.Texts == 0 || b.last <= after }

// boxes are those of all users that have texts in the file, as of the last
// commit. The committer alone changes them.
type boxes struct {
	mu   sync.RWMutex
	user map[proto.UserID]box
}

func (b *boxes) get(user proto.UserID) box {
	b.mu.RLock()
	defer b.mu.RUnlock()
	return b.user[user]
}

// set puts changed boxes in their users' places.
func (b *boxes) set(changed map[proto.UserID]box) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for user, box := range changed {
		if box.usage.Texts == 0 {
			delete(b.user, user)
		} else {
			b.user[user] = box
		}
	}
}

// withExpired returns the users of whose texts at least one is expired.
func (b *boxes) withExpired(expired func(stored time.Time) bool) []proto.UserID {
	b.mu.RLock()
	defer b.mu.RUnlock()
	var users []proto.UserID
	for user, box := range b.user {
		if expired(time.UnixMilli(box.oldestMs)) {
			users = append(users, user)
		}
	}
	return users
}
