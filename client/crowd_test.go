package client_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"cim/client"
	"cim/proto"
	"cim/route/access"
)

// crowdSize is how many clients share this process, entersMax how many of them
// log in or leave at once.
const (
	crowdSize = 1000
	entersMax = 32
)

// together calls do for each member of the crowd, entersMax at once.
func together(t *testing.T, do func(i int) error) {
	t.Helper()
	var all sync.WaitGroup
	places := make(chan struct{}, entersMax)
	for i := range crowdSize {
		places <- struct{}{}
		all.Go(func() {
			defer func() { <-places }()
			if err := do(i); err != nil {
				t.Errorf("client %d: %v", i, err)
			}
		})
	}
	all.Wait()
	if t.Failed() {
		t.FailNow()
	}
}

// TestCrowd has a thousand clients in one process. Each sends one message to the next, by turns
// waiting for its outcome and not. Each receives one, with the id in its sender's result. On a busy
// machine the first catch-up of a receiver may still run: then its message is stored, and arrives
// with the catch-up.
func TestCrowd(t *testing.T) {
	system, err := startSystem(access.DefaultConfig())
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := system.close(); err != nil {
			t.Error(err)
		}
	}()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	clients := make([]*client.Client, crowdSize)
	got := make([]chan client.Message, crowdSize)
	together(t, func(i int) (err error) {
		got[i] = make(chan client.Message, 2)
		clients[i], err = enter(ctx, client.Config{
			Routes: []string{system.url}, Name: fmt.Sprint("user", i), Messages: got[i],
		})
		return err
	})
	ids := make([]proto.TextID, crowdSize) // of what each sent
	together(t, func(i int) error {
		to := clients[(i+1)%crowdSize].User().ID
		result, err := sendEither(ctx, clients[i], to, fmt.Sprint("from ", i), i%2 == 0)
		ids[i] = result.ID
		if err == nil && (result.Err() != nil || result.ID == 0) {
			err = fmt.Errorf("outcome %+v", result)
		}
		return err
	})
	received := make([]client.Message, crowdSize)
	for i, c := range got {
		select {
		case received[i] = <-c:
		case <-ctx.Done():
			t.Fatalf("client %d has no message", i)
		}
	}
	together(t, func(i int) error { return clients[i].Close(ctx) })
	for i, m := range received {
		from := (i + crowdSize - 1) % crowdSize
		want := client.Message{ID: ids[from], Sender: clients[from].User(), Text: fmt.Sprint("from ", from), Kept: true}
		if len(got[i]) != 0 {
			t.Fatalf("client %d has %d messages more, want none", i, len(got[i]))
		}
		if m.Sent.IsZero() || time.Since(m.Sent) > time.Hour {
			t.Errorf("client %d has a message that was sent at %v", i, m.Sent)
		}
		if m.Sent, m.Offline = want.Sent, false; m != want {
			t.Fatalf("client %d has %+v, want %+v", i, m, want)
		}
	}
}

// enter dials until there is a server: where the machine is busy the only one
// may be without a sign of life for a moment.
func enter(ctx context.Context, config client.Config) (*client.Client, error) {
	ticker := time.NewTicker(100 * time.Millisecond)
	defer ticker.Stop()
	for {
		c, err := client.Dial(ctx, config)
		if !errors.Is(err, client.ErrNoServer) {
			return c, err
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return nil, err
		}
	}
}

// sendEither sends and waits for the outcome in one of the two ways.
func sendEither(ctx context.Context, c *client.Client, to proto.UserID, text string, async bool) (result client.Result, err error) {
	if !async {
		return c.Send(ctx, to, text)
	}
	done := make(chan struct{})
	refused := c.SendAsync(ctx, to, text, func(r client.Result, fault error) {
		result, err = r, fault
		close(done)
	})
	if refused != nil {
		return result, refused
	}
	<-done
	return result, err
}
