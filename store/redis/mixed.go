package redis

import (
	"cmp"
	"context"
	"slices"
	"strconv"
	"time"

	"github.com/redis/rueidis"

	"cim/proto"
	"cim/store"
)

// A box whose texts are in both forms has them in this order: ours, the
// original's, ours. The box's hash says where the middle begins (contract: the
// serial of ours that comes behind it), and a text that would make a fourth
// part is kept in our form. Texts that only the original's routes have written
// come first, as long as nobody has said where they stand.
//
// The serials that others see have room between two of ours, for texts of the
// original: these get theirs when a page shows them, from the Store that shows
// it, and keep them until it gives the lease back.

const (
	// shift is the room: 2,047 texts of the original that one catch-up shows
	// between two of ours. With more it ends, and another one goes on.
	shift = 11
	// asideMax is how many texts of a box we keep in the original's form: each store
	// of another one weighs them all. What is beyond is kept in ours.
	asideMax = 1000
	// listedMax bounds how many texts of the original are looked at at once. Those
	// that we keep and what a catch-up has not removed yet are fewer; routes of
	// the original know no bound, and what is behind comes later.
	listedMax = asideMax + store.PageMax
	// fetchMax bounds the texts of the original in one trip: each may have
	// twice its bytes, and more.
	fetchMax = 50
)

// outside is the serial that others see of one of ours.
func outside(serial uint64) uint64 { return serial << shift }

// inside is the last of ours at or before a serial that others have seen.
func inside(serial uint64) uint64 { return serial >> shift }

// keepAside: ARGV[4] to [8] are as for appendTexts, [9] and [10] the texts and
// bytes in the original's form that there are, [11] the bytes of these texts in
// that form, [12] how many there may be in it, and from [13] on the texts come. It answers 1 if they are to be kept
// in the original's form, 2 if it has kept them, 0 if the box is full and -1 if the
// sender's share is. How much of a share is in the original's form is counted from
// when the list was last empty: by the field aside, sender=texts:bytes of each.
var keepAside = newScript(false, luaBox+`
expire()
local listed, some, length = tonumber(ARGV[9]), fresh(13)
if #some == 0 then
  save()
  return 2
end
local sender, aside = some[1].sender, {}
if listed > 0 then
  for who, t, b in string.gmatch(redis.call('HGET', key, 'aside') or '', '(%-?%d+)=(%d+):(%d+)') do
    aside[who] = {texts = tonumber(t), bytes = tonumber(b)}
  end
end
local mine = aside[sender] or {texts = 0, bytes = 0}
local function over(t, b, most, take)
  t = t + #some
  return t > tonumber(most) or b + t * tonumber(ARGV[4]) > tonumber(take)
end
local behind = #some < #ARGV - 12 or listed > 0 and (beyond > math.max(contract, first) or listed + #some > tonumber(ARGV[12]))
local more = behind and length or tonumber(ARGV[11])
local answer = 1
if over(by(sender).texts + mine.texts, by(sender).bytes + mine.bytes + length, ARGV[7], ARGV[8]) then
  answer = -1
elseif over(texts + listed, bytes + tonumber(ARGV[10]) + more, ARGV[5], ARGV[6]) then
  answer = 0
elseif behind then
  put(some)
  answer = 2
else
  if listed == 0 then contract = beyond end
  aside[sender] = {texts = mine.texts + #some, bytes = mine.bytes + length}
  local all = {}
  for who, of in pairs(aside) do all[#all + 1] = who .. '=' .. integer(of.texts) .. ':' .. integer(of.bytes) end
  redis.call('HSET', key, 'aside', table.concat(all, ' '))
end
save()
return answer`)

