package redis

import (
	"context"
	"crypto/sha1"
	"encoding/hex"
	"strconv"

	"github.com/redis/rueidis"
)

// script is a Lua script of one key.
type script struct {
	text, sha  string
	repeatable bool // done twice it is as done once
}

// newScript names text as a Redis does.
func newScript(repeatable bool, text string) *script {
	sum := sha1.Sum([]byte(text))
	return &script{text: text, sha: hex.EncodeToString(sum[:]), repeatable: repeatable}
}

// luaNow is the clock of a script, in ms: what it is given, or the time of the
// Redis. integer writes a number as Redis and Go read it; Lua's own way loses
// digits.
const luaNow = `
local function integer(n) return string.format('%.0f', n) end
local function now(given)
  if given ~= '' then return tonumber(given) end
  local time = redis.call('TIME')
  return tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
end
`

// clock is the time for a script: of the configuration, or none.
func (s *Store) clock() string {
	if s.config.Store.Now == nil {
		return ""
	}
	return strconv.FormatInt(s.config.Store.Now().UnixMilli(), 10)
}

// command is the script by its name, which a Redis knows once it has run it.
func (l *script) command(c rueidis.Client, key string, args ...string) rueidis.Completed {
	return c.B().Evalsha().Sha1(l.sha).Numkeys(1).Key(key).Arg(args...).Build()
}

// run runs the script, and sends its text if the Redis does not know it.
func (l *script) run(ctx context.Context, c rueidis.Client, key string, args ...string) rueidis.RedisResult {
	answer := c.Do(ctx, l.command(c, key, args...))
	if !unknown(answer.Error()) {
		return answer
	}
	return c.Do(ctx, c.B().Eval().Script(l.text).Numkeys(1).Key(key).Arg(args...).Build())
}

// unknown reports whether err is that the Redis does not know a script.
func unknown(err error) bool {
	answer, ok := rueidis.IsRedisErr(err)
	return ok && answer.IsNoScript()
}

// number runs a script and returns the number that it answers.
func (s *Store) number(ctx context.Context, a about, l *script, key string, args ...string) (n int64, err error) {
	err = s.call(ctx, a, l.repeatable, func(ctx context.Context, c rueidis.Client) (err error) {
		n, err = l.run(ctx, c, key, args...).AsInt64()
		return err
	})
	return n, err
}
