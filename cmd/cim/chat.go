package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"cim/client/terminal"
	"cim/proto"
)

// chatHeartbeatMin is the shortest pause between signs of life that makes
// sense.
const chatHeartbeatMin = time.Second

// chatConfig holds the settings of cim chat.
type chatConfig struct {
	identity   *identity
	userID     int64
	history    string
	reconnects int
	chat       terminal.Config
}

func newChatCommand(p *program) *cobra.Command {
	c := &chatConfig{identity: newIdentity(), history: historyFolder(p.environ)}
	s := p.newSettings(c.define, settingToken)
	cmd := &cobra.Command{
		Use:   "chat",
		Short: "Chat in a terminal",
		Long: `Logs in under --name. A line goes to everyone who is online, id;;text or
name;;text to one user; :all lists the commands, :q! quits.

On a terminal lines are edited, Tab completes commands, names and emoji, the
arrow keys and Ctrl-R bring back what was typed before. In a pipe lines come in
and go out plainly, and it ends once all that was sent has its outcome, with 1
if a line was not done.

NO_COLOR leaves the colours out, TERM=dumb all that is not a plain line.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			interactive := terminal.Interactive(cmd.InOrStdin(), cmd.OutOrStdout())
			check := func() error { return errors.Join(c.identity.complete(s), c.check(interactive)) }
			if err := s.read(p, cmd, check); err != nil {
				return err
			}
			c.chat.Term, c.chat.NoColour = environment(p.environ, "TERM"), environment(p.environ, "NO_COLOR") != ""
			return failed(c.run(endAtHangup(cmd.Context()), cmd.InOrStdin(), cmd.OutOrStdout(), cmd.ErrOrStderr()))
		},
	}
	s.offerIdentity(cmd)
	return cmd
}

// define adds the settings, with their defaults from c.
func (c *chatConfig) define(flags *pflag.FlagSet) {
	c.identity.define(flags)
	flags.Int64Var(&c.userID, "user-id", c.userID, "id of the user; 0: the name is registered if it is new")
	flags.StringVar(&c.history, "history", c.history, "folder of the chat history; empty keeps none")
	flags.DurationVar(&c.chat.Client.Heartbeat, "heartbeat", 0, "pause between pings; 0: as often as the server wants, which is the least")
	flags.IntVar(&c.reconnects, "reconnects", c.reconnects, "logins to try after a lost connection; 0: no bound")
}

// historyFolder is in the user's data folder, "" if there is none.
func historyFolder(environ []string) string {
	if data := environment(environ, "XDG_DATA_HOME"); filepath.IsAbs(data) {
		return filepath.Join(data, "cim", "history")
	}
	if home := environment(environ, "HOME"); filepath.IsAbs(home) {
		return filepath.Join(home, ".local", "share", "cim", "history")
	}
	return ""
}

// check reports all faults of c. At a terminal a missing name is no fault: cim chat asks for it.
func (c *chatConfig) check(interactive bool) error {
	c.chat.History = c.history
	c.chat.Client.Routes, c.chat.Client.Name, c.chat.Client.Token = c.identity.routes, c.identity.name, c.identity.tokens()
	c.chat.Client.UserID, c.chat.Client.Retries = proto.UserID(c.userID), c.reconnects
	faults := []error{c.identity.check()}
	if interactive && c.identity.name == "" {
		faults[0] = c.identity.contextEntry.check()
	}
	if c.userID < 0 {
		faults = append(faults, fmt.Errorf("user-id %d is not an id", c.userID))
	}
	if heartbeat := c.chat.Client.Heartbeat; heartbeat != 0 && heartbeat < chatHeartbeatMin {
		faults = append(faults, fmt.Errorf("heartbeat %v is not 0 or at least %v", heartbeat, chatHeartbeatMin))
	}
	if c.reconnects < 0 {
		faults = append(faults, fmt.Errorf("reconnects %d is not 0 or more", c.reconnects))
	}
	return errors.Join(faults...)
}

// run ends well with its input, or when it is asked to.
func (c *chatConfig) run(ctx context.Context, in io.Reader, out, stderr io.Writer) error {
	err := c.runFirst(ctx, in, out)
	if err == nil && c.userID == 0 {
		c.chat.Client.UserID, err = c.identity.registerUser(ctx, stderr)
	}
	if err == nil {
		err = terminal.Run(ctx, c.chat, in, out)
	}
	if ctx.Err() != nil {
		return nil
	}
	return err
}

// runFirst asks for a name if there is none.
func (c *chatConfig) runFirst(ctx context.Context, in io.Reader, out io.Writer) error {
	if c.identity.name != "" {
		return nil
	}
	first := firstUse{in, out, c.identity}
	name, err := first.askName(ctx)
	c.identity.name, c.chat.Client.Name = name, name
	c.chat.LoggedIn = func() error { return first.offerContext(ctx, name) }
	return err
}
