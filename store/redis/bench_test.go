package redis

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/redis/rueidis"

	"cim/proto"
	"cim/store"
)

func BenchmarkLookup(b *testing.B) {
	s := single(b)
	ann := registered(b, s, "ann")
	loggedIn(b, s, ann, 0)
	for name, freshness := range map[string]store.Freshness{"cached": store.Cached, "fresh": store.Fresh} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					if _, found, err := s.Lookup(b.Context(), ann.ID, freshness); !found || err != nil {
						b.Fatal(found, err)
					}
				}
			})
		})
	}
}

func BenchmarkClaim(b *testing.B) {
	s := single(b)
	ann := registered(b, s, "ann")
	seen := proto.Generation(0)
	for b.Loop() {
		generation, err := s.Claim(b.Context(), ann.ID, here, seen)
		if err != nil {
			b.Fatal(err)
		}
		seen = generation
	}
}

// BenchmarkAppend stores texts of 200 bytes for a user, and removes them when
// there are 500.
func BenchmarkAppend(b *testing.B) {
	s := single(b)
	ann := registered(b, s, "ann")
	texts := []string{strings.Repeat("x", 200)}
	for i := 0; b.Loop(); i++ {
		if err := s.Append(b.Context(), ann.ID, ann, proto.TextID(rand.Uint64()), 0, texts); err != nil {
			b.Fatal(err)
		}
		if i%500 == 499 {
			empty(b, s, ann)
		}
	}
}

// BenchmarkConnected lists 36,000 users; the first time nobody's name is in
// the cache.
func BenchmarkConnected(b *testing.B) {
	const users = 36000
	s := single(b)
	client := *s.client.Load()
	var commands rueidis.Commands
	for i := range users {
		id := proto.UserID(1700000000000 + i)
		commands = append(
			commands, client.B().Set().Key(accountKey(id)).Value(fmt.Sprint("user", i)).Build(),
			client.B().Set().Key(routeKey(id)).Value(placeText(here, 1)).Build(),
			client.B().Set().Key(connectedKey(id)).Value("1").Build(),
			client.B().Sadd().Key(loginStatusKey).Member(userText(id)).Build(),
		)
	}
	if err := firstError(client.DoMulti(b.Context(), commands...)); err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if present, err := s.Connected(b.Context()); err != nil || len(present) != users {
			b.Fatal(len(present), err)
		}
	}
}

// BenchmarkRestore compares as many sessions as a server tells at once, which
// have their records: every 6 s, for each of them.
func BenchmarkRestore(b *testing.B) {
	s := single(b)
	sessions := make([]proto.Session, proto.SessionsMax)
	for i := range sessions {
		user := proto.UserID(i + 1)
		generation, err := s.Claim(b.Context(), user, here, 0)
		if err != nil {
			b.Fatal(err)
		}
		if _, err := s.Confirm(b.Context(), user, generation); err != nil {
			b.Fatal(err)
		}
		sessions[i] = proto.Session{User: user, Generation: generation}
	}
	b.ReportAllocs()
	for b.Loop() {
		if got, err := s.Restore(b.Context(), here, sessions); err != nil || len(got.Superseded)+len(got.Returned) != 0 {
			b.Fatal(got, err)
		}
	}
}
