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
	// listedMax bounds how many texts of the original are looked at at once. A
	// box of ours and what a catch-up has not removed yet are fewer; routes of
	// the original know no bound, and what is behind comes later.
	listedMax = store.BoxMaxMessages + store.PageMax
	// fetchMax bounds the texts of the original in one trip: each may have
	// twice its bytes, and more.
	fetchMax = 50
)

// outside is the serial that others see of one of ours.
func outside(serial uint64) uint64 { return serial << shift }

// inside is the last of ours at or before a serial that others have seen.
func inside(serial uint64) uint64 { return serial >> shift }

// keepAside: ARGV[4] and [5] are the bounds of texts and bytes, [6] and [7] the
// bytes of these texts in our form and the original's, [8] and [9] the texts and
// bytes in the original's form that there are, and from [10] on the texts come,
// as for appendTexts. It answers 0 if they do not fit, 1 if they are to be kept
// in the original's form, and 2 if it has kept them.
var keepAside = newScript(false, luaBox+`
expire()
local listed, ours = tonumber(ARGV[8]), beyond - first
local behind = listed > 0 and beyond > math.max(contract, first)
local more = tonumber(behind and ARGV[6] or ARGV[7])
local answer = 1
if ours + listed + #ARGV - 9 > tonumber(ARGV[4]) or bytes + tonumber(ARGV[9]) + more > tonumber(ARGV[5]) then
  answer = 0
elseif behind then
  put(10)
  answer = 2
elseif listed == 0 then
  contract = beyond
end
save()
return answer`)

// note counts texts in the original's form, once they are in the list: so a
// lease is not given back by somebody who has not seen them.
var note = newScript(true, luaBox+`
redis.call('HINCRBY', key, 'noted', 1)
save()
return 1`)

