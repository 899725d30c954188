package client_test

import (
	"context"
	"fmt"
	"time"

	"cim/client"
	"cim/route/access"
)

// echo answers each message to its sender until ctx ends.
func echo(ctx context.Context, route string, ready chan<- client.ServerInfo) error {
	messages := make(chan client.Message, 100)
	bot, err := client.Dial(ctx, client.Config{Routes: []string{route}, Name: "echo", Messages: messages})
	if err != nil {
		return err
	}
	ready <- bot.Server()
	for {
		select {
		case m := <-messages:
			if _, err := bot.Send(ctx, m.Sender.ID, "you said: "+m.Text); err != nil && ctx.Err() == nil {
				fmt.Println("not answered:", err)
			}
		case <-bot.Done(): // the client has ended, and not by Close
			return bot.Err()
		case <-ctx.Done():
			return bot.Close(context.WithoutCancel(ctx))
		}
	}
}

// An echo bot takes its messages from a channel, so that one loop does all.
func Example_echoBot() {
	system, err := startSystem(access.DefaultConfig()) // in real life: cim standalone
	if err != nil {
		fmt.Println(err)
		return
	}
	defer system.close()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()

	botCtx, stopBot := context.WithCancel(ctx)
	defer stopBot()
	ready, ended := make(chan client.ServerInfo, 1), make(chan error, 1)
	go func() { ended <- echo(botCtx, system.url, ready) }()
	<-ready

	answers := make(chan client.Message, 10)
	c, err := client.Dial(ctx, client.Config{Routes: []string{system.url}, Name: "zhangsan", Messages: answers})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer c.Close(ctx)
	bot, err := c.Find(ctx, "echo")
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, text := range []string{"hello", "is anybody there?"} {
		if _, err := c.Send(ctx, bot.ID, text); err != nil {
			fmt.Println(err)
			return
		}
		answer := <-answers
		fmt.Printf("%s: %s\n", answer.Sender.Name, answer.Text)
	}
	stopBot()
	fmt.Println("the bot has ended:", <-ended)
	// Output:
	// echo: you said: hello
	// echo: you said: is anybody there?
	// the bot has ended: <nil>
}
