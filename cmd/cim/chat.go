package main

import (
	"context"
	"errors"
	"io"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"cim/client"
	"cim/client/terminal"
)

// routeDefault is where a route of this machine listens by default.
const routeDefault = "http://127.0.0.1:8083"

func newChatCommand(p *program) *cobra.Command {
	c := client.Config{Routes: []string{routeDefault}}
	s := p.newSettings(func(flags *pflag.FlagSet) {
		flags.Var(texts{&c.Routes}, "route", "URLs of the routes, divided by commas")
		flags.StringVar(&c.Name, "name", c.Name, "name to log in with")
	})
	cmd := &cobra.Command{
		Use:   "chat",
		Short: "Chat in a terminal",
		Long: `Logs in under --name. A line goes to everyone who is online, id;;text to one
user; :olu lists who is online, :all the commands, :q! quits.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			check := func() error { return checkChat(c) }
			if err := s.read(p, cmd, check); err != nil {
				return err
			}
			return failed(chat(cmd.Context(), c, cmd.InOrStdin(), cmd.OutOrStdout()))
		},
	}
	s.offer(cmd)
	return cmd
}

func checkChat(c client.Config) error {
	if c.Name == "" {
		return errors.New("--name is missing")
	}
	return c.Check()
}

// chat ends well with its input, or when it is asked to.
func chat(ctx context.Context, c client.Config, in io.Reader, out io.Writer) error {
	err := terminal.Run(ctx, c, in, out)
	if ctx.Err() != nil {
		return nil
	}
	return err
}
