package redis

import (
	"context"
	"log/slog"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/redis/rueidis"

	"cim/proto"
)

const (
	loginStatusKey = "login-status"
	// repairEvery is the pause between two steps of the repair.
	repairEvery = time.Second
	// membersPage and routesPage are what a step looks at, of the mirror and
	// of each node's keys.
	membersPage = 200
	routesPage  = 1000
)

// mirror is the state of login-status, which has a user for each record. It
// is in another slot than the records, so it follows them: a user is added
// after his record, and removed after it, and what got lost in between is
// repaired by and by.
type mirror struct {
	failing atomic.Bool
}

// note logs that the mirror cannot be kept, once until it can.
func (m *mirror) note(log *slog.Logger, err error) {
	if failing := err != nil; m.failing.Swap(failing) == failing || !failing {
		return
	}
	log.Warn("redis: login-status falls behind until it is repaired", "why", err)
}

// forget removes users from the mirror, and adds those again who have a record
// after all: a login may have come in between.
func (s *Store) forget(ctx context.Context, users ...proto.UserID) error {
	if len(users) == 0 {
		return nil
	}
	err := s.call(ctx, about{what: "remove from", key: loginStatusKey}, true, func(ctx context.Context, c rueidis.Client) error {
		return c.Do(ctx, c.B().Srem().Key(loginStatusKey).Member(userTexts(users)...).Build()).Error()
	})
	if err != nil {
		return err
	}
	return s.remember(ctx, users...)
}

// remember adds those of users who have a record to the mirror.
func (s *Store) remember(ctx context.Context, users ...proto.UserID) error {
	have, _, err := s.divide(ctx, users)
	if err != nil || len(have) == 0 {
		return err
	}
	return s.call(ctx, about{what: "add to", key: loginStatusKey}, true, func(ctx context.Context, c rueidis.Client) error {
		return c.Do(ctx, c.B().Sadd().Key(loginStatusKey).Member(userTexts(have)...).Build()).Error()
	})
}

// divide returns those of users who have a record, and those who have none.
func (s *Store) divide(ctx context.Context, users []proto.UserID) (have, lack []proto.UserID, err error) {
	if len(users) == 0 {
		return nil, nil, nil
	}
	err = s.call(ctx, about{what: "look for records"}, true, func(ctx context.Context, c rueidis.Client) error {
		commands := make(rueidis.Commands, 0, len(users))
		for _, user := range users {
			commands = append(commands, c.B().Exists().Key(routeKey(user)).Build())
		}
		answers := c.DoMulti(ctx, commands...)
		if err := firstError(answers); err != nil {
			return err
		}
		have, lack = nil, nil
		for i, answer := range answers {
			if there, _ := answer.AsBool(); there {
				have = append(have, users[i])
			} else {
				lack = append(lack, users[i])
			}
		}
		return nil
	})
	return have, lack, err
}

func userTexts(users []proto.UserID) []string {
	texts := make([]string, 0, len(users))
	for _, user := range users {
		texts = append(texts, userText(user))
	}
	return texts
}

// userIDs are the ids in texts behind prefix; what is no id is not ours.
func userIDs(texts []string, prefix string) []proto.UserID {
	users := make([]proto.UserID, 0, len(texts))
	for _, text := range texts {
		digits, ours := strings.CutPrefix(text, prefix)
		if id, err := strconv.ParseInt(digits, 10, 64); ours && err == nil {
			users = append(users, proto.UserID(id))
		}
	}
	return users
}

// repair keeps the mirror until ctx ends, a bounded step at a time: a page of
// its members, and a page of the keys of each node.
func (s *Store) repair(ctx context.Context) {
	var members uint64
	routes := make(map[string]uint64)
	for sleep(ctx, jitter(2*repairEvery)) {
		err := s.repairMembers(ctx, &members)
		if err == nil {
			err = s.repairRoutes(ctx, routes)
		}
		if ctx.Err() == nil {
			s.mirror.note(s.config.Log, err)
		}
	}
}

// repairMembers removes those of a page of the mirror who have no record, and
// moves cursor on.
func (s *Store) repairMembers(ctx context.Context, cursor *uint64) error {
	users, next, err := s.members(ctx, *cursor, membersPage)
	if err != nil {
		return err
	}
	*cursor = next
	_, lack, err := s.divide(ctx, users)
	if err != nil {
		return err
	}
	return s.forget(ctx, lack...)
}

// members reads a page of the mirror. A cursor of 0 is its beginning, and its
// end. One user may come twice.
func (s *Store) members(ctx context.Context, cursor uint64, count int64) (users []proto.UserID, next uint64, err error) {
	err = s.call(ctx, about{what: "read", key: loginStatusKey}, true, func(ctx context.Context, c rueidis.Client) error {
		entry, err := c.Do(ctx, c.B().Sscan().Key(loginStatusKey).Cursor(cursor).Count(count).Build()).AsScanEntry()
		users, next = userIDs(entry.Elements, ""), entry.Cursor
		return err
	})
	return users, next, err
}

// repairRoutes adds those of a page of each node's records who are not in the
// mirror, and moves the nodes' cursors on.
func (s *Store) repairRoutes(ctx context.Context, cursors map[string]uint64) error {
	if !s.scans.Load() {
		return nil // a proxy that cannot: logins add their users all the same
	}
	var found []proto.UserID
	err := s.call(ctx, about{what: "scan records"}, true, func(ctx context.Context, c rueidis.Client) error {
		nodes := c.Nodes()
		for node := range cursors {
			if nodes[node] == nil {
				delete(cursors, node)
			}
		}
		for name, node := range nodes {
			entry, err := node.Do(ctx, node.B().Scan().Cursor(cursors[name]).Match(routePrefix+"*").Count(routesPage).Build()).AsScanEntry()
			if err != nil {
				return err
			}
			cursors[name] = entry.Cursor
			found = append(found, userIDs(entry.Elements, routePrefix)...)
		}
		return nil
	})
	if err != nil {
		return err
	}
	missing, err := s.missing(ctx, found)
	if err != nil {
		return err
	}
	return s.remember(ctx, missing...)
}

// missing are those of users who are not in the mirror.
func (s *Store) missing(ctx context.Context, users []proto.UserID) (missing []proto.UserID, err error) {
	if len(users) == 0 {
		return nil, nil
	}
	err = s.call(ctx, about{what: "compare with", key: loginStatusKey}, true, func(ctx context.Context, c rueidis.Client) error {
		commands := make(rueidis.Commands, 0, len(users))
		for _, user := range users { // SMISMEMBER is of Redis 6.2
			commands = append(commands, c.B().Sismember().Key(loginStatusKey).Member(userText(user)).Build())
		}
		answers := c.DoMulti(ctx, commands...)
		if err := firstError(answers); err != nil {
			return err
		}
		missing = nil
		for i, answer := range answers {
			if in, _ := answer.AsBool(); !in {
				missing = append(missing, users[i])
			}
		}
		return nil
	})
	return missing, err
}