// AppendOriginal is that of Original.
func (s *Store) AppendOriginal(ctx context.Context, receiver proto.UserID, sender proto.User, id proto.TextID, texts []string) error {
	if len(texts) == 0 {
		return nil
	}
	aside := newContractTexts(receiver, sender, id, texts, s.now())
	listed, bytes, err := s.weigh(ctx, receiver)
	if err != nil {
		return err
	}
	args := s.boxArgs(strconv.Itoa(store.BoxMaxMessages), strconv.Itoa(store.BoxMaxBytes),
		strconv.Itoa(store.TextBytes(texts)), strconv.Itoa(store.TextBytes(aside.values)), strconv.Itoa(listed), strconv.Itoa(bytes))
	args = append(args, entries(sender, id, texts)...)
	a := about{what: "append in the original's form to the box of", user: receiver}
	kept, err := s.number(ctx, a, keepAside, boxKey(receiver), args...)
	switch {
	case err != nil || kept == 2:
		return err
	case kept == 0:
		return store.ErrBoxFull
	}
	if err := s.write(ctx, a, receiver, aside); err != nil {
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

// contractTexts are texts in the original's form.
type contractTexts struct{ ids, values []string }

func newContractTexts(receiver proto.UserID, sender proto.User, id proto.TextID, texts []string, at time.Time) contractTexts {
	var all contractTexts
	for i, text := range texts {
		id := messageID(id.Next(i))
		all.ids = append(all.ids, id)
		all.values = append(all.values, contractText(id, receiver, sender, text, at))
	}
	return all
}

// weigh counts the texts in the original's form, and their bytes as they are
// written there. It drops the ids of those that are gone.
func (s *Store) weigh(ctx context.Context, user proto.UserID) (texts, bytes int, err error) {
	a := about{what: "weigh what the original has for", user: user}
	var ids, gone []string
	err = s.call(ctx, a, true, func(ctx context.Context, c rueidis.Client) (err error) {
		list := c.B().Lrange().Key(contractListKey(user)).Start(0).Stop(listedMax - 1).Build()
		if ids, err = c.Do(ctx, list).AsStrSlice(); err != nil || len(ids) == 0 {
			return err
		}
		commands := make(rueidis.Commands, len(ids))
		for i, id := range ids {
			commands[i] = c.B().Strlen().Key(contractKey(id)).Build()
		}
		gone, bytes = nil, 0
		for i, answer := range c.DoMulti(ctx, commands...) {
			length, err := answer.AsInt64()
			switch {
			case err != nil:
				return err
			case length == 0:
				gone = append(gone, ids[i])
			}
			bytes += int(length)
		}
		return nil
	})
	if err != nil {
		return 0, 0, err
	}
	return len(ids) - len(gone), bytes, s.unlist(ctx, user, gone)
}

// write writes texts as the original does: the texts first, so that each id
// that is read has its text.
func (s *Store) write(ctx context.Context, a about, receiver proto.UserID, texts contractTexts) error {
	ttl := s.config.Store.OfflineTTL
	return s.call(ctx, a, false, func(ctx context.Context, c rueidis.Client) error {
		var commands rueidis.Commands
		for i, id := range texts.ids {
			commands = append(commands, c.B().Set().Key(contractKey(id)).Value(texts.values[i]).Px(ttl).Build())
		}
		if err := firstError(c.DoMulti(ctx, commands...)); err != nil {
			return err
		}
		list := contractListKey(receiver)
		return firstError(c.DoMulti(ctx,
			c.B().Rpush().Key(list).Element(texts.ids...).Build(), c.B().Pexpire().Key(list).Milliseconds(ttl.Milliseconds()).Build()))
	})
}

// merge makes one page of both forms.
func (s *Store) merge(ctx context.Context, user proto.UserID, after uint64, both bothForms) ([]store.OfflineMessage, error) {
	ids := s.shown.hidden(user, after, both.ids)
	theirs, whole, err := s.fetch(ctx, user, ids)
	if err != nil {
		return nil, err
	}
	numbered := s.shown.number(user, max(after, both.front), theirs)
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

// named is a text of the original, with the id that it has there.
type named struct {
	id      string
	message store.OfflineMessage
}

// fetch reads the texts of ids, as many as a page takes, and reports whether
// these were all. Ids whose text is gone, or cannot be read, leave the list.
func (s *Store) fetch(ctx context.Context, user proto.UserID, ids []string) (texts []named, whole bool, err error) {
	bytes := 0
	var lost []string
	for chunk := range slices.Chunk(ids, fetchMax) {
		if len(texts) >= store.PageMax || bytes > store.PageMaxBytes {
			return texts, false, s.unlist(ctx, user, lost)
		}
		values, err := s.values(ctx, user, chunk)
		if err != nil {
			return nil, false, err
		}
		for i, id := range chunk {
			message, ok := s.readText(user, id, values[i])
			if !ok {
				lost = append(lost, id)
				continue
			}
			texts, bytes = append(texts, named{id, message}), bytes+len(message.Text)
		}
	}
	return texts, true, s.unlist(ctx, user, lost)
}

// readText reads one text, and reports whether there is one that can be read.
func (s *Store) readText(user proto.UserID, id, value string) (store.OfflineMessage, bool) {
	if value == "" {
		return store.OfflineMessage{}, false
	}
	message, err := parseContract(id, value)
	if err != nil {
		s.config.Log.Warn("redis: passed by a text of the original", "user", int64(user), "message", id, "why", err)
	}
	return message, err == nil
}

func (s *Store) values(ctx context.Context, user proto.UserID, ids []string) (values []string, err error) {
	a := about{what: "read what the original has for", user: user}
	err = s.call(ctx, a, true, func(ctx context.Context, c rueidis.Client) error {
		commands := make(rueidis.Commands, len(ids))
		for i, id := range ids {
			commands[i] = c.B().Get().Key(contractKey(id)).Build()
		}
		answers := c.DoMulti(ctx, commands...)
		values = make([]string, len(ids))
		for i := range answers {
			values[i], _ = answers[i].ToString() // firstError tells; none is ""
		}
		return firstError(answers)
	})
	return values, err
}

// unlist takes ids out of the user's list.
func (s *Store) unlist(ctx context.Context, user proto.UserID, ids []string) error {
	return s.discard(ctx, user, ids, false)
}

// discard takes ids out of the user's list, and with texts these before.
func (s *Store) discard(ctx context.Context, user proto.UserID, ids []string, texts bool) error {
	for chunk := range slices.Chunk(ids, chunkMax) {
		a := about{what: "remove what the original has for", user: user}
		err := s.call(ctx, a, true, func(ctx context.Context, c rueidis.Client) error {
			var commands rueidis.Commands
			for _, id := range chunk {
				if texts {
					commands = append(commands, c.B().Del().Key(contractKey(id)).Build())
				}
				commands = append(commands, c.B().Lrem().Key(contractListKey(user)).Count(0).Element(id).Build())
			}
			return firstError(c.DoMulti(ctx, commands...))
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// removeShown removes the texts of the original that were shown with a serial
// up to this one.
func (s *Store) removeShown(ctx context.Context, user proto.UserID, serial uint64) error {
	ids := s.shown.upTo(user, serial)
	if err := s.discard(ctx, user, ids, true); err != nil {
		return err
	}
	s.shown.removed(user, ids)
	return nil
}

// listed returns the count of appends in the original's form, and behind it
// that of its texts in the list.
func (s *Store) listed(ctx context.Context, user proto.UserID) (noted, texts int64, err error) {
	a := about{what: "count what the original has for", user: user}
	err = s.call(ctx, a, true, func(ctx context.Context, c rueidis.Client) error {
		answers := c.DoMulti(ctx,
			c.B().Hget().Key(boxKey(user)).Field("noted").Build(), c.B().Llen().Key(contractListKey(user)).Build())
		if err := firstError(answers); err != nil {
			return err
		}
		noted, _ = answers[0].AsInt64() // none is 0
		texts, err = answers[1].AsInt64()
		return err
	})
	return noted, texts, err
}
