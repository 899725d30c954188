#!/bin/sh
# gnet v2.10.0: Engine.Stop of an idle engine returns half a second after the event loops have ended.
#
# Expected guess: Stop waits for the event loops and returns when they have ended, as http.Server.Shutdown does for idle connections: about
#   a millisecond for an engine without connections.
# Behaviour: Stop looks once at the start, and then every 500 ms, whether the engine has ended; Run in its goroutine returns within a
#   millisecond. So each test that starts and stops a server pays 500 ms. A context that has ended already makes Stop only ask, and
#   the return of Run tells the end.
# Seen: Run returned after 0 to 18 ms, Stop after 500 ms.
# Exits 0 while that is so, 1 if it changed.
set -eu
dir=$(mktemp -d)
trap 'chmod -R u+w "$dir"; rm -rf "$dir"' EXIT
cd "$dir"
cat > main.go <<'GO'
package main

import (
	"context"
	"fmt"
	"os"
	"time"

	"github.com/panjf2000/gnet/v2"
)

type handler struct {
	gnet.BuiltinEventEngine
	booted chan gnet.Engine
}

func (h *handler) OnBoot(e gnet.Engine) gnet.Action { h.booted <- e; return gnet.None }

func main() {
	const tries = 3
	slow := 0
	for range tries {
		h := &handler{booted: make(chan gnet.Engine, 1)}
		ended := make(chan time.Time, 1)
		go func() {
			if err := gnet.Run(h, "tcp://127.0.0.1:0"); err != nil {
				fmt.Println("run:", err)
			}
			ended <- time.Now()
		}()
		engine := <-h.booted
		time.Sleep(200 * time.Millisecond) // its loops run
		begin := time.Now()
		if err := engine.Stop(context.Background()); err != nil {
			fmt.Println("not tried:", err)
			os.Exit(2)
		}
		stop, run := time.Since(begin), (<-ended).Sub(begin)
		fmt.Printf("Stop returned after %v, Run after %v\n", stop.Round(time.Millisecond), run.Round(time.Millisecond))
		if stop > 300*time.Millisecond && run < stop/2 {
			slow++
		}
	}
	if slow < tries-1 {
		fmt.Println("changed: Stop returns with the event loops")
		os.Exit(1)
	}
	fmt.Println("stands: Stop polls every half second")
}
GO
go mod init finding >/dev/null 2>&1
go get github.com/panjf2000/gnet/v2@v2.10.0 >/dev/null 2>&1 || { echo "not tried: the package cannot be fetched"; exit 2; }
go run . 2>/dev/null
