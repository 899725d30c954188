package redisform

import (
	"cmp"
	"context"
	"slices"
	"strconv"
	"time"

	"cim/proto"
	"cim/store"
	"cim/store/redis"
)

// A box whose texts are in both forms has them in this order: ours, the
// original's, ours; package store/redis knows the place. A text that would make a
// fourth part is kept in our form.
//
// Between the serials of two texts of ours there is room for those of texts of the
// original: these get theirs when a page shows them, from the Store that shows it,
// and keep them until it gives the lease back. A catch-up that needs more ends, and
// another one goes on.

const (
	// keptMax is how many texts of a box we keep in the original's form: each store
	// of another one weighs them all. What is beyond is kept in ours.
	keptMax = 1000
	// listedMax bounds how many texts of the original are looked at at once. Those
	// that we keep and what a catch-up has not removed yet are fewer; routes of
	// the original know no bound, and what is behind comes later.
	listedMax = keptMax + store.PageMax
	// fetchMax bounds the texts of the original in one trip: each may have
	// twice its bytes, and more.
	fetchMax = 50
	// chunkMax bounds the commands of one trip.
	chunkMax = 500
)

// Page is that of Offline: the texts of both forms, in order.
func (s *Store) Page(ctx context.Context, user proto.UserID, after uint64) ([]store.OfflineMessage, error) {
	box, answers, err := s.ReadBox(ctx, user, after, s.list(user))
	if err != nil {
		return nil, err
	}
	ids, err := answers[0].Texts()
	if err != nil || len(ids) == 0 {
		return box.Texts, err
	}
	return s.merge(ctx, user, after, box, ids)
}

// Remove is that of Offline, of texts in both forms.
func (s *Store) Remove(ctx context.Context, user proto.UserID, keys []store.TextKey) error {
	answers, err := s.RemoveThen(ctx, user, keys, s.list(user))
	if err != nil {
		return err
	}
	ids, err := answers[0].Texts()
	if err != nil || len(ids) == 0 {
		return err
	}
	return s.removeListed(ctx, user, ids, keys)
}

// ReleaseIfEmpty is that of Offline.
func (s *Store) ReleaseIfEmpty(ctx context.Context, user proto.UserID, lease store.Lease, after uint64) (bool, error) {
	noted, left, err := s.listed(ctx, user, after)
	if err != nil {
		return false, err
	}
	released, err := s.ReleaseCounted(ctx, user, lease, after, noted, left)
	if released {
		s.shown.forget(user)
	}
	return released, err
}

// Abandon is that of Offline.
func (s *Store) Abandon(ctx context.Context, user proto.UserID, lease store.Lease) error {
	s.shown.forget(user)
	return s.Store.Abandon(ctx, user, lease)
}

// created is when a text that was sent at this time counts as created.
func (s *Store) created(at proto.UnixMilli) time.Time {
	if at == 0 {
		return s.now()
	}
	return time.UnixMilli(int64(at))
}

// AppendOriginal is that of Original. The form is the one that the box shows, or
// that was seen last in any box: the releases of the original and its master
// each fail on the other's texts. Where a release's form is seen and no text to
// write another one like it, the text is kept in our form.
func (s *Store) AppendOriginal(ctx context.Context, receiver proto.UserID, sender proto.User, id proto.TextID, at proto.UnixMilli, texts []string) error {
	if len(texts) == 0 {
		return nil
	}
	box, err := s.weigh(ctx, receiver)
	if err != nil {
		return err
	}
	shape, known := s.seen.form(s.config.Form, box)
	if !known {
		return s.Append(ctx, receiver, sender, id, at, texts)
	}
	all := store.TextsOf(sender, id, at, texts)
	if box.ids != nil && id != 0 {
		rest, taken, err := s.unlisted(ctx, receiver, box.ids, all)
		if err != nil {
			return err
		}
		if taken || len(rest) < len(texts) {
			return s.AppendTexts(ctx, receiver, rest)
		}
		all = rest
	}
	written := s.written(shape, receiver, all, s.created(at))
	foreign, err := s.KeepForeign(ctx, receiver, redis.Foreign{Texts: box.texts, Bytes: box.bytes, NewBytes: written.bytes, Max: keptMax}, all)
	if err != nil || !foreign {
		return err
	}
	if err := s.write(ctx, receiver, written, box.life); err != nil {
		return err
	}
	return s.NoteForeign(ctx, receiver)
}

