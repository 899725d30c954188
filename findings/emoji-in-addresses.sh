#!/bin/sh
# kyokomi/emoji v2.2.14: Sprint takes the ports of addresses, and parts of ranges, for aliases of emoji.
#
# Expected guess: an alias such as :beer: is replaced where it stands as a word; 10.0.0.1:100:8080, where a colon follows a digit, stays
#   what it is, as it does on the sites whose aliases these are.
# Behaviour: any two colons with a known alias between them are replaced, wherever they stand, and a space is put behind. Aliases are
#   numbers (:100:, :1234:) and letters (:a:, :b:, :abc:, :x:) too. So a chat shows addresses, log lines and IPv6 otherwise than they were sent.
# Seen: "10.0.0.1:100:8080" becomes "10.0.0.1💯 8080", "a:b:c" becomes "a🅱️ c".
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

	"github.com/kyokomi/emoji/v2"
)

func main() {
	changed := 0
	for _, text := range []string{"10.0.0.1:100:8080", "fe80::abc:1", "a:b:c", "1:1234:5"} {
		shown := emoji.Sprint(text)
		fmt.Printf("%-18s -> %s\n", text, shown)
		if shown != text {
			changed++
		}
	}
	if changed != 4 {
		fmt.Println("changed: colons of addresses stay")
		os.Exit(1)
	}
	fmt.Println("stands: colons of addresses are taken for emoji")
}
GO
go mod init finding >/dev/null 2>&1
go get github.com/kyokomi/emoji/v2@v2.2.14 >/dev/null 2>&1 || { echo "not tried: the package cannot be fetched"; exit 2; }
go run .
