package client_test

import (
	"context"
	"errors"
	"fmt"
	"time"

	"cim/client"
	"cim/route/access"
)

// A client logs in, sends a message to a user who is away, and learns that it was stored.
func Example() {
	system, err := startSystem(access.DefaultConfig()) // in real life: cim standalone
	if err != nil {
		fmt.Println(err)
		return
	}
	defer system.close()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()

	c, err := client.Dial(ctx, client.Config{Routes: []string{system.url}, Name: "zhangsan"})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer c.Close(ctx)
	_, err = c.Find(ctx, "lisi")
	fmt.Println("lisi has no account yet:", errors.Is(err, client.ErrNoSuchUser))

	lisi, err := c.Register(ctx, "lisi")
	if err != nil {
		fmt.Println(err)
		return
	}
	result, err := c.Send(ctx, lisi.ID, "hello")
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(result.Outcome, result.Code)
	// Output:
	// lisi has no account yet: true
	// stored 7000
}
