package cimtest_test

import (
	"context"
	"testing"

	"cim/cimtest"
	"cim/client"
)

// greeter is an application: a bot that answers each message with a greeting.
type greeter struct{ client *client.Client }

func startGreeter(ctx context.Context, route string) (*greeter, error) {
	g := &greeter{}
	started := make(chan struct{})
	c, err := client.Dial(ctx, client.Config{
		Routes: []string{route}, Name: "greeter",
		OnMessage: func(m client.Message) {
			<-started
			g.client.SendAsync(ctx, m.Sender.ID, "hello, "+m.Sender.Name, func(client.Result, error) {})
		},
	})
	g.client = c
	close(started)
	return g, err
}

// TestGreeter is how an application is tested: it gets the route's URL as its
// setting, and the test writes to it as a user does.
func TestGreeter(t *testing.T) {
	t.Parallel()
	system := cimtest.Start(t)
	g, err := startGreeter(context.Background(), system.Route())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := g.client.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	system.AwaitOnline("greeter")

	ann := system.Login("ann")
	if _, err := ann.Send(t.Context(), system.Find("greeter").ID, "hi"); err != nil {
		t.Fatal(err)
	}
	if answer := ann.Next(); answer.Text != "hello, ann" || answer.Sender.Name != "greeter" {
		t.Errorf("the greeter answered %q", answer.Text)
	}

	// The application has to survive a crash of the system.
	system.Kill()
	system.Restart()
	system.AwaitOnline("greeter", "ann")
	if _, err := ann.Send(t.Context(), system.Find("greeter").ID, "still there?"); err != nil {
		t.Fatal(err)
	}
	if answer := ann.Next(); answer.Text != "hello, ann" {
		t.Errorf("the greeter answered %q after the crash", answer.Text)
	}
}
