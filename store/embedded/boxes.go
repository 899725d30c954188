package embedded

import (
	"fmt"
	"slices"
	"sync"
	"time"

	"go.etcd.io/bbolt"

	"cim/proto"
	"cim/store"
)

// box is what is known of one user's texts: all of it but the texts that are in
// the file. Its slices are shared with readers, so no element of them is changed
// in place.
type box struct {
	usage    store.Usage // of all texts, in the file or not
	oldestMs int64       // when the first one was stored
	// Of the text that came last: when it was stored, and its serial. It may have
	// been removed.
	newestMs int64
	last     uint64

	// What the journal has and the file not yet: texts are behind those of the
	// file, and gone are the serials of texts that the file still has. Both ascend.
	texts []pendingText
	gone  []uint64
}

// pendingText is a text that is not in the file yet.
type pendingText struct {
	serial uint64
	value  []byte // as in the file
}

// isEmpty reports whether there is nothing to be known of the box.
func (b box) isEmpty() bool { return b.usage.Texts == 0 && len(b.gone) == 0 }

// pending is how many changes of the box the file lacks.
func (b box) pending() int { return len(b.texts) + len(b.gone) }

// inFile reports whether the file has texts of the box.
func (b box) inFile() bool { return b.usage.Texts > len(b.texts) }

// add counts a text behind the others.
func (b *box) add(text store.Usage, storedMs int64, serial uint64) {
	if b.usage.Texts == 0 {
		b.oldestMs = storedMs
	}
	b.usage = b.usage.Plus(text)
	b.newestMs, b.last = storedMs, serial
}

// drop takes a text out, which is one of texts or in the file.
func (b *box) drop(serial uint64) {
	at, isPending := b.find(serial)
	switch {
	case !isPending && (len(b.gone) == 0 || serial > b.gone[len(b.gone)-1]):
		b.gone = append(b.gone, serial)
	case !isPending:
		place, _ := slices.BinarySearch(b.gone, serial)
		b.gone = slices.Insert(slices.Clone(b.gone), place, serial)
	case len(b.texts) == 1:
		b.texts = nil
	case at == 0:
		b.texts = b.texts[1:]
	default:
		b.texts = slices.Concat(b.texts[:at], b.texts[at+1:])
	}
}

func (b *box) find(serial uint64) (at int, isPending bool) {
	return slices.BinarySearchFunc(b.texts, serial, func(t pendingText, serial uint64) int {
		switch {
		case t.serial < serial:
			return -1
		case t.serial > serial:
			return 1
		}
		return 0
	})
}

func (b *box) isGone(serial uint64) bool {
	_, gone := slices.BinarySearch(b.gone, serial)
	return gone
}

// nothingBehind reports whether the box has no text behind the serial after: each
// catch-up asks so at its end, while what it brought is not acknowledged yet.
func (b box) nothingBehind(after uint64) bool { return b.usage.Texts == 0 || b.last <= after }

// each visits user's texts behind the serial after, in order, until visit
// returns false. file is the bucket of texts; nil: none of the texts is in it.
// The file may have pending texts already, those of a box that was read before
// they were written there.
func (b *box) each(file *bbolt.Bucket, user proto.UserID, after uint64, visit func(messageView) (bool, error)) error {
	if file != nil {
		cursor := file.Cursor()
		for key, value := cursor.Seek(messageKey(user, after+1)); key != nil; key, value = cursor.Next() {
			view, err := viewMessage(key, value)
			if err != nil {
				return err
			}
			if view.receiver != user || len(b.texts) > 0 && view.serial >= b.texts[0].serial {
				break
			}
			if b.isGone(view.serial) {
				continue
			}
			if more, err := visit(view); !more || err != nil {
				return err
			}
		}
	}
	at, _ := b.find(after + 1)
	for _, text := range b.texts[at:] {
		view, err := viewMessage(messageKey(user, text.serial), text.value)
		if err != nil {
			return err
		}
		if more, err := visit(view); !more || err != nil {
			return err
		}
	}
	return nil
}

// first is the first text of user's box, which has some.
func (b *box) first(file *bbolt.Bucket, user proto.UserID) (first messageView, err error) {
	found := false
	err = b.each(file, user, 0, func(view messageView) (bool, error) {
		first, found = view, true
		return false, nil
	})
	if err == nil && !found {
		err = fmt.Errorf("damaged: user %d has %d texts less than were counted", user, b.usage.Texts)
	}
	return first, err
}

// boxes are those of all users that have texts, as of the last commit. The
// committer alone changes them.
type boxes struct {
	mu   sync.RWMutex
	user map[proto.UserID]box

	// The committer's alone: the users of whose boxes the file lacks something, and
	// of how many changes of all of them.
	behind  map[proto.UserID]struct{}
	pending int
}

func newBoxes() boxes {
	return boxes{user: make(map[proto.UserID]box), behind: make(map[proto.UserID]struct{})}
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
		b.pending += box.pending() - b.user[user].pending()
		if box.pending() > 0 {
			b.behind[user] = struct{}{}
		} else {
			delete(b.behind, user)
		}
		if box.isEmpty() {
			delete(b.user, user)
		} else {
			b.user[user] = box
		}
	}
}

// withPending returns the boxes of which the file lacks something. It is the
// committer's.
func (b *boxes) withPending() map[proto.UserID]box {
	pending := make(map[proto.UserID]box, len(b.behind))
	for user := range b.behind {
		pending[user] = b.user[user]
	}
	return pending
}

// withExpired returns the users of whose texts at least one is expired.
func (b *boxes) withExpired(expired func(stored time.Time) bool) []proto.UserID {
	b.mu.RLock()
	defer b.mu.RUnlock()
	var users []proto.UserID
	for user, box := range b.user {
		if box.usage.Texts > 0 && expired(time.UnixMilli(box.oldestMs)) {
			users = append(users, user)
		}
	}
	return users
}