// merge makes one page of a page of our texts and those of ids, in the original's
// forms.
func (s *Store) merge(ctx context.Context, user proto.UserID, after uint64, box redis.Box, ids []string) ([]store.OfflineMessage, error) {
	ids = s.shown.hidden(user, after, ids)
	theirs, whole, err := s.fetch(ctx, user, ids)
	if err != nil {
		return nil, err
	}
	numbered := s.shown.number(user, func(created time.Time) uint64 { return max(after, floor(box, created)) }, theirs)
	whole = whole && len(numbered) == len(theirs)
	all := slices.Concat(numbered, box.Texts)
	slices.SortFunc(all, func(a, b store.OfflineMessage) int { return cmp.Compare(a.Serial, b.Serial) })
	return cut(all, numbered, whole), nil
}

// floor is the serial that a text of the original comes behind. Where no place was
// noted, as before routes of the original were seen, its time decides: behind
// those of ours that are not younger.
func floor(box redis.Box, created time.Time) uint64 {
	floor := box.Front
	if box.Noted || created.IsZero() {
		return floor
	}
	for _, ours := range box.Texts {
		if ours.Stored.After(created) {
			break
		}
		floor = ours.Serial
	}
	return floor
}

// cut ends a page at its bounds. Where not all texts of the original have been
// read nothing of ours may come behind the last one that was.
func cut(all, theirs []store.OfflineMessage, whole bool) []store.OfflineMessage {
	bytes := 0
	for i, message := range all {
		beyond := !whole && (len(theirs) == 0 || message.Serial > theirs[len(theirs)-1].Serial)
		if beyond || !store.PageTakes(i, bytes, len(message.Text)) {
			return all[:i]
		}
		bytes += len(message.Text)
	}
	return all
}

// fetch reads the texts of ids, as many as a page takes, and reports whether
// these were all. Ids whose text is gone or delivered leave the list; those
// whose text cannot be read stay there.
func (s *Store) fetch(ctx context.Context, user proto.UserID, ids []string) (texts []storedText, whole bool, err error) {
	bytes := 0
	var over, odd []string
	for chunk := range slices.Chunk(ids, fetchMax) {
		if len(texts) >= store.PageMax || bytes > store.PageMaxBytes {
			break
		}
		ids = ids[len(chunk):]
		raws, err := s.rawTexts(ctx, user, chunk)
		if err != nil {
			return nil, false, err
		}
		for i, raw := range raws {
			text, err := raw.parse(chunk[i])
			switch {
			case err != nil:
				odd = append(odd, chunk[i])
			case text.form == formNone || text.form == formDelivered:
				over = append(over, chunk[i])
			default:
				texts, bytes = append(texts, text), bytes+len(text.message.Text)
				s.seen.note(raw, chunk[i])
			}
		}
	}
	s.leaveListed(user, odd)
	return texts, len(ids) == 0, s.unlist(ctx, user, over)
}

// leaveListed notes ids whose texts cannot be read: they stay in the list, and
// do not count as texts of the box.
func (s *Store) leaveListed(user proto.UserID, ids []string) {
	for _, id := range s.shown.keepUnread(user, ids) {
		s.unread.Add(1)
		s.config.Redis.Log.Warn("redis: a stored text of the original cannot be read and stays where it is", "user", int64(user), "message", id)
	}
}

// UnreadOriginal is that of Original.
func (s *Store) UnreadOriginal() uint64 { return s.unread.Load() }

// unlist takes ids out of the user's list.
func (s *Store) unlist(ctx context.Context, user proto.UserID, ids []string) error {
	for chunk := range slices.Chunk(ids, chunkMax) {
		commands := make([]redis.Command, len(chunk))
		for i, id := range chunk {
			commands[i] = redis.Command{Name: "LREM", Key: listKey(user), Args: []string{"0", id}}
		}
		if _, err := s.Trip(ctx, "remove from the original's list of", user, true, commands...); err != nil {
			return err
		}
	}
	return nil
}

