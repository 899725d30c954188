package redis

import (
	"strings"
	"testing"
)

// TestAnswerWords goes through answers that are not explained by their beginning
// alone.
func TestAnswerWords(t *testing.T) {
	for _, c := range []struct{ command, answer, want string }{
		{"connect", "max number of clients reached", "takes no more connections: raise maxclients of the Redis, or end other clients (max number of clients reached)"}, // as rueidis gives it
		{"AUTH", "ERR unknown command 'AUTH'", "answers AUTH with: ERR unknown command 'AUTH'"},
		{"GET", "ERR unknown command 'GET', with args beginning with: 'key'", "does not know the command GET, which cim needs; is it a Sentinel? Then master_set=NAME belongs behind the URL (ERR unknown command 'GET')"},
		{"SET", "ERR " + strings.Repeat("x", answerMax), "answers SET with: ERR " + strings.Repeat("x", answerMax-4) + "..."},
		{"SET", "OOM " + strings.Repeat("ä", answerMax), "is full (maxmemory) and takes no writes: raise maxmemory, or take out data (OOM " + strings.Repeat("ä", (answerMax-4)/2) + "...)"},
	} {
		if got := answerWords(c.command, c.answer); got != c.want {
			t.Errorf("%s, %q:\n%q, want\n%q", c.command, c.answer, got, c.want)
		}
	}
}
