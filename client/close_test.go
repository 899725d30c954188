package client_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"cim/client"
	"cim/route/access"
)

// TestCloseReadsToTheEnd closes a client while a server sends stored texts: each message is passed,
// or stays stored for the next login.
func TestCloseReadsToTheEnd(t *testing.T) {
	const messages = 900
	s, err := startSystem(access.DefaultConfig())
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := s.close(); err != nil {
			t.Error(err)
		}
	}()
	ctx, cancel := context.WithTimeout(t.Context(), startMax)
	defer cancel()
	api, err := client.NewAPI([]string{s.url}, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer api.Close()
	ann, err := api.Register(ctx, "ann")
	if err != nil {
		t.Fatal(err)
	}
	for i := range messages / 100 {
		texts := make([]string, 100)
		for j := range texts {
			texts[j] = fmt.Sprint(100*i + j)
		}
		if result, err := api.Send(ctx, ann.ID, ann.ID, texts...); err != nil || result.Err() != nil {
			t.Fatal(result, err)
		}
	}
	seen := map[string]bool{}
	for logins := 0; len(seen) < messages; logins++ {
		came := make(chan string, messages)
		c, err := client.Dial(ctx, client.Config{Routes: []string{s.url}, Name: ann.Name, OnMessage: func(m client.Message) { came <- m.Text }})
		if err != nil {
			t.Fatal(err)
		}
		select {
		case text := <-came:
			seen[text] = true
		case <-time.After(startMax / 3):
			t.Fatalf("after %d logins %d of %d messages have come, and nothing is stored", logins, len(seen), messages)
		}
		if err := c.Close(ctx); err != nil {
			t.Fatal(err)
		}
		for len(came) > 0 {
			seen[<-came] = true
		}
	}
}