// settle removes delivered texts as the versions that wrote them do.
func (s *Store) settle(ctx context.Context, user proto.UserID, texts []storedText) error {
	for chunk := range slices.Chunk(texts, chunkMax) {
		commands := make([]redis.Command, len(chunk))
		for i, text := range chunk {
			commands[i] = settleText.On(text.key, text.status[:]...)
		}
		if _, err := s.Trip(ctx, "remove what the original has for", user, true, commands...); err != nil {
			return err
		}
	}
	return nil
}

// unlisted returns those of texts that are not in the list of ids. taken says that
// one of them would have the key of another sender's text.
func (s *Store) unlisted(ctx context.Context, user proto.UserID, ids []string, texts []store.Returned) (rest []store.Returned, taken bool, err error) {
	keys := make([]store.TextKey, len(texts))
	for i, text := range texts {
		keys[i] = store.TextKey{Sender: text.Sender.ID, ID: text.ID}
	}
	listed, err := s.named(ctx, user, ids, keys)
	if err != nil {
		return nil, false, err
	}
	there := make(map[proto.TextID]bool, len(listed))
	for _, text := range listed {
		there[textID(bareID(text.id))] = true
	}
	rest = slices.DeleteFunc(texts, func(text store.Returned) bool { return there[text.ID] })
	used := make(map[string]bool, len(ids))
	for _, id := range ids {
		used[bareID(id)] = true
	}
	taken = slices.ContainsFunc(rest, func(text store.Returned) bool { return used[messageID(text.ID)] })
	return rest, taken, nil
}

// removeListed removes the texts of the original that keys name, among those of
// ids: by the serial with which this Store has shown them, or by sender and id.
func (s *Store) removeListed(ctx context.Context, user proto.UserID, ids []string, keys []store.TextKey) error {
	texts, err := s.named(ctx, user, ids, keys)
	if err != nil {
		return err
	}
	if err := s.settle(ctx, user, texts); err != nil {
		return err
	}
	gone := make([]string, len(texts))
	for i, text := range texts {
		gone[i] = text.id
	}
	if err := s.unlist(ctx, user, gone); err != nil {
		return err
	}
	s.shown.removed(user, gone)
	return nil
}

// named returns the texts of the original that keys name, among those of ids.
// What this Store has not shown, or shows no more, it reads.
func (s *Store) named(ctx context.Context, user proto.UserID, ids []string, keys []store.TextKey) ([]storedText, error) {
	texts, unknown := s.shown.named(user, ids, keys)
	senders := make(map[store.TextKey]bool, len(keys))
	for _, key := range keys {
		senders[store.TextKey{Sender: key.Sender, ID: key.ID}] = true
	}
	for chunk := range slices.Chunk(unknown, fetchMax) {
		raws, err := s.rawTexts(ctx, user, chunk)
		if err != nil {
			return nil, err
		}
		for i, raw := range raws {
			text, err := raw.parse(chunk[i])
			of := text.message.Sender.ID
			if err == nil && text.form != formNone && senders[store.TextKey{Sender: of, ID: textID(bareID(chunk[i]))}] {
				texts = append(texts, text)
			}
		}
	}
	return texts, nil
}

// listed returns how often texts in the original's form were noted, and how many of
// them are in the list, without those that cannot be read and those that were shown
// with a serial up to after.
func (s *Store) listed(ctx context.Context, user proto.UserID, after uint64) (noted int64, left int, err error) {
	answers, err := s.Trip(ctx, "count what the original has for", user, true, redis.NotedForeign(user), s.list(user))
	if err != nil {
		return 0, 0, err
	}
	if noted, err = answers[0].Number(); err != nil {
		return 0, 0, err
	}
	ids, err := answers[1].Texts()
	return noted, len(s.shown.hidden(user, after, ids)), err
}

// list reads the ids of a user's list, as many as are looked at once.
func (s *Store) list(user proto.UserID) redis.Command {
	last := listedMax + s.shown.unreadOf(user) - 1
	return redis.Command{Name: "LRANGE", Key: listKey(user), Args: []string{"0", strconv.Itoa(last)}}
}
