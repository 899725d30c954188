package client_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"cim/client"
	"cim/internal/token"
	"cim/proto"
	"cim/route/access"
)

// newKey makes a key and its file.
func newKey(t *testing.T) (key token.Key, file string) {
	t.Helper()
	content, err := token.Generate("k", token.HS256)
	if err != nil {
		t.Fatal(err)
	}
	keys, err := token.ParseKeys(content)
	if err != nil {
		t.Fatal(err)
	}
	file = filepath.Join(t.TempDir(), "keys.json")
	if err := os.WriteFile(file, content, 0o600); err != nil {
		t.Fatal(err)
	}
	key, _ = keys.Signing()
	return key, file
}

// TestTokens: with routes that ask for tokens a client logs in, comes back and
// sends with what its function returns, asked anew each time; without one, or
// with another user's, it is refused by name and nothing is sent.
func TestTokens(t *testing.T) {
	t.Parallel()
	key, path := newKey(t)
	issue := func(claims token.Claims) client.TokenSource {
		return func(context.Context) (string, error) {
			claims.Expires = time.Now().Add(time.Minute)
			return key.Issue(claims)
		}
	}
	s := startGuarded(t, path)
	admin, err := client.NewAPI([]string{s}, issue(token.Claims{Service: true}))
	if err != nil {
		t.Fatal(err)
	}
	defer admin.Close()
	ann, err := admin.Register(t.Context(), "ann")
	if err != nil {
		t.Fatal(err)
	}
	var asked atomic.Int32
	anns := func(ctx context.Context) (string, error) {
		asked.Add(1)
		return issue(token.Claims{User: int64(ann.ID)})(ctx)
	}
	got := make(chan client.Message, 1)
	c, err := client.Dial(t.Context(), client.Config{Routes: []string{s}, Name: "ann", UserID: ann.ID, Token: anns, Messages: got})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close(context.WithoutCancel(t.Context())) }()
	if asked.Load() == 0 {
		t.Error("the function was not asked for the login")
	}
	if _, err := admin.Send(t.Context(), ann.ID, ann.ID, "to myself"); err != nil {
		t.Errorf("a service speaks for ann: %v", err)
	}
	if m := <-got; m.Text != "to myself" {
		t.Errorf("brought %q", m.Text)
	}
	for name, source := range map[string]client.TokenSource{"none": nil, "another user's": issue(token.Claims{User: int64(ann.ID) + 1})} {
		api, err := client.NewAPI([]string{s}, source)
		if err != nil {
			t.Fatal(err)
		}
		_, err = api.Send(t.Context(), ann.ID, ann.ID, "forged")
		if !errors.Is(err, client.ErrNotAllowed) || errors.Is(err, client.ErrUnknown) {
			t.Errorf("%s: %v, want not allowed", name, err)
		}
		api.Close()
	}
	broken := errors.New("the identity provider is away")
	api, err := client.NewAPI([]string{s}, func(context.Context) (string, error) { return "", broken })
	if err != nil {
		t.Fatal(err)
	}
	defer api.Close()
	if _, err := api.Send(t.Context(), ann.ID, ann.ID, "x"); !errors.Is(err, broken) || errors.Is(err, client.ErrUnknown) {
		t.Errorf("no token to be had: %v", err)
	}
}

// TestSessionEndsWithItsToken: a session ends when the token of its login expires, and the client
// logs in again with a fresh one.
func TestSessionEndsWithItsToken(t *testing.T) {
	t.Parallel()
	key, path := newKey(t)
	s := startGuarded(t, path)
	service := func(context.Context) (string, error) {
		return key.Issue(token.Claims{Service: true, Expires: time.Now().Add(time.Hour)})
	}
	admin, err := client.NewAPI([]string{s}, service)
	if err != nil {
		t.Fatal(err)
	}
	defer admin.Close()
	ann, err := admin.Register(t.Context(), "ann")
	if err != nil {
		t.Fatal(err)
	}
	first := time.Now().Add(4 * time.Second).Truncate(time.Second) // JWT has no smaller part
	var asked atomic.Int32
	source := func(context.Context) (string, error) {
		expires := first
		if asked.Add(1) > 1 {
			expires = time.Now().Add(time.Hour)
		}
		return key.Issue(token.Claims{User: int64(ann.ID), Expires: expires})
	}
	events := make(chan client.Event, 64)
	c, err := client.Dial(t.Context(), client.Config{
		Routes: []string{s}, Name: "ann", UserID: ann.ID, Token: source, Events: func(e client.Event) { events <- e },
	})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close(context.WithoutCancel(t.Context())) }()
	timeout := time.After(30 * time.Second)
	var lost, back bool
	for !back {
		select {
		case e := <-events:
			var ended *client.Ended
			if e.Kind == client.EventLost {
				if !errors.As(e.Err, &ended) || ended.Reason != proto.ReasonExpired {
					t.Fatalf("the session ended with %v, want expired", e.Err)
				}
				if early := time.Until(first); early > 0 {
					t.Errorf("the session ended %v before its token", early)
				}
				lost = true
			}
			back = lost && e.Kind == client.EventLoggedIn
		case <-timeout:
			t.Fatalf("lost %v, back %v after %d tokens", lost, back, asked.Load())
		}
	}
}

// startGuarded starts a system that asks for tokens, and returns its route's URL.
func startGuarded(t *testing.T, keyFile string) string {
	t.Helper()
	s, err := startSystem(access.Config{Mode: access.Require, Register: access.RegisterService, KeyFile: keyFile})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.close(); err != nil {
			t.Error(err)
		}
	})
	return s.url
}
