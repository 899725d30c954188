package redis

import (
	"context"
	"slices"
	"strings"

	"github.com/redis/rueidis"
)

// aclAdvice is where the rights stand.
const aclAdvice = `docs/operations.md has the ACL line, under "Rights in Redis"`

// needed are the commands that the store sends, or that its scripts call. They
// are tried on the probe key, whose value is a string: those that write
// something else are refused by its type, after the look at the rights.
var needed = [][]string{
	{"GET", probeKey},
	{"MGET", probeKey},
	{"EXISTS", probeKey},
	{"DEL", probeKey + ":none"},
	{"PEXPIRE", probeKey + ":none", "1"},
	{"EVAL", "return 1", "1", probeKey},
	{"EVALSHA", strings.Repeat("0", 40), "1", probeKey},
	{"SADD", probeKey, "1"},
	{"SREM", probeKey, "1"},
	{"SISMEMBER", probeKey, "1"},
	{"SSCAN", probeKey, "0"},
	{"HSET", probeKey, "1", "1"},
	{"HGET", probeKey, "1"},
	{"HMGET", probeKey, "1"},
	{"HGETALL", probeKey},
	{"HDEL", probeKey, "1"},
	{"HINCRBY", probeKey, "1", "1"},
}

// inScripts are those of needed that scripts alone call, or EachRecord: what stands
// between us and the Redis need not know them.
var inScripts = []string{"MGET", "PEXPIRE", "HMGET", "HGETALL", "HDEL", "HINCRBY"}

// neededKeys is a key of each kind. A user's name is a key too, so any may be.
var neededKeys = []string{
	accountKey(0), refusedKey(0), lastUserKey, routeKey(0), generationKey(0), connectedKey(0), boxKey(0),
	loginStatusKey, "any-user-name",
}

// Needs are commands and keys that a package uses beside the store: it is not ready
// without the right to each.
type Needs struct {
	// Commands are tried with their Args, on a string in the place of their Key. They
	// must change nothing there.
	Commands []Command
	// InScripts are more of them, which what stands between us and the Redis need not
	// know, if it knows scripts that call them.
	InScripts []Command
	// Keys has one of each kind.
	Keys []string
}

// commands are all that is needed, each with the probe key and its arguments.
func (n Needs) commands() [][]string {
	all := slices.Clone(needed)
	for _, command := range slices.Concat(n.Commands, n.InScripts) {
		all = append(all, append([]string{command.Name, probeKey}, command.Args...))
	}
	return all
}

// inScript reports whether scripts alone need to know a command.
func (n Needs) inScript(name string) bool {
	return slices.Contains(inScripts, name) || slices.ContainsFunc(n.InScripts, func(c Command) bool { return c.Name == name })
}

// lackingError says which commands there are not, and which rights the user of
// the URL lacks.
type lackingError struct{ unknown, commands, keys []string }

func (e *lackingError) Error() string {
	var lacks []string
	if len(e.unknown) > 0 {
		said := "it does not know " + strings.Join(e.unknown, ", ") + ", which cim needs: are they renamed (rename-command), or does a proxy stand in front of it?"
		if len(e.commands)+len(e.keys) == 0 {
			return said
		}
		return said + " And " + (&lackingError{commands: e.commands, keys: e.keys}).Error()
	}
	if len(e.commands) > 0 {
		lacks = append(lacks, "the right to use "+strings.Join(e.commands, ", "))
	}
	if len(e.keys) > 0 {
		lacks = append(lacks, "the right to use keys such as "+strings.Join(e.keys, ", "))
	}
	return "our user lacks " + strings.Join(lacks, " and ") + " (NOPERM): " + aclAdvice
}

