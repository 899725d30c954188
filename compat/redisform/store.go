// Package redisform is a store in the Redis that processes of the original share.
// A Store stands in front of one of package store/redis: it keeps stored texts in the
// forms that the original's routes read, shows theirs and ours as one box, and
// writes and reads records as they do. Its keys are
//
//	offline:msg:<messageId>  a text: a string of the original's master, a hash of its releases
//	offline:msg:user:<id>    a list of a user's messageIds
//
// A record of three parts is of the original: of generation 0, and connected.
// Nothing else of cim knows these forms. A Store starts no goroutine of its own.
package redisform

import (
	"context"
	"log/slog"
	"sync/atomic"
	"time"

	"cim/compat"
	"cim/proto"
	"cim/store"
	"cim/store/redis"
)

// Form is a form of stored texts that routes of the original read.
type Form string

// The forms. Each version of the original fails on texts in the other's.
const (
	FormAuto   Form = "auto"   // as the box shows, or any other that was read; else FormString
	FormHash   Form = "hash"   // of the releases 2.1.x
	FormString Form = "string" // of master
)

// Config says where the store is.
type Config struct {
	// Redis is that of the store behind. Its Needs are set here.
	Redis redis.Config
	// Form is the form in which texts are stored beside the original. Zero: FormAuto.
	Form Form
}

// Store is a store on Redis, which the original shares. Any goroutine calls it.
type Store struct {
	*redis.Store
	config Config

	shown  shown
	seen   seenForms
	unread atomic.Uint64 // texts of the original that could not be read
}

var _ compat.Shared = (*Store)(nil)

// needs are the commands and keys of this package.
var needs = redis.Needs{
	Commands: []redis.Command{
		{Name: "RPUSH", Args: []string{"1"}},
		{Name: "LREM", Args: []string{"1", "1"}},
		{Name: "LRANGE", Args: []string{"0", "0"}},
	},
	InScripts: []redis.Command{{Name: "STRLEN"}, {Name: "PTTL"}, {Name: "TYPE"}, {Name: "LLEN"}},
	Keys:      []string{textPrefix + "0", listKey(0)},
}

// Open is that of package redis.
func Open(ctx context.Context, config Config) (*Store, error) {
	if config.Redis.Store.OfflineTTL == 0 {
		config.Redis.Store.OfflineTTL = store.OfflineTTLDefault
	}
	if config.Redis.Log == nil {
		config.Redis.Log = slog.Default()
	}
	config.Redis.Needs = needs
	behind, err := redis.Open(ctx, config.Redis)
	if err != nil {
		return nil, err
	}
	return &Store{Store: behind, config: config, shown: shown{users: make(map[proto.UserID]*shownTexts)}}, nil
}

func (s *Store) now() time.Time {
	if s.config.Redis.Store.Now == nil {
		return time.Now()
	}
	return s.config.Redis.Store.Now()
}
