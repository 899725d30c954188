package loadgen

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"cim/proto"
)

// roster is a System that can list the users who are online.
type roster interface {
	// online counts the clients of the fleet that are named, and gives some of
	// their names.
	online() (n int, some []string, err error)
}

// onlineEvery is the pause between two such requests.
const onlineEvery = 50 * time.Millisecond

// ghostsNamed bounds the ghosts that are named.
const ghostsNamed = 3

// countGhosts asks for the online users once all connections have ended, again until no user of the
// fleet is online or Drain has passed. Users who are online then are ghosts.
func (f *fleet) countGhosts(ctx context.Context) (n int, some []string, err error) {
	r, can := f.system.(roster)
	if !can {
		return 0, nil, nil
	}
	defer f.showStage("asking who is online", 0, func() int { return 0 })()
	f.until(ctx, onlineEvery, func() bool {
		n, some, err = r.online()
		return err != nil || n == 0
	})
	return n, some, err
}

// online implements roster.
func (sys *cimSystem) online() (n int, some []string, err error) {
	caller, err := newCaller(sys.fleet.cfg.Routes[0], sys.fleet.cfg.Token, sys.fleet.cfg.Drain)
	if err != nil {
		return 0, nil, err
	}
	defer caller.close()
	answer, err := caller.post(proto.PathOnlineUser, "{}")
	if err != nil {
		return 0, nil, err
	}
	var users []proto.UserBody
	if err := json.Unmarshal([]byte(answer.DataBody), &users); err != nil {
		return 0, nil, fmt.Errorf("POST %s: code %d: %w", proto.PathOnlineUser, answer.Code, err)
	}
	prefix := sys.fleet.prefix
	for _, user := range users {
		if !strings.HasPrefix(user.UserName, prefix) {
			continue
		}
		n++
		if len(some) < ghostsNamed {
			some = append(some, user.UserName)
		}
	}
	return n, some, nil
}
