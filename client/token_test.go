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
	"cim/route/access"
)

// TestTokens: with routes that ask for tokens a client logs in, comes back and
// sends with what its function returns, asked anew each time; without one, or
// with another user's, it is refused by name and nothing is sent.
func TestTokens(t *testing.T) {
	t.Parallel()
	file, err := token.Generate("k", token.HS256)
	if err != nil {
		t.Fatal(err)
	}
	keys, err := token.ParseKeys(file)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "keys.json")
	if err := os.WriteFile(path, file, 0o600); err != nil {
		t.Fatal(err)
	}
	key, _ := keys.Signing()
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
