#!/bin/bash
# pflag v1.0.10: an Int flag reads 010 as eight, and takes 0x10 and 1_000.
# Expected: decimal numbers, as the help says "int": 010 is ten, as in strconv.Atoi.
# Behaviour: it parses with base 0, by the rules of Go's source text, so a
# leading zero silently makes another number, and 08 is refused.
# Seen: "010" is 8; "08" is refused; "0x10" is 16; "1_000" is 1000.
# Exits 0 while that stands, 1 if it changed.
set -euo pipefail
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT; cd "$work"
go mod init finding >/dev/null 2>&1
cat > main.go <<'GO'
package main

import (
	"fmt"
	"os"

	"github.com/spf13/pflag"
)

func main() {
	changed := false
	for _, c := range []struct {
		text string
		want int
		good bool
	}{{"010", 8, true}, {"08", 0, false}, {"0x10", 16, true}, {"1_000", 1000, true}} {
		flags := pflag.NewFlagSet("", pflag.ContinueOnError)
		n := flags.Int("n", 0, "")
		err := flags.Parse([]string{"--n", c.text})
		fmt.Printf("--n %s: %d, %v\n", c.text, *n, err)
		changed = changed || (err == nil) != c.good || *n != c.want
	}
	if changed {
		fmt.Println("it changed")
		os.Exit(1)
	}
}
GO
go get github.com/spf13/pflag@v1.0.10 >/dev/null 2>&1
go mod tidy >/dev/null 2>&1
go run .
