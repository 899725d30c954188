#!/bin/sh
# bbolt v1.5.0: behind a Delete in the same transaction, a walk backwards ends in the middle of a bucket.
#
# Expected guess: `for k, _ := c.Last(); k != nil; k, _ = c.Prev()` comes by all keys that are left, as the walk forwards with
#   First and Next does; Prev returns nil at the beginning only.
# Behaviour: a page whose keys were all deleted stays in the tree until the commit. Seek, First, Next and Last pass by it; Prev
#   does not: it answers nil for the page, so the loop ends as if that were the beginning. Called once more it goes on, and
#   after the commit the same loop is right.
# Seen: of 700 keys that are left of 1,000, the walk forwards meets 700, the one backwards 400; after the commit both meet 700.
# Exits 0 while that is so, 1 if it changed.
set -eu
dir=$(mktemp -d)
trap 'chmod -R u+w "$dir"; rm -rf "$dir"' EXIT
cd "$dir"
cat > main.go <<'GO'
package main

import (
	"fmt"
	"os"

	"go.etcd.io/bbolt"
)

func must(err error) {
	if err != nil {
		fmt.Println("not tried:", err)
		os.Exit(2)
	}
}

func walks(tx *bbolt.Tx) (forwards, backwards int) {
	c := tx.Bucket([]byte("b")).Cursor()
	for k, _ := c.First(); k != nil; k, _ = c.Next() {
		forwards++
	}
	for k, _ := c.Last(); k != nil; k, _ = c.Prev() {
		backwards++
	}
	return forwards, backwards
}

func key(i int) []byte { return fmt.Appendf(nil, "%04d", i) }

func main() {
	db, err := bbolt.Open("file.db", 0o600, nil)
	must(err)
	must(db.Update(func(tx *bbolt.Tx) error {
		b, err := tx.CreateBucket([]byte("b"))
		must(err)
		for i := range 1000 {
			must(b.Put(key(i), make([]byte, 100)))
		}
		return nil
	}))
	var forwards, backwards int
	must(db.Update(func(tx *bbolt.Tx) error {
		for i := 300; i < 600; i++ {
			must(tx.Bucket([]byte("b")).Delete(key(i)))
		}
		forwards, backwards = walks(tx)
		return nil
	}))
	fmt.Printf("bbolt v1.5.0, 700 keys left of 1,000, in the transaction of the deletes: %d forwards, %d backwards\n", forwards, backwards)
	changed := forwards != 700 || backwards >= 700
	must(db.View(func(tx *bbolt.Tx) error { forwards, backwards = walks(tx); return nil }))
	fmt.Printf("after the commit: %d forwards, %d backwards\n", forwards, backwards)
	if changed || forwards != 700 || backwards != 700 {
		fmt.Println("it changed")
		os.Exit(1)
	}
}
GO
go mod init example.com/finding >/dev/null 2>&1
go get go.etcd.io/bbolt@v1.5.0 >/dev/null 2>&1 || { echo "not tried: bbolt cannot be fetched"; exit 2; }
go run .
