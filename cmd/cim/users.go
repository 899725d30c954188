package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"text/tabwriter"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"cim/client"
	"cim/client/terminal"
	"cim/proto"
)

func newUsersCommand(p *program) *cobra.Command {
	who, asJSON := newIdentity(), false
	s := p.newSettings(func(flags *pflag.FlagSet) {
		who.defineRoute(flags)
		flags.BoolVar(&asJSON, "json", asJSON, "one JSON object a line: userId, userName")
	}, settingToken)
	cmd := &cobra.Command{
		Use:   "users",
		Short: "Print who is online",
		Long: `  cim users
  cim users --json | jq -r .userName

Prints the users who are online, by name, a line each. It logs in no user.

Exit status: 0 done, 1 failed (no route), 2 wrong usage, 130 interrupted.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			check := func() error { return errors.Join(who.complete(s), who.contextEntry.check()) }
			if err := s.read(p, cmd, check); err != nil {
				return err
			}
			users, err := online(cmd.Context(), who)
			if err != nil {
				return failed(orInterrupted(cmd.Context(), err))
			}
			if asJSON {
				return failed(writeUsersJSON(cmd.OutOrStdout(), users))
			}
			return failed(writeUsers(cmd.OutOrStdout(), users))
		},
	}
	s.offerIdentity(cmd)
	return cmd
}

func online(ctx context.Context, who *identity) ([]proto.User, error) {
	api, err := client.NewAPI(who.routes, who.tokens())
	if err != nil {
		return nil, err
	}
	defer api.Close()
	users, err := api.Online(ctx)
	slices.SortFunc(users, func(a, b proto.User) int { return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.ID, b.ID)) })
	return users, err
}

func writeUsers(out io.Writer, users []proto.User) error {
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	for _, u := range users {
		if _, err := fmt.Fprintf(table, "%d\t%s\n", u.ID, terminal.HarmlessName(u.Name)); err != nil {
			return err
		}
	}
	return table.Flush()
}

// userJSON is a user as --json has it, and as the route's HTTP API does.
type userJSON struct {
	ID   proto.UserID `json:"userId"`
	Name string       `json:"userName"`
}

func writeUsersJSON(out io.Writer, users []proto.User) error {
	for _, u := range users {
		if err := writeLine(out, userJSON{u.ID, u.Name}); err != nil {
			return err
		}
	}
	return nil
}
