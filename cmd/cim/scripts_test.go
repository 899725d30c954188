package main

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"cim/client"
	"cim/proto"
)

// cmdOnline waits until all who are named are online.
func cmdOnline(ts *testscript.TestScript, _ bool, names []string) {
	ctx, cancel := context.WithTimeout(context.Background(), waitMax)
	defer cancel()
	api, err := client.NewAPI(strings.Split(ts.Getenv("ROUTE"), ","))
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
