#!/bin/sh
# rueidis v1.0.79: IsRedisErr and IsRedisNil look at the error itself and not at what it wraps.
#
# Expected guess: like errors.As and errors.Is, and like redis.Nil of go-redis with errors.Is, they see an answer of
# Redis also where a caller has wrapped it with fmt.Errorf and %w.
# Behaviour: both report false for a wrapped error; errors.As with *rueidis.RedisError finds it. So a check for "no such
# key" behind a helper that adds context takes an absent key for a failure.
#
# Exits 0 while that is so, another status if it has changed.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
go mod init finding >/dev/null 2>&1
go get github.com/redis/rueidis@v1.0.79 >/dev/null 2>&1
cat >main.go <<'GO'
package main

import (
	"errors"
	"fmt"
	"os"

	"github.com/redis/rueidis"
)

func main() {
	absent := error(rueidis.Nil)
	wrapped := fmt.Errorf("read the account: %w", absent)
	var answer *rueidis.RedisError
	fmt.Println("IsRedisNil of the answer:", rueidis.IsRedisNil(absent))
	fmt.Println("IsRedisNil of the answer, wrapped:", rueidis.IsRedisNil(wrapped))
	fmt.Println("errors.Is of the answer, wrapped:", errors.Is(wrapped, rueidis.Nil))
	fmt.Println("errors.As of the answer, wrapped:", errors.As(wrapped, &answer))
	_, plain := rueidis.IsRedisErr(&rueidis.RedisError{})
	_, inside := rueidis.IsRedisErr(fmt.Errorf("read: %w", &rueidis.RedisError{}))
	fmt.Println("IsRedisErr of an answer, and wrapped:", plain, inside)
	if !rueidis.IsRedisNil(absent) || rueidis.IsRedisNil(wrapped) || !errors.As(wrapped, &answer) || !plain || inside {
		fmt.Println("changed")
		os.Exit(1)
	}
}
GO
go mod tidy >/dev/null 2>&1
go run .
# Seen:
#   IsRedisNil of the answer: true
#   IsRedisNil of the answer, wrapped: false
#   errors.Is of the answer, wrapped: true
#   errors.As of the answer, wrapped: true
#   IsRedisErr of an answer, and wrapped: true false
