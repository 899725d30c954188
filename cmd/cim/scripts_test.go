package main

import (
	"context"
	"net"
	"slices"
	"strings"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"cim/client"
	"cim/proto"
)

// cmdClosed tries to connect to an address.
func cmdClosed(ts *testscript.TestScript, _ bool, args []string) {
	conn, err := net.DialTimeout("tcp", args[0], waitMax)
	if err == nil {
		ts.Check(conn.Close())
		ts.Fatalf("%s is open", args[0])
	}
}

// cmdOnline waits until all who are named are online.
func cmdOnline(ts *testscript.TestScript, _ bool, names []string) {
	ctx, cancel := context.WithTimeout(context.Background(), waitMax)
	defer cancel()
	api, err := client.NewAPI(strings.Split(ts.Getenv("ROUTE"), ","), nil)
	ts.Check(err)
	defer api.Close()
	for tick := time.NewTicker(10 * time.Millisecond); ; <-tick.C {
		users, err := api.Online(ctx)
		ts.Check(err)
		names = slices.DeleteFunc(names, func(name string) bool {
			return slices.ContainsFunc(users, func(u proto.User) bool { return u.Name == name })
		})
		if len(names) == 0 {
			tick.Stop()
			return
		}
	}
}
