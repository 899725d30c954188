package redis

import (
	"context"
	"strconv"

	"github.com/redis/rueidis"

	"cim/proto"
	"cim/store"
)

// Another system may keep texts of a user, too, under keys of its own: foreign
// texts. Here is what a package needs that shows them and a box as one box, in
// this order: texts of ours, foreign ones, texts of ours. The box's hash has, of the
// foreign ones,
//
//	contract  where they begin: the serial of ours that comes behind them
//	noted     how often some were written
//	aside     sender=texts:bytes of each sender, since there were none last
//
// A text that would make a fourth part is kept in the box. Foreign texts whose
// place is not noted come first.
//
// The serials that others see have room between two of ours, for foreign texts.

// GapBits is the room: behind the serial of a text of ours, which is a multiple of
// 2^GapBits, there are 2^GapBits-1 for foreign texts.
const GapBits = 11

// outside is the serial that others see of one of ours.
func outside(serial uint64) uint64 { return serial << GapBits }

// inside is the last of ours at or before a serial that others have seen.
func inside(serial uint64) uint64 { return serial >> GapBits }

// Foreign are the foreign texts of one user, and those that are to become some.
type Foreign struct {
	Texts, Bytes int // that there are
	NewBytes     int // of those that are to come, as they will be written
	Max          int // texts that there may be
}

// keepForeign: ARGV[4] to [8] are as for appendTexts, [9] to [12] are Foreign, and
// from [13] on the texts come. It answers 1 if they are to become foreign texts, 2 if
// it has kept them, 0 if the box is full and -1 if the sender's share is.
var keepForeign = newScript(false, luaBox+`
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

// noteForeign counts that foreign texts were written.
var noteForeign = newScript(true, luaBox+`
redis.call('HINCRBY', key, 'noted', 1)
save()
return 1`)

// KeepForeign asks receiver's box whether texts of one sender may become foreign
// texts. If so foreign is true, and the box counts with them. If others of ours
// stand behind the foreign ones, or there are too many of these, the box keeps the
// texts itself. The error is ErrBoxFull if there is no room, as for Append.
func (s *Store) KeepForeign(ctx context.Context, receiver proto.UserID, f Foreign, texts []store.Returned) (foreign bool, err error) {
	args := append(s.boxArgs(appendBounds...), strconv.Itoa(f.Texts), strconv.Itoa(f.Bytes), strconv.Itoa(f.NewBytes), strconv.Itoa(f.Max))
	args = append(args, entries(texts)...)
	answer, err := s.number(ctx, about{what: "append foreign texts to the box of", user: receiver}, keepForeign, boxKey(receiver), args...)
	if err == nil && answer < 1 {
		return false, refusal(answer)
	}
	return answer == 1, err
}

// NoteForeign notes that foreign texts of user were written. It comes behind them:
// so ReleaseCounted gives no lease back if its caller has not counted them.
func (s *Store) NoteForeign(ctx context.Context, user proto.UserID) error {
	_, err := s.number(ctx, about{what: "note foreign texts in the box of", user: user}, noteForeign, boxKey(user), s.boxArgs()...)
	return err
}

// NotedForeign asks how often NoteForeign has noted foreign texts of user: a number,
// or nothing.
func NotedForeign(user proto.UserID) Command {
	return Command{Name: "HGET", Key: boxKey(user), Args: []string{"noted"}}
}

// ReleaseCounted is ReleaseIfEmpty for a caller that has counted the foreign texts: left
// are behind the serial after, and noted was read before they were counted.
func (s *Store) ReleaseCounted(ctx context.Context, user proto.UserID, lease store.Lease, after uint64, noted int64, left int) (bool, error) {
	return s.release(ctx, user, lease, after, strconv.FormatInt(noted, 10), left)
}

// AppendTexts is Append of texts of one sender that do not follow one another.
func (s *Store) AppendTexts(ctx context.Context, receiver proto.UserID, texts []store.Returned) error {
	return s.put(ctx, "append to the box of", receiver, texts, appendBounds)
}

// Box is a page of a user's box, with the place of foreign texts.
type Box struct {
	Texts []store.OfflineMessage
	// Front is the serial behind which foreign texts stand, in front of the next text
	// of ours, if Noted; else they stand in front of the first one.
	Front uint64
	Noted bool
}

// ReadBox is Page of the texts in user's box; then, in the same trip, it sends commands
// that change nothing: what they read is no older than the page.
func (s *Store) ReadBox(ctx context.Context, user proto.UserID, after uint64, then ...Command) (box Box, answers []Answer, err error) {
	a := about{what: "read the box of", user: user}
	args := s.boxArgs(serialText(inside(after)), strconv.Itoa(store.PageMax), strconv.Itoa(store.PageMaxBytes))
	page := Command{Key: boxKey(user), Args: args, script: readPage}
	var texts []string
	err = s.call(ctx, a, true, func(ctx context.Context, c rueidis.Client) (err error) {
		results := c.DoMulti(ctx, built(c, append([]Command{page}, then...))...)
		if unknown(results[0].Error()) {
			results = append([]rueidis.RedisResult{page.run(ctx, c)}, c.DoMulti(ctx, built(c, then)...)...)
		}
		answers = answersOf(results[1:])
		if texts, err = results[0].AsStrSlice(); err != nil {
			return err
		}
		return firstError(results[1:])
	})
	if err == nil {
		err = box.read(texts)
	}
	if err != nil {
		return Box{}, nil, fault(ctx, a, err)
	}
	return box, answers, nil
}

// RemoveThen is Remove of texts in user's box; then, in the same trip, it sends
// commands that change nothing.
func (s *Store) RemoveThen(ctx context.Context, user proto.UserID, keys []store.TextKey, then ...Command) (answers []Answer, err error) {
	removal := Command{Key: boxKey(user), Args: s.boxArgs(removalKeys(keys)...), script: remove}
	answers, err = s.Trip(ctx, "remove from the box of", user, true, append([]Command{removal}, then...)...)
	if err != nil {
		return nil, err
	}
	return answers[1:], nil
}
