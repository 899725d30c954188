package redis

// luaBox is a box in a script. Its hash has the texts from first to next-1 by
// their serials, each as stored:bytes:id@sent:sender:bytes of the name:name and
// text, where older releases have no @sent,
// and beside them the bytes of all texts, when the newest was stored, the last
// lease that was given, the one that is held, and until when. A box that
// begins counts from the time on, so that even one that was lost gives no
// serial and no lease twice. Of texts in the original's form it has two numbers
// more; see contract.go.
//
// A clock that was ahead and was set back leaves times behind that lie further
// ahead than any can. A lease until such a time is over. A text that was stored
// then, for longer ahead than the age bound, counts as stored now once it is the
// oldest: it is not lost, and does not stay for ever.
//
// ARGV[1] is the clock, ARGV[2] the age bound and ARGV[3] the life of an
// untouched box, all in ms.
const luaBox = luaNow + `
local key, at, ttl = KEYS[1], now(ARGV[1]), tonumber(ARGV[2])
local kept = redis.call('HMGET', key, 'first', 'next', 'bytes', 'newest', 'given', 'lease', 'until', 'contract', 'noted')
local exists, born = kept[1], integer(at * 1000)
local first, beyond = tonumber(kept[1] or born), tonumber(kept[2] or born)
local bytes, newest = tonumber(kept[3] or '0'), tonumber(kept[4] or '0')
local given, lease, ends = tonumber(kept[5] or born), tonumber(kept[6] or '0'), tonumber(kept[7] or '0')
local contract, noted = tonumber(kept[8] or '0'), tonumber(kept[9] or '0')

local function entry(serial)
  local text = redis.call('HGET', key, integer(serial))
  local stored, length = string.match(text, '^(%d+):(%d+):')
  return text, tonumber(stored), tonumber(length)
end
local function drop(length)
  redis.call('HDEL', key, integer(first))
  first, bytes = first + 1, bytes - length
end
local function put(from)
  newest = (first == beyond or newest - at > ttl) and at or math.max(newest, at)
  for i = from, #ARGV do
    redis.call('HSET', key, integer(beyond), integer(newest) .. ':' .. ARGV[i])
    beyond = beyond + 1
  end
  bytes = bytes + tonumber(ARGV[6])
end
local function expire()
  while first < beyond do
    local text, stored, length = entry(first)
    if stored - at > ttl then
      redis.call('HSET', key, integer(first), integer(at) .. string.match(text, ':.*$'))
      return
    end
    if at - stored < ttl then return end
    drop(length)
  end
end
local function save()
  redis.call('HSET', key, 'first', integer(first), 'next', integer(beyond), 'bytes', integer(bytes), 'newest', integer(newest),
    'given', integer(given), 'lease', integer(lease), 'until', integer(ends))
  if contract > 0 then redis.call('HSET', key, 'contract', integer(contract)) end
  redis.call('PEXPIRE', key, ARGV[3])
end
`

var (
	// appendTexts: ARGV[4] and [5] are the bounds of texts and bytes, [6] the
	// bytes of these texts, and from [7] on they come, without their time. It
	// answers 1 if they fit.
	appendTexts = newScript(false, luaBox+`
expire()
local full = beyond - first + #ARGV - 6 > tonumber(ARGV[4]) or bytes + tonumber(ARGV[6]) > tonumber(ARGV[5])
if not full then put(7) end
save()
return full and 0 or 1`)

	// readPage: ARGV[4] is the serial to read behind, [5] and [6] the bounds
	// of texts and bytes. It answers the serial that texts in the original's
	// form stand in front of, whether that was noted, then serial and text in
	// turn, and changes nothing.
	readPage = newScript(true, luaBox+`
local answer, count, size = {integer(math.max(contract, first)), contract > 0 and '1' or '0'}, 0, 0
for serial = math.max(first, tonumber(ARGV[4]) + 1), beyond - 1 do
  local text, stored, length = entry(serial)
  if at - stored < ttl then
    if count > 0 and (count >= tonumber(ARGV[5]) or size + length > tonumber(ARGV[6])) then break end
    count, size = count + 1, size + length
    answer[2 * count + 1] = integer(serial)
    answer[2 * count + 2] = text
  end
end
return answer`)

	// remove: ARGV[4] is the last serial that goes.
	remove = newScript(true, luaBox+`
if not exists then return 0 end
while first < beyond and first <= tonumber(ARGV[4]) do
  local _, _, length = entry(first)
  drop(length)
end
save()
return 1`)
)
