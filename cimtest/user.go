package cimtest

import (
	"context"
	"time"

	"cim/client"
)

// messagesMax bounds the messages of a User that Next has not returned yet;
// more wait in the client and then at the server.
const messagesMax = 4096

// closeMax bounds the end of one client.
const closeMax = 10 * time.Second

// User is a client that is logged in, and its messages in their order.
type User struct {
	*client.Client
	t        TB
	messages chan client.Message
}

// Login logs a user in whose account is made if there is none. The end of the
// test logs the user out.
func (s *System) Login(name string) *User {
	s.t.Helper()
	u := &User{t: s.t, messages: make(chan client.Message, messagesMax)}
	u.Client = s.Dial(client.Config{Name: name, Messages: u.messages})
	// It runs before the end of the client, which waits until each message that
	// the client has read was taken.
	s.t.Cleanup(func() { go u.discard() })
	return u
}

// discard takes what comes until the client has ended.
func (u *User) discard() {
	for {
		select {
		case <-u.messages:
		case <-u.Done():
			return
		}
	}
}

// Next returns the next message. It ends the test if none comes within 30 s.
func (u *User) Next() client.Message {
	u.t.Helper()
	timer := time.NewTimer(waitMax)
	defer timer.Stop()
	select {
	case m := <-u.messages:
		return m
	case <-timer.C:
		u.t.Fatalf("cimtest: no message for %s within %v; the client is %v, error: %v",
			u.User().Name, waitMax, u.State(), u.Err())
	}
	return client.Message{}
}

// Dial logs a client in, at the system's route if config has none. The end of
// the test closes it.
func (s *System) Dial(config client.Config) *client.Client {
	s.t.Helper()
	if len(config.Routes) == 0 {
		config.Routes = []string{s.Route()}
	}
	ctx, cancel := context.WithTimeout(context.Background(), waitMax)
	defer cancel()
	c, err := client.Dial(ctx, config)
	if err != nil {
		s.t.Fatalf("cimtest: log in %q: %v", config.Name, err)
	}
	s.t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), closeMax)
		defer cancel()
		if err := c.Close(ctx); err != nil {
			s.t.Logf("cimtest: log out %q: %v", config.Name, err) // the system may be down, or the test has closed it
		}
	})
	return c
}
