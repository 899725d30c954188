package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"cim/client"
	"cim/internal/token"
	"cim/route/access"
)

// tokenConfig holds the settings of cim token.
type tokenConfig struct {
	identity *identity
	keys     string
	user     string
	service  bool
	path     bool
	audience string
	ttl      time.Duration
}

func newTokenCommand(p *program) *cobra.Command {
	c := &tokenConfig{identity: newIdentity(), ttl: token.LifetimeMax}
	s := p.newSettings(c.define)
	cmd := &cobra.Command{
		Use:   "token",
		Short: "Issue the tokens that routes with --auth ask for",
		Long: `  cim token keygen > keys.json
  cim token --keys keys.json --user ann --ttl 24h > ann.token
  cim token --keys keys.json --service --ttl 1h > backend.token
  cim token --keys keys.json --user ann --path --ttl 240h

Prints a token, signed with the first key of --keys that can sign. A user's
token names its user by id: a name is looked up at --route. A service token may
name any user: it is for backends. --path is for clients of the original, whose
base URL becomes http://ROUTE/t/TOKEN; proxies log that address.

Exit status: 0 done, 1 failed, 2 wrong usage.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			check := func() error { return errors.Join(c.identity.complete(s), c.identity.contextEntry.check(), c.check()) }
			if err := s.read(p, cmd, check); err != nil {
				return err
			}
			return failed(c.run(cmd.Context(), cmd.OutOrStdout()))
		},
	}
	s.offerIdentity(cmd)
	cmd.AddCommand(newTokenKeygenCommand(p))
	return cmd
}

func (c *tokenConfig) define(flags *pflag.FlagSet) {
	flags.StringVar(&c.keys, "keys", c.keys, "file with the keys: a JSON Web Key Set, as cim token keygen writes it")
	flags.StringVar(&c.user, "user", c.user, "name or id of the token's user")
	flags.BoolVar(&c.service, "service", c.service, "issue a service token")
	flags.BoolVar(&c.path, "path", c.path, "issue a token for the base URL of a client of the original")
	flags.StringVar(&c.audience, "audience", c.audience, "audience of the token: what routes have as --auth-audience")
	flags.DurationVar(&c.ttl, "ttl", c.ttl, "time after which the token expires")
	flags.Var(texts{&c.identity.routes}, keyRoute, "URLs of the routes at which a name is looked up, separated by commas")
	flags.StringVar(&c.identity.context, settingContext, c.identity.context, "context for what is not given; none: the one in use")
}

func (c *tokenConfig) check() error {
	var faults []error
	if c.keys == "" {
		faults = append(faults, errors.New("--keys is missing: cim token keygen > keys.json makes such a file"))
	}
	if (c.user == "") != c.service {
		faults = append(faults, errors.New("want --user or --service, and not both"))
	}
	if c.path && c.service {
		faults = append(faults, errors.New("--path is for users: a service token never stands in an address"))
	}
	most := token.LifetimeMax
	if c.path {
		most = access.PathDaysMax * 24 * time.Hour
	}
	if c.ttl < time.Second || c.ttl > most {
		faults = append(faults, fmt.Errorf("ttl %v is not 1s to %v", c.ttl, most))
	}
	return errors.Join(faults...)
}

func (c *tokenConfig) run(ctx context.Context, out io.Writer) error {
	file, err := token.OpenFile(c.keys, nil)
	if err != nil {
		return err
	}
	now := time.Now()
	key, can := file.Keys(now).Signing()
	if !can {
		return fmt.Errorf("%s has no key that can sign: it has public keys only", c.keys)
	}
	claims := token.Claims{Service: c.service, Issued: now, Expires: now.Add(c.ttl)}
	if c.path {
		claims.Audiences = append(claims.Audiences, token.AudiencePath)
	}
	if c.audience != "" {
		claims.Audiences = append(claims.Audiences, c.audience)
	}
	if !c.service {
		if claims.User, err = c.userID(ctx, key); err != nil {
			return err
		}
	}
	text, err := key.Issue(claims)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(out, text)
	return err
}

// userID is the id that --user names. A name is looked up with a service token
// of a minute, so that a route that asks for tokens answers.
func (c *tokenConfig) userID(ctx context.Context, key token.Key) (int64, error) {
	subject, err := parseReceiver(c.user)
	switch {
	case err != nil:
		return 0, fmt.Errorf("user: %w", err)
	case subject.all:
		return 0, fmt.Errorf("user %q means all users: a service token may name any user; name:%s is the name %s", c.user, c.user, c.user)
	case subject.id != 0:
		return int64(subject.id), nil
	}
	asker := func(context.Context) (string, error) {
		claims := token.Claims{Service: true, Expires: time.Now().Add(time.Minute)}
		if c.audience != "" {
			claims.Audiences = []string{c.audience}
		}
		return key.Issue(claims)
	}
	api, err := client.NewAPI(c.identity.routes, asker)
	if err != nil {
		return 0, err
	}
	defer api.Close()
	user, err := api.Find(ctx, subject.name)
	if err != nil {
		return 0, orInterrupted(ctx, err)
	}
	return int64(user.ID), nil
}

func newTokenKeygenCommand(p *program) *cobra.Command {
	algorithm, id := token.HS256, ""
	s := p.newSettings(func(flags *pflag.FlagSet) {
		choiceVar(flags, &algorithm, "algorithm", "HS256: one secret signs and verifies; EdDSA: a pair of Ed25519, so that routes can hold the public half only",
			token.HS256, token.EdDSA)
		flags.StringVar(&id, "id", id, "id of the key, which tokens name; none: the time")
	})
	cmd := &cobra.Command{
		Use:   "keygen",
		Short: "Print a file with a new key",
		Long: `  umask 077; cim token keygen > keys.json

Prints a JSON Web Key Set with one new key. Routes read it with --auth-keys, and
read it again when it changes: to change keys, put the new one in front of the
old one, and take the old one out once its tokens have expired.

Exit status: 0 done, 1 failed, 2 wrong usage.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := s.read(p, cmd, func() error { return nil }); err != nil {
				return err
			}
			if id == "" {
				id = time.Now().UTC().Format("20060102-150405")
			}
			file, err := token.Generate(id, algorithm)
			if err == nil {
				_, err = cmd.OutOrStdout().Write(file)
			}
			return failed(err)
		},
	}
	s.offer(cmd)
	return cmd
}

// readToken reads the token that a file has.
func readToken(path string) (string, error) {
	file, err := os.Open(path)
	if err != nil {
		return "", fmt.Errorf("token-file: %w", err)
	}
	defer file.Close()
	content, err := io.ReadAll(io.LimitReader(file, token.SizeMax+2)) // and a line's end
	if err != nil {
		return "", fmt.Errorf("token-file: %w", err)
	}
	text := strings.TrimSpace(string(content))
	if text == "" || len(text) > token.SizeMax || strings.ContainsAny(text, " \t\r\n") {
		return "", fmt.Errorf("token-file %q does not have one token of at most %d bytes", path, token.SizeMax)
	}
	return text, nil
}
