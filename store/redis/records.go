package redis

import (
	"context"

	"github.com/redis/rueidis"

	"cim/proto"
	"cim/store"
)

// Another system may write records, too. Here is what a package needs that writes
// and reads them as that does: without generations, under login-status.

// replace makes ARGV[2] the record if it is ARGV[1] now, and answers 1 if it was;
// each of them is empty for none.
var replace = newScript(false, `
if (redis.call('GET', KEYS[1]) or '') ~= ARGV[1] then return 0 end
if ARGV[2] == '' then redis.call('DEL', KEYS[1]) else redis.call('SET', KEYS[1], ARGV[2]) end
return 1`)

// ReplaceRecord makes newer the record of user if it is older now, and reports
// whether it was; each of them is the zero Record for none. login-status is the
// caller's.
func (s *Store) ReplaceRecord(ctx context.Context, user proto.UserID, older, newer store.Record) (bool, error) {
	a := about{what: "replace the record of", user: user}
	was, err := s.number(ctx, a, replace, routeKey(user), recordText(older), recordText(newer))
	return was == 1, err
}

// LoggedIn reports whether user is in login-status.
func (s *Store) LoggedIn(ctx context.Context, user proto.UserID) (in bool, err error) {
	err = s.call(ctx, about{what: "look into login-status for", user: user}, true, func(ctx context.Context, c rueidis.Client) (err error) {
		in, err = c.Do(ctx, c.B().Sismember().Key(loginStatusKey).Member(userText(user)).Build()).AsBool()
		return err
	})
	return in, err
}

// LogIn adds user to login-status, and reports whether it was not there. Without a
// record for the user that is repaired by and by.
func (s *Store) LogIn(ctx context.Context, user proto.UserID) (added bool, err error) {
	err = s.call(ctx, about{what: "enter into login-status", user: user}, false, func(ctx context.Context, c rueidis.Client) (err error) {
		added, err = c.Do(ctx, c.B().Sadd().Key(loginStatusKey).Member(userText(user)).Build()).AsBool()
		return err
	})
	return added, err
}

// LogOut takes user out of login-status, unless there is a record.
func (s *Store) LogOut(ctx context.Context, user proto.UserID) error { return s.forget(ctx, user) }

// EachRecord calls take with all records until it returns an error. Each page of
// keys is read in one trip with the values of the page before it, and has its own
// deadline; ctx bounds them all. A record that cannot be read is logged and left out;
// those that come or go meanwhile may be missed.
func (s *Store) EachRecord(ctx context.Context, take func(user proto.UserID, record store.Record) error) error {
	nodes, err := s.nodes(ctx)
	if err != nil {
		return err
	}
	for _, node := range nodes {
		scan := &recordScan{store: s, node: node, alone: len(nodes) == 1, take: take}
		if err := scan.run(ctx); err != nil {
			return err
		}
	}
	return nil
}

// nodes are the Redis processes that have keys.
func (s *Store) nodes(ctx context.Context) (nodes []rueidis.Client, err error) {
	err = s.call(ctx, about{what: "find the nodes"}, true, func(_ context.Context, c rueidis.Client) error {
		nodes = nil
		for _, node := range c.Nodes() {
			nodes = append(nodes, node)
		}
		return nil
	})
	return nodes, err
}

// recordScan reads the records of one node.
type recordScan struct {
	store *Store
	node  rueidis.Client
	alone bool // no cluster: one command may have several keys
	take  func(user proto.UserID, record store.Record) error
}

func (r *recordScan) run(ctx context.Context) error {
	var users []proto.UserID
	for cursor, begun := uint64(0), false; !begun || cursor != 0 || len(users) > 0; begun = true {
		page, err := r.page(ctx, users, cursor, !begun || cursor != 0)
		if err != nil {
			return err
		}
		for i, user := range users {
			if err := r.keep(user, page.values[i]); err != nil {
				return err
			}
		}
		users, cursor = page.users, page.next
	}
	return nil
}

// recordPage is what one trip brings: the values of one page of users, and the
// users of the next.
type recordPage struct {
	values []string // "": there is none any more
	users  []proto.UserID
	next   uint64 // the cursor behind them
}

// page reads the records of users, and the page of keys at cursor if there is
// one.
func (r *recordScan) page(ctx context.Context, users []proto.UserID, cursor uint64, more bool) (page recordPage, err error) {
	err = r.store.call(ctx, about{what: "scan records"}, true, func(ctx context.Context, _ rueidis.Client) (err error) {
		commands := r.reads(users)
		if more {
			commands = append(commands, r.node.B().Scan().Cursor(cursor).Match(routePrefix+"*").Count(routesPage).Build())
		}
		answers := r.node.DoMulti(ctx, commands...)
		page = recordPage{}
		if more {
			entry, err := answers[len(answers)-1].AsScanEntry()
			if err != nil {
				return err
			}
			page.users, page.next = userIDs(entry.Elements, routePrefix), entry.Cursor
			answers = answers[:len(answers)-1]
		}
		page.values, err = r.values(users, answers)
		return err
	})
	return page, err
}

// reads are the commands that read the records of users.
func (r *recordScan) reads(users []proto.UserID) rueidis.Commands {
	if len(users) == 0 {
		return nil
	}
	keys := make([]string, len(users))
	for i, user := range users {
		keys[i] = routeKey(user)
	}
	if r.alone {
		return rueidis.Commands{r.node.B().Mget().Key(keys...).Build()}
	}
	commands := make(rueidis.Commands, len(keys))
	for i, key := range keys {
		commands[i] = r.node.B().Get().Key(key).Build()
	}
	return commands
}

// values are those among the answers to reads, one for each of users.
func (r *recordScan) values(users []proto.UserID, answers []rueidis.RedisResult) ([]string, error) {
	if err := firstError(answers); err != nil || len(users) == 0 {
		return nil, err
	}
	if r.alone {
		all, err := answers[0].AsStrSlice()
		if err == nil && len(all) != len(users) {
			err = &valueError{key: routePrefix + "*", want: "as many values as were asked for"}
		}
		return all, err
	}
	values := make([]string, len(users))
	for i := range answers {
		values[i], _ = answers[i].ToString() // firstError has found no other error than that there is none
	}
	return values, nil
}

func (r *recordScan) keep(user proto.UserID, value string) error {
	if value == "" {
		return nil // it has gone meanwhile
	}
	record, err := parseRecord(user, value, "")
	if err != nil {
		r.store.config.Log.Warn("redis: passed by a record", "why", err)
		return nil
	}
	return r.take(user, record)
}
