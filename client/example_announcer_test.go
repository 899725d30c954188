package client_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"cim/client"
	"cim/route/access"
)

// announce sends text to all users who are online. If the servers are busy it tries again after a
// pause, as long as ctx allows.
func announce(ctx context.Context, c *client.Client, text string) error {
	for {
		result, err := c.SendGroup(ctx, text)
		if err == nil {
			err = result.Err()
		}
		if !errors.Is(err, client.ErrBusy) && !errors.Is(err, client.ErrNotConnected) {
			return err // sent, or useless; after ErrUnknown it may have been sent, so not again
		}
		select {
		case <-time.After(time.Second):
		case <-ctx.Done():
			return errors.Join(err, ctx.Err())
		}
	}
}

// An announcer sends group messages; its listeners' functions are called.
func Example_announcer() {
	system, err := startSystem(access.DefaultConfig()) // in real life: cim standalone
	if err != nil {
		fmt.Println(err)
		return
	}
	defer system.close()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()

	var heard sync.WaitGroup
	for _, name := range []string{"lisi", "wangwu", "zhaoliu"} {
		heard.Add(1)
		c, err := client.Dial(ctx, client.Config{
			Routes: []string{system.url}, Name: name,
			OnMessage: func(m client.Message) { heard.Done() },
			OnState:   func(s client.State, why error) { fmt.Println(name, s, why) },
		})
		if err != nil {
			fmt.Println(err)
			return
		}
		defer c.Close(ctx)
	}
	c, err := client.Dial(ctx, client.Config{Routes: []string{system.url}, Name: "announcer"})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer c.Close(ctx)
	if err := announce(ctx, c, "lunch is ready"); err != nil {
		fmt.Println(err)
		return
	}
	heard.Wait()
	online, err := c.Online(ctx)
	fmt.Println(len(online), "are online,", err)
	// Output:
	// 4 are online, <nil>
}
