// Command cim is all of cim in one binary: the server and the route in one
// process, the chat client, the load generator and the benchmark.
//
// This package owns flags, configuration, wiring, signals and the admin
// listener. What the parts do is in their own packages; each command has a
// file of its own here.
package main

import (
	"os"
)

func main() { os.Exit(run(os.Args[1:])) }
