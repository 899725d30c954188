package redisform

import (
	"context"
	"encoding/json"
	"strconv"
	"strings"

	"cim/proto"
	"cim/store"
	"cim/store/redis"
)

// The original has stored a text in two forms. Its development branch (master)
// sets one string, JSON encoded twice, under an id that stands plain in the
// list; master.go has that form. Its releases 2.1.x keep a hash, under an id
// that stands in the list as a JSON string, in quotes; a delivered text leaves
// the list and its hash stays with status 1; released.go has that form.

// textForm is how the original has stored a text.
type textForm string

const (
	formNone      textForm = "none"      // there is no such text any more
	formMaster    textForm = "string"    // a JSON string
	formReleased  textForm = "hash"      // a hash, not delivered yet
	formDelivered textForm = "delivered" // of either form, with status 1
)

// hashFieldsMax bounds the fields of a hash that is read as a text: more than
// twice those of a release.
const hashFieldsMax = 32

var (
	// readText answers the type of a key, and behind it the string, or
	// fields and values in turn.
	readText = redis.NewScript(`
local kind = redis.call('TYPE', KEYS[1])['ok']
if kind == 'string' then return {kind, redis.call('GET', KEYS[1])} end
if kind ~= 'hash' then return {kind} end
local answer = redis.call('HGETALL', KEYS[1])
if #answer > 2 * tonumber(ARGV[1]) then return {kind} end
table.insert(answer, 1, kind)
return answer`)

	// weighText answers the form of the text at a key, and its bytes.
	weighText = redis.NewScript(`
local kind, bytes = redis.call('TYPE', KEYS[1])['ok'], 0
if kind == 'string' then bytes = redis.call('STRLEN', KEYS[1]) end
if kind == 'hash' then
  local text = redis.call('HMGET', KEYS[1], 'status', '"status"', 'content', '"content"')
  for i = 1, 2 do
    if text[i] == '1' or text[i] == '"1"' then return {'delivered', '0'} end
  end
  bytes = #(text[3] or '') + #(text[4] or '')
end
return {kind, tostring(bytes)}`)

	// settleText removes a text that was delivered as the version that wrote
	// it does: a string goes, a hash stays with the field ARGV[1] set to ARGV[2]
	// until its time is over.
	settleText = redis.NewScript(`
if redis.call('TYPE', KEYS[1])['ok'] ~= 'hash' then return redis.call('DEL', KEYS[1]) end
if ARGV[1] ~= '' then redis.call('HSET', KEYS[1], ARGV[1], ARGV[2]) end
return 1`)
)

// bareID is a list's id without the quotes of a JSON string.
func bareID(listed string) string {
	var bare string
	if strings.HasPrefix(listed, `"`) && json.Unmarshal([]byte(listed), &bare) == nil {
		return bare
	}
	return listed
}

// textKeys are the keys under which the text of a list's id may stand, the
// likely one first.
func textKeys(listed string) []string {
	if bare := bareID(listed); bare != listed {
		return []string{textKey(bare), textKey(listed)}
	}
	return []string{textKey(listed)}
}

// rawText is a text of the original as Redis has it.
type rawText struct {
	key    string
	form   textForm          // another type's name if it is neither string nor hash
	value  string            // of a string
	fields map[string]string // of a hash
}

// storedText is a text that was read, with what it takes to remove it.
type storedText struct {
	id      string // as it stands in the list
	key     string
	form    textForm
	status  [2]string // field and value that mark a hash as delivered
	message store.OfflineMessage
}

// rawTexts reads the texts of ids.
func (s *Store) rawTexts(ctx context.Context, user proto.UserID, ids []string) ([]rawText, error) {
	texts := make([]rawText, len(ids))
	err := s.eachText(ctx, user, ids, readText, []string{strconv.Itoa(hashFieldsMax)}, func(i int, key string, answer []string) bool {
		texts[i] = rawTextOf(key, answer)
		return texts[i].form != formNone
	})
	return texts, err
}

// eachText runs a script on the key of each id, and on the other key where take
// has not found a text.
func (s *Store) eachText(
	ctx context.Context, user proto.UserID, ids []string, script redis.Script, args []string,
	take func(i int, key string, answer []string) (found bool),
) error {
	rest := make([]int, len(ids))
	for i := range ids {
		rest[i] = i
	}
	for turn := 0; len(rest) > 0; turn++ {
		commands := make([]redis.Command, len(rest))
		for n, i := range rest {
			commands[n] = script.On(textKeys(ids[i])[turn], args...)
		}
		answers, err := s.Trip(ctx, "read what the original has for", user, true, commands...)
		if err != nil {
			return err
		}
		var missing []int
		for n, i := range rest {
			values, err := answers[n].Texts()
			if err != nil {
				return err
			}
			if !take(i, commands[n].Key, values) && turn+1 < len(textKeys(ids[i])) {
				missing = append(missing, i)
			}
		}
		rest = missing
	}
	return nil
}

func rawTextOf(key string, answer []string) rawText {
	raw := rawText{key: key, form: formNone}
	if len(answer) == 0 {
		return raw
	}
	raw.form = textForm(answer[0])
	switch rest := answer[1:]; {
	case raw.form == formMaster && len(rest) == 1:
		raw.value = rest[0]
	case raw.form == formReleased:
		raw.fields = make(map[string]string, len(rest)/2)
		for i := 1; i < len(rest); i += 2 {
			raw.fields[rest[i-1]] = rest[i]
		}
	}
	return raw
}

// parse reads a text of either form. Its error quotes nothing.
func (raw rawText) parse(id string) (text storedText, err error) {
	text = storedText{id: id, key: raw.key, form: raw.form}
	delivered := false
	switch raw.form {
	case formNone:
		return text, nil
	case formMaster:
		text.message, delivered, err = parseMaster(bareID(id), raw.value)
	case formReleased:
		text.message, text.status, delivered, err = parseReleased(bareID(id), raw.fields)
	default:
		err = errForm
	}
	if err == nil && delivered {
		text.form = formDelivered
	}
	return text, err
}