// checkRights tries all that is needed and returns a lackingError, or why it
// could not be found out.
func (s *Store) checkRights(ctx context.Context, c rueidis.Client) error {
	all, keys := s.config.Needs.commands(), slices.Concat(neededKeys, s.config.Needs.Keys)
	commands := make(rueidis.Commands, 0, len(all)+1+len(keys))
	for _, command := range all {
		commands = append(commands, tried(c, command))
	}
	commands = append(commands, tried(c, []string{"EVAL", "return redis.call('TIME')[1]", "1", probeKey}))
	for _, key := range keys {
		commands = append(commands, tried(c, []string{"EVAL", "return 1", "1", key}))
	}
	var lacks lackingError
	for i, answer := range c.DoMulti(ctx, commands...) {
		err := answer.Error()
		switch {
		case away(err):
			return err
		case i < len(all) && unknownCommand(err):
			lacks.unknown = append(lacks.unknown, strings.ToLower(all[i][0]))
		case !notAllowed(err):
		case i < len(all):
			lacks.commands = append(lacks.commands, strings.ToLower(all[i][0]))
		case i == len(all):
			lacks.commands = append(lacks.commands, "time")
		default:
			lacks.keys = append(lacks.keys, keys[i-len(all)-1])
		}
	}
	if slices.Contains(lacks.commands, "eval") {
		lacks.commands = slices.DeleteFunc(lacks.commands, func(c string) bool { return c == "time" })
		lacks.keys = nil // neither was looked at
	}
	if err := s.config.Needs.spareKnownToScripts(ctx, c, &lacks); err != nil {
		return err
	}
	if len(lacks.unknown)+len(lacks.commands)+len(lacks.keys) == 0 {
		return nil
	}
	return &lacks
}

// spareKnownToScripts takes those out of the unknown commands that scripts alone
// call, and can call.
func (n Needs) spareKnownToScripts(ctx context.Context, c rueidis.Client, lacks *lackingError) error {
	if slices.Contains(lacks.unknown, "eval") || slices.Contains(lacks.commands, "eval") {
		return nil
	}
	var unknown []string
	for _, command := range n.commands() {
		name := strings.ToLower(command[0])
		if !slices.Contains(lacks.unknown, name) {
			continue
		}
		if n.inScript(command[0]) {
			script := "return redis.call('" + strings.Join(slices.Insert(slices.Clone(command[1:]), 0, command[0]), "', '") + "')"
			err := c.Do(ctx, tried(c, []string{"EVAL", script, "1", probeKey})).Error()
			if away(err) {
				return err
			}
			if !unknownCommand(err) {
				continue
			}
		}
		unknown = append(unknown, name)
	}
	lacks.unknown = unknown
	return nil
}

// unknownCommand reports whether err is of a command that there is not, within a
// script too.
func unknownCommand(err error) bool {
	code := codeOf(err)
	return strings.Contains(code, "unknown command") || strings.Contains(code, "Unknown Redis command")
}

// tried is a command with its key where the library looks for it.
func tried(c rueidis.Client, command []string) rueidis.Completed {
	if strings.HasPrefix(command[0], "EVAL") {
		return c.B().Arbitrary(command[:3]...).Keys(command[3]).Build()
	}
	return c.B().Arbitrary(command[0]).Keys(command[1]).Args(command[2:]...).Build()
}

// evictionWarning is what an eviction policy may do to our keys; "": nothing.
func evictionWarning(policy string) string {
	switch {
	case strings.HasPrefix(policy, "allkeys-"):
		return "accounts, presence and stored messages may be dropped when Redis is full: set maxmemory-policy noeviction"
	case strings.HasPrefix(policy, "volatile-"):
		return "stored messages may be dropped when Redis is full, since they have a life time: set maxmemory-policy noeviction"
	}
	return ""
}

// policies are the eviction policies of the nodes, without those that do not
// say it.
func policies(ctx context.Context, c rueidis.Client) []string {
	var all []string
	for _, node := range c.Nodes() {
		info, err := node.Do(ctx, node.B().Info().Section("memory").Build()).ToString()
		policy := infoField(info, "maxmemory_policy")
		if err != nil || policy == "" {
			config, _ := node.Do(ctx, node.B().ConfigGet().Parameter("maxmemory-policy").Build()).AsStrMap()
			policy = config["maxmemory-policy"]
		}
		if policy != "" && !slices.Contains(all, policy) {
			all = append(all, policy)
		}
	}
	slices.Sort(all)
	return all
}

// notAllowed reports whether err is of a right that is missing, of a command
// within a script too.
func notAllowed(err error) bool {
	code := codeOf(err)
	return strings.HasPrefix(code, "NOPERM") || strings.Contains(code, "ACL failure in script") || strings.Contains(code, "script can't run this command")
}
