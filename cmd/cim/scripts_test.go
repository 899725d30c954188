package main

import (
	"context"
	"net"
	"slices"
	"strconv"
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

// cmdNextSecond waits until the clock shows another second.
func cmdNextSecond(_ *testscript.TestScript, _ bool, _ []string) {
	now := time.Now()
	time.Sleep(now.Truncate(time.Second).Add(time.Second).Sub(now))
}

// apiOf asks the script's route, with the token of TOKEN_FILE if there is one.
func apiOf(ts *testscript.TestScript) *client.API {
	var source client.TokenSource
	if file := ts.Getenv("TOKEN_FILE"); file != "" {
		token := strings.TrimSpace(ts.ReadFile(file))
		source = func(context.Context) (string, error) { return token, nil }
	}
	api, err := client.NewAPI(strings.Split(ts.Getenv("ROUTE"), ","), source)
	ts.Check(err)
	return api
}

// cmdIDOf looks up the id of an account.
func cmdIDOf(ts *testscript.TestScript, _ bool, args []string) {
	ctx, cancel := context.WithTimeout(context.Background(), waitMax)
	defer cancel()
	api := apiOf(ts)
	defer api.Close()
	user, err := api.Find(ctx, args[1])
	ts.Check(err)
	ts.Setenv(args[0], strconv.FormatInt(int64(user.ID), 10))
}

// cmdOnline waits until all named users are online.
func cmdOnline(ts *testscript.TestScript, _ bool, names []string) {
	ctx, cancel := context.WithTimeout(context.Background(), waitMax)
	defer cancel()
	api := apiOf(ts)
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
