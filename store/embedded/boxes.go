package embedded

import (
	"sync"
	"time"

	"cim/proto"
)

// box is what is known of one user's texts without the file.
type box struct {
	count              int // texts; an empty box is not kept
	bytes              int // of texts
	oldestMs, newestMs int64
}

// add counts a text behind the others.
func (b *box) add(bytes int, storedMs int64) {
	if b.count == 0 {
		b.oldestMs = storedMs
	}
	b.count++
	b.bytes += bytes
	b.newestMs = storedMs
}

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
		if box.count == 0 {
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
