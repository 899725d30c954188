package redis

// luaBox is a box in a script. Its hash has, by their serials, those texts from
// first to next-1 that were not removed, each as
// stored:bytes:id:sender:bytes of the name:name and text. Beside them it has
//
//	bytes, texts       of all texts
//	newest             when the last one was stored
//	given, lease, until  the last lease that was given, the one that is held, and until when
//	gaps               the runs of serials between first and next that have no text: from-to, with a blank between two
//	id:<sender>:<id>   the serial of the text of that sender and id; not of id 0
//	sent:<serial>      when the text of that serial was sent, if that is known
//	by:<sender>        texts:bytes of all texts of that sender
//	sum                first:next:bytes when those from gaps on, and texts, were last written
//	bare               1: the gaps have no graves
//
// and of foreign texts what foreign.go says. A box that begins
// counts from the time on, so that even one that was lost gives no serial and no
// lease twice.
//
// Older releases keep none of texts, gaps, id, sent, by and sum, and remove the
// oldest texts only. What they have changed is seen by sum, or by a first text that
// is not there: then mend makes these fields anew. They read what this release
// writes: they know no gap, and fail on a serial that is not there, so each serial
// of a gap has a grave, a text without bytes that was too old when it was
// stored. With more than gravesMax of them, a box has none until it has no gaps.
//
// A clock that was ahead and was set back leaves times behind that lie further
// ahead than any can. A lease until such a time is over. A text that was stored
// then, for longer ahead than the age bound, counts as stored now once it is the
// oldest: it is not lost, and does not stay for ever.
//
// ARGV[1] is the clock, ARGV[2] the age bound and ARGV[3] the life of an
// untouched box, all in ms.
const luaBox = luaNow + `
local grave, gravesMax = '0:0:0:0:0:', 4096
local key, at, ttl = KEYS[1], now(ARGV[1]), tonumber(ARGV[2])
local kept = redis.call('HMGET', key, 'first', 'next', 'bytes', 'newest', 'given', 'lease', 'until', 'contract', 'noted', 'texts', 'gaps', 'sum', 'bare')
local exists, born = kept[1], integer(at * 1000)
local first, beyond = tonumber(kept[1] or born), tonumber(kept[2] or born)
local bytes, newest = tonumber(kept[3] or '0'), tonumber(kept[4] or '0')
local given, lease, ends = tonumber(kept[5] or born), tonumber(kept[6] or '0'), tonumber(kept[7] or '0')
local contract, noted = tonumber(kept[8] or '0'), tonumber(kept[9] or '0')
local texts, sum, bare = tonumber(kept[10] or '0'), kept[12], kept[13] == '1'
local from, to = {}, {} -- the gaps, in order; two never touch, and none is at first
for a, b in string.gmatch(kept[11] or '', '(%d+)-(%d+)') do
  from[#from + 1], to[#to + 1] = tonumber(a), tonumber(b)
end
local gone, senders = {}, {} -- serials that were removed; senders whose texts have changed
local looked, oldest = false, nil -- whether gaps, sum and texts are known to be right; the text at first, until it is asked for

local function parse(text)
  local stored, length, id, sender = string.match(text or '', '^(%d+):(%d+):(%d+)[@%-%d]*:(%-?%d+):')
  return tonumber(stored), tonumber(length), sender, id
end
local function entry(serial)
  local text = serial == first and oldest or redis.call('HGET', key, integer(serial))
  oldest = nil
  return text, parse(text)
end
local function by(sender)
  if not senders[sender] then
    local t, b = string.match(redis.call('HGET', key, 'by:' .. sender) or '', '^(%d+):(%d+)$')
    senders[sender] = {texts = tonumber(t or '0'), bytes = tonumber(b or '0')}
  end
  return senders[sender]
end
local function count(sender, n, length)
  local of = by(sender)
  of.texts, of.bytes, texts, bytes = of.texts + n, of.bytes + length, texts + n, bytes + length
end

local function width()
  local n = 0
  for i = 1, #from do n = n + to[i] - from[i] + 1 end
  return n
end
local function bury(a, b)
  for serial = a, b do redis.call('HSET', key, integer(serial), grave) end
end
local function unbury(a, b)
  for serial = a, b do redis.call('HDEL', key, integer(serial)) end
end

-- mend finds the gaps, and if write is true the rest, from the texts. Of texts
-- of one sender and id, which older releases could store, the first stays.
local function mend(write)
  local all, serials, found, seen, graves = redis.call('HGETALL', key), {}, {}, {}, {}
  local sent = {}
  from, to, gone, senders, texts, bytes = {}, {}, {}, {}, 0, 0
  for i = 1, #all, 2 do
    local serial = string.match(all[i], '^%d+$')
    if all[i + 1] == grave then
      if serial then graves[#graves + 1] = tonumber(serial) end
    elseif serial and parse(all[i + 1]) and tonumber(serial) >= first and tonumber(serial) < beyond then
      serials[#serials + 1] = tonumber(serial)
      found[tonumber(serial)] = all[i + 1]
    elseif string.match(all[i], '^sent:') then
      sent[string.sub(all[i], 6)] = true
    elseif write and (string.match(all[i], '^id:') or string.match(all[i], '^by:')) then
      redis.call('HDEL', key, all[i])
    end
  end
  table.sort(serials)
  local want = first
  for _, serial in ipairs(serials) do
    local stored, length, sender, id = parse(found[serial])
    local ref = 'id:' .. sender .. ':' .. id
    if write and seen[ref] then
      redis.call('HDEL', key, integer(serial))
    else
      sent[integer(serial)] = nil
      if want < serial then from[#from + 1], to[#to + 1] = want, serial - 1 end
      want = serial + 1
      if write then
        count(sender, 1, length)
        if id ~= '0' then
          seen[ref] = true
          redis.call('HSET', key, ref, integer(serial))
        end
      end
    end
  end
  if want < beyond then from[#from + 1], to[#to + 1] = want, beyond - 1 end
  if from[1] == first then
    first = to[1] + 1
    table.remove(from, 1)
    table.remove(to, 1)
  end
  if not write then return end
  for serial in pairs(sent) do redis.call('HDEL', key, 'sent:' .. serial) end
  for _, serial in ipairs(graves) do redis.call('HDEL', key, integer(serial)) end
  bare = width() > gravesMax
  if not bare then
    for i = 1, #from do bury(from[i], to[i]) end
  end
end
local function sound()
  looked = true
  if not exists then return true end
  if sum ~= integer(first) .. ':' .. integer(beyond) .. ':' .. integer(bytes) then return false end
  if first == beyond then return true end
  oldest = redis.call('HGET', key, integer(first))
  return oldest
end

-- seek returns the first serial of a text from this one on; beyond if there is none.
local function seek(serial)
  serial = math.max(serial, first)
  local a, b = 1, #to + 1
  while a < b do
    local middle = math.floor((a + b) / 2)
    if to[middle] < serial then a = middle + 1 else b = middle end
  end
  if from[a] and from[a] <= serial then serial = to[a] + 1 end
  return math.min(serial, beyond)
end
local function drop(serial, length, sender, id)
  redis.call('HDEL', key, integer(serial), 'id:' .. sender .. ':' .. id, 'sent:' .. integer(serial))
  count(sender, -1, -length)
  gone[#gone + 1] = serial
end
-- settle makes gaps of what was dropped. What is in front of all texts is none.
local function settle()
  if #gone == 0 then return end
  table.sort(gone)
  local f, t, i, j = {}, {}, 1, 1
  local function add(a, b)
    if t[#t] == a - 1 then t[#t] = b else f[#f + 1], t[#t + 1] = a, b end
  end
  while from[i] or gone[j] do
    if not gone[j] or from[i] and from[i] < gone[j] then
      add(from[i], to[i])
      i = i + 1
    else
      add(gone[j], gone[j])
      j = j + 1
    end
  end
  if f[1] == first then
    first = t[1] + 1
    table.remove(f, 1)
    table.remove(t, 1)
  end
  for i = 1, #from do
    if not bare and to[i] < first then unbury(from[i], to[i]) end
  end
  from, to = f, t
  if not bare and width() > gravesMax then
    for i = 1, #from do unbury(from[i], to[i]) end
    bare = true
  end
  bare = bare and #from > 0
  for _, serial in ipairs(gone) do
    if not bare and serial >= first then bury(serial, serial) end
  end
  gone = {}
end
local function expire()
  if not sound() then mend(true) end
  local serial = seek(first)
  while serial < beyond do
    local text, stored, length, sender, id = entry(serial)
    if stored - at > ttl then
      redis.call('HSET', key, integer(serial), integer(at) .. string.match(text, ':.*$'))
      break
    end
    if at - stored < ttl then break end
    drop(serial, length, sender, id)
    serial = seek(serial + 1)
  end
  settle()
end

-- fresh returns those of the texts from ARGV[n] on that the box does not have,
-- and their bytes. They come without the time at which they are stored, and with
-- that at which they were sent, if it is known, as @sent behind the id.
local function fresh(n)
  local some, length, seen = {}, 0, {}
  for i = n, #ARGV do
    local _, bytes, sender, id = parse('0:' .. ARGV[i])
    local ref = 'id:' .. sender .. ':' .. id
    if id == '0' or not seen[ref] and not redis.call('HGET', key, ref) then
      local text = ARGV[i]
      local _, stop, sent = string.find(text, '^%d+:%d+@(%-?%d+)')
      if sent then text = string.sub(text, 1, stop - #sent - 1) .. string.sub(text, stop + 1) end
      some[#some + 1] = {text = text, sent = sent, bytes = bytes, sender = sender, ref = id ~= '0' and ref}
      length, seen[ref] = length + bytes, true
    end
  end
  return some, length
end
local function put(some)
  newest = (texts == 0 or newest - at > ttl) and at or math.max(newest, at)
  for _, one in ipairs(some) do
    local serial = integer(beyond)
    local fields = {serial, integer(newest) .. ':' .. one.text}
    if one.ref then fields[3], fields[4] = one.ref, serial end
    if one.sent then fields[#fields + 1], fields[#fields + 2] = 'sent:' .. serial, one.sent end
    redis.call('HSET', key, unpack(fields))
    count(one.sender, 1, one.bytes)
    beyond = beyond + 1
  end
end
local function save()
  settle()
  for sender, of in pairs(senders) do
    if of.texts > 0 then
      redis.call('HSET', key, 'by:' .. sender, integer(of.texts) .. ':' .. integer(of.bytes))
    else
      redis.call('HDEL', key, 'by:' .. sender)
    end
  end
  local f, n, b = integer(first), integer(beyond), integer(bytes)
  local fields = {'first', f, 'next', n, 'bytes', b, 'newest', integer(newest),
    'given', integer(given), 'lease', integer(lease), 'until', integer(ends)}
  if looked then
    local gaps = {}
    for i = 1, #from do gaps[i] = integer(from[i]) .. '-' .. integer(to[i]) end
    for _, field in ipairs({'texts', integer(texts), 'gaps', table.concat(gaps, ' '), 'bare', bare and '1' or '0', 'sum', f .. ':' .. n .. ':' .. b}) do
      fields[#fields + 1] = field
    end
  end
  redis.call('HSET', key, unpack(fields))
  if contract > 0 then redis.call('HSET', key, 'contract', integer(contract)) end
  redis.call('PEXPIRE', key, ARGV[3])
end
`