// note counts texts in the original's form, once they are in the list: so a
// lease is not given back by somebody who has not seen them.
var note = newScript(true, luaBox+`
redis.call('HINCRBY', key, 'noted', 1)
save()
return 1`)

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
	shape, known := s.seen.form(s.config.OriginalForm, box)
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
			return s.put(ctx, "append to the box of", receiver, rest, appendBounds)
		}
		all = rest
	}
	aside := newAsideTexts(shape, receiver, sender, id, texts, s.created(at))
	args := append(s.boxArgs(appendBounds...), strconv.Itoa(box.texts), strconv.Itoa(box.bytes), strconv.Itoa(aside.bytes), strconv.Itoa(asideMax))
	args = append(args, entries(all)...)
	a := about{what: "append in the original's form to the box of", user: receiver}
	kept, err := s.number(ctx, a, keepAside, boxKey(receiver), args...)
	switch {
	case err != nil || kept == 2:
		return err
	case kept < 1:
		return refusal(kept)
	}
	if err := s.write(ctx, a, receiver, aside, box.life); err != nil {
		return err
	}
	_, err = s.number(ctx, a, note, boxKey(receiver), s.boxArgs()...)
	return err
}

func (s *Store) now() time.Time {
	if s.config.Store.Now == nil {
		return time.Now()
	}
	return s.config.Store.Now()
}

// merge makes one page of both forms.
func (s *Store) merge(ctx context.Context, user proto.UserID, after uint64, both bothForms) ([]store.OfflineMessage, error) {
	ids := s.shown.hidden(user, after, both.ids)
	theirs, whole, err := s.fetch(ctx, user, ids)
	if err != nil {
		return nil, err
	}
	numbered := s.shown.number(user, func(created time.Time) uint64 { return max(after, both.floor(created)) }, theirs)
	whole = whole && len(numbered) == len(theirs)
	all := slices.Concat(numbered, both.ours)
	slices.SortFunc(all, func(a, b store.OfflineMessage) int { return cmp.Compare(a.Serial, b.Serial) })
	return cut(all, numbered, whole), nil
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
		s.config.Log.Warn("redis: a stored text of the original cannot be read and stays where it is", "user", int64(user), "message", id)
	}
}

// UnreadOriginal is that of Original.
func (s *Store) UnreadOriginal() uint64 { return s.unread.Load() }

// unlist takes ids out of the user's list.
func (s *Store) unlist(ctx context.Context, user proto.UserID, ids []string) error {
	for chunk := range slices.Chunk(ids, chunkMax) {
		a := about{what: "remove from the original's list of", user: user}
		err := s.call(ctx, a, true, func(ctx context.Context, c rueidis.Client) error {
			commands := make(rueidis.Commands, len(chunk))
			for i, id := range chunk {
				commands[i] = c.B().Lrem().Key(contractListKey(user)).Count(0).Element(id).Build()
			}
			return firstError(c.DoMulti(ctx, commands...))
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// settle removes delivered texts as the versions that wrote them do.
func (s *Store) settle(ctx context.Context, user proto.UserID, texts []storedText) error {
	for chunk := range slices.Chunk(texts, chunkMax) {
		a := about{what: "remove what the original has for", user: user}
		err := s.call(ctx, a, true, func(ctx context.Context, c rueidis.Client) error {
			calls := make([]scriptCall, len(chunk))
			for i, text := range chunk {
				calls[i] = scriptCall{text.key, text.status[:]}
			}
			return firstError(settleOriginal.runEach(ctx, c, calls))
		})
		if err != nil {
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

// listed returns the count of appends in the original's form, and that of its
// texts in the list, without those that cannot be read and those that were shown
// with a serial up to after.
func (s *Store) listed(ctx context.Context, user proto.UserID, after uint64) (noted int64, texts int, err error) {
	a := about{what: "count what the original has for", user: user}
	var ids []string
	err = s.call(ctx, a, true, func(ctx context.Context, c rueidis.Client) error {
		answers := c.DoMulti(ctx,
			c.B().Hget().Key(boxKey(user)).Field("noted").Build(), s.list(c, user))
		if err := firstError(answers); err != nil {
			return err
		}
		noted, _ = answers[0].AsInt64() // none is 0
		ids, err = answers[1].AsStrSlice()
		return err
	})
	return noted, len(s.shown.hidden(user, after, ids)), err
}

// list reads the ids of a user's list, as many as are looked at once.
func (s *Store) list(c rueidis.Client, user proto.UserID) rueidis.Completed {
	last := int64(listedMax + s.shown.unreadOf(user) - 1)
	return c.B().Lrange().Key(contractListKey(user)).Start(0).Stop(last).Build()
}
