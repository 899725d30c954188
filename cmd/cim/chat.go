package main

import (
	"context"
	"errors"
	"io"

	"github.com/spf13/cobra"

	"cim/client"
	"cim/client/terminal"
)

func newChatCommand(p *program) *cobra.Command {
	who := newIdentity()
	s := p.newSettings(who.define)
	cmd := &cobra.Command{
		Use:   "chat",
		Short: "Chat in a terminal",
		Long: `Logs in under --name. A line goes to everyone who is online, id;;text to one
user; :olu lists who is online, :all the commands, :q! quits.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			check := func() error { return errors.Join(who.complete(s), who.check()) }
			if err := s.read(p, cmd, check); err != nil {
				return err
			}
			c := client.Config{Routes: who.routes, Name: who.name}
			return failed(chat(cmd.Context(), c, cmd.InOrStdin(), cmd.OutOrStdout()))
		},
	}
	s.offerIdentity(cmd)
	return cmd
}

// chat ends well with its input, or when it is asked to.
func chat(ctx context.Context, c client.Config, in io.Reader, out io.Writer) error {
	err := terminal.Run(ctx, c, in, out)
	if ctx.Err() != nil {
		return nil
	}
	return err
}