var (
	// appendTexts: ARGV[4] is what a text takes beside its bytes, [5] and [6] are
	// the bounds of texts and of what they take, [7] and [8] those of the sender
	// of all, if there are any, and from [9] on come the texts. It answers 1 if they
	// fit, 0 if the box is full and -1 if the sender's share is.
	appendTexts = newScript(false, luaBox+`
expire()
local some, length = fresh(9)
local function over(has, most, take)
  local n = has.texts + #some
  return n > tonumber(most) or has.bytes + length + n * tonumber(ARGV[4]) > tonumber(take)
end
local answer = 1
if #some > 0 then
  if ARGV[7] ~= '' and over(by(some[1].sender), ARGV[7], ARGV[8]) then
    answer = -1
  elseif over({texts = texts, bytes = bytes}, ARGV[5], ARGV[6]) then
    answer = 0
  else
    put(some)
  end
end
save()
return answer`)

	// readPage: ARGV[4] is the serial to read behind, [5] and [6] the bounds
	// of texts and bytes. It answers the serial that foreign texts stand in
	// front of, whether that was noted, then of each text its serial,
	// itself and when it was sent ("" if that is not known), and changes nothing.
	readPage = newScript(true, luaBox+`
if not sound() then mend(false) end
local answer, size = {integer(math.max(contract, first)), contract > 0 and '1' or '0'}, 0
local serial, count = seek(tonumber(ARGV[4]) + 1), 0
while serial < beyond do
  local text, stored, length = entry(serial)
  if at - stored < ttl then
    if count > 0 and (count >= tonumber(ARGV[5]) or size + length > tonumber(ARGV[6])) then break end
    count, size = count + 1, size + length
    answer[3 * count] = integer(serial)
    answer[3 * count + 1] = text
    answer[3 * count + 2] = redis.call('HGET', key, 'sent:' .. integer(serial)) or ''
  end
  serial = seek(serial + 1)
end
return answer`)

	// remove: from ARGV[4] on come keys: sender:id, or a serial.
	remove = newScript(true, luaBox+`
if not exists then return 0 end
if not sound() then mend(true) end
for i = 4, #ARGV do
  local serial = ARGV[i]
  if string.find(serial, ':', 1, true) then serial = redis.call('HGET', key, 'id:' .. serial) end
  serial = tonumber(serial or '')
  if serial and serial >= first and serial < beyond then
    local text, stored, length, sender, id = entry(serial)
    if text then drop(serial, length, sender, id) end
  end
end
save()
return 1`)
)
