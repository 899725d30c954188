package redis

import (
	"context"

	"github.com/redis/rueidis"

	"cim/proto"
)

// Script is a Lua script of one key.
type Script struct{ script *script }

// NewScript makes a script of its text.
func NewScript(text string) Script { return Script{newScript(false, text)} }

// On is a run of the script.
func (l Script) On(key string, args ...string) Command {
	return Command{Key: key, Args: args, script: l.script}
}

// Command is what a Redis is sent: a command of one key, or a run of a Script.
type Command struct {
	Name, Key string
	Args      []string
	script    *script // nil: Name is a command
}

func (m Command) build(c rueidis.Client) rueidis.Completed {
	if m.script != nil {
		return m.script.command(c, m.Key, m.Args...)
	}
	return c.B().Arbitrary(m.Name).Keys(m.Key).Args(m.Args...).Build()
}

// run runs a script whose text has to be sent.
func (m Command) run(ctx context.Context, c rueidis.Client) rueidis.RedisResult {
	return m.script.run(ctx, c, m.Key, m.Args...)
}

func built(c rueidis.Client, commands []Command) rueidis.Commands {
	all := make(rueidis.Commands, len(commands))
	for i, command := range commands {
		all[i] = command.build(c)
	}
	return all
}

// sendAll sends commands in one round trip. Each node of a Redis that does not know a
// script costs two more.
func sendAll(ctx context.Context, c rueidis.Client, commands []Command) []rueidis.RedisResult {
	results := make([]rueidis.RedisResult, len(commands))
	left := make([]int, len(commands)) // the commands without a result yet
	for i := range left {
		left[i] = i
	}
	for len(left) > 0 {
		some := make([]Command, len(left))
		for n, i := range left {
			some[n] = commands[i]
		}
		var again []int
		for n, result := range c.DoMulti(ctx, built(c, some)...) {
			results[left[n]] = result
			if unknown(result.Error()) {
				again = append(again, left[n])
			}
		}
		if len(again) > 0 { // one run with the text, and the node knows the script
			first := again[0]
			results[first] = commands[first].run(ctx, c)
			again = again[1:]
		}
		left = again
	}
	return results
}

// Answer is what a Redis has answered to a Command.
type Answer struct{ result rueidis.RedisResult }

func answersOf(results []rueidis.RedisResult) []Answer {
	answers := make([]Answer, len(results))
	for i, result := range results {
		answers[i] = Answer{result}
	}
	return answers
}

// Texts is an answer of several texts.
func (a Answer) Texts() ([]string, error) { return a.result.AsStrSlice() }

// Number is an answer of a number, also as a text; 0: there is none.
func (a Answer) Number() (int64, error) {
	n, err := a.result.AsInt64()
	return n, orNone(err)
}

// Trip sends commands together and returns their answers, none of which is an
// error. What the Redis refuses for the moment is sent again within the deadline, all
// of it, and what a broken connection may have carried once more if it is
// repeatable. Its error says that it was to do what for user.
func (s *Store) Trip(ctx context.Context, what string, user proto.UserID, repeatable bool, commands ...Command) (answers []Answer, err error) {
	err = s.call(ctx, about{what: what, user: user}, repeatable, func(ctx context.Context, c rueidis.Client) error {
		results := sendAll(ctx, c, commands)
		answers = answersOf(results)
		return firstError(results)
	})
	return answers, err
}
