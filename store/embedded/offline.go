package embedded

import (
	"context"
	"errors"
	"slices"
	"time"

	"go.etcd.io/bbolt"

	"cim/proto"
	"cim/store"
)

// Append is that of Offline.
func (s *Store) Append(ctx context.Context, receiver proto.UserID, sender proto.User, id proto.TextID, at proto.UnixMilli, texts []string) error {
	return s.put(ctx, "append", &putting{receiver: receiver, texts: store.TextsOf(sender, id, at, texts)})
}

// Return is that of Offline.
func (s *Store) Return(ctx context.Context, user proto.UserID, texts []store.Returned) error {
	return s.put(ctx, "return", &putting{receiver: user, texts: texts, returned: true})
}

func (s *Store) put(ctx context.Context, what string, p *putting) error {
	if err := s.do(ctx, p); err != nil {
		return s.wrap(what, err)
	}
	return p.refusal
}

// Page is that of Offline.
func (s *Store) Page(ctx context.Context, user proto.UserID, after uint64) ([]store.OfflineMessage, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if s.boxes.get(user).nothingBehind(after) {
		return nil, nil
	}
	page, err := s.page(user, after, store.PageMax)
	return page, s.wrap("page", err)
}

// page reads at most most texts of user's box behind a serial, past what is
// expired but still there.
func (s *Store) page(user proto.UserID, after uint64, most int) (page []store.OfflineMessage, err error) {
	now, bytes := s.config.Now(), 0
	err = s.viewBox(user, func(box *box, file *bbolt.Bucket) error {
		return box.each(file, user, after, func(view messageView) (more bool, err error) {
			if len(page) == most || !store.PageTakes(len(page), bytes, len(view.text)) {
				return false, nil
			}
			if !s.config.Expired(time.UnixMilli(view.storedMs), now) {
				page = append(page, view.message())
				bytes += len(view.text)
			}
			return true, nil
		})
	})
	return page, err
}

// viewBox shows user's box, and the file if that has texts of it, both as of one
// moment.
func (s *Store) viewBox(user proto.UserID, show func(box *box, file *bbolt.Bucket) error) error {
	s.boxes.mu.RLock()
	box := s.boxes.user[user]
	if !box.inFile() {
		s.boxes.mu.RUnlock()
		return show(&box, nil)
	}
	tx, err := s.db.Begin(false) // within the lock, so that the file lacks nothing that the box has not
	s.boxes.mu.RUnlock()
	if err != nil {
		return closedOr(err)
	}
	return errors.Join(show(&box, tx.Bucket(offlineBucket)), tx.Rollback())
}

// read reports whether user's box has nothing behind the serial after.
func (s *Store) read(user proto.UserID, after uint64) bool {
	box := s.boxes.get(user)
	if box.nothingBehind(after) || s.config.Expired(time.UnixMilli(box.newestMs), s.config.Now()) {
		return true
	}
	page, err := s.page(user, after, 1)
	return err == nil && len(page) == 0
}

// Remove is that of Offline.
func (s *Store) Remove(ctx context.Context, user proto.UserID, keys []store.TextKey) error {
	return s.wrap("remove", s.do(ctx, &removing{user: user, keys: keys}))
}

// sweepMax bounds the boxes that one transaction of a sweep looks at.
const sweepMax = 16

// Sweep takes what is too old out of boxes that nobody asked for. Append does
// the same for its own box; Page passes it by. The owner calls Sweep now and
// then, as often as the room matters.
func (s *Store) Sweep(ctx context.Context) error {
	now := s.config.Now()
	users := s.boxes.withExpired(func(stored time.Time) bool { return s.config.Expired(stored, now) })
	for some := range slices.Chunk(users, sweepMax) {
		if err := s.do(ctx, &expiring{users: some}); err != nil {
			return s.wrap("sweep", err)
		}
	}
	return nil
}
