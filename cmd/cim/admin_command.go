package main

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"cim/client/terminal"
)

// listenersDefault are where the processes of this machine have their admin
// listeners by default.
var listenersDefault = []string{"http://127.0.0.1:9100", "http://127.0.0.1:9101"}

// listenersMax bounds the listeners that one command asks.
const listenersMax = 64

// adminCommand is what the subcommands of cim admin share.
type adminCommand struct {
	program  *program
	settings *settings
	urls     []string
	secret   string
	json     bool
}

func newAdminCommand(p *program) *cobra.Command {
	a := &adminCommand{program: p}
	a.settings = p.newSettings(a.define, linkSecret)
	cmd := &cobra.Command{
		Use:   "admin",
		Short: "Show what runs and who is connected; end a session",
		Long: `Asks the admin listeners of servers, routes and standalones. Without --admin
those of this user's processes on this machine, cim cluster's among them, and
what is at 9100 and 9101. This machine's are asked without more; those of
others want a proof that the asker knows the link secret, which is set by CIM_LINK_SECRET or in the file of
--config, link-secret. One that does not answer within 2s is named on standard
error; the exit status is 1 if none has answered.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return failed(cmd.Help()) },
	}
	cmd.AddCommand(newTopCommand(a), newMembersCommand(a), newSessionsCommand(a), newRoutesCommand(a), newKickCommand(a))
	return cmd
}

// define adds the settings, with their defaults from a.
func (a *adminCommand) define(flags *pflag.FlagSet) {
	flags.Var(texts{&a.urls}, "admin", "URLs of admin listeners, separated by commas; none: those of this machine")
	flags.StringVar(&a.secret, linkSecret, "", "secret that routes and servers prove to each other")
}

// offer gives a subcommand the flags of all of them.
func (a *adminCommand) offer(cmd *cobra.Command) *cobra.Command {
	a.settings.offer(cmd)
	cmd.Flags().BoolVar(&a.json, "json", false, "one JSON object a line")
	return cmd
}

// listeners reads the settings and returns the listeners to ask.
func (a *adminCommand) listeners(cmd *cobra.Command) ([]adminListener, error) {
	if err := a.settings.read(a.program, cmd, a.check); err != nil {
		return nil, err
	}
	if len(a.urls) > 0 {
		return newListeners(a.urls, a.secret), nil
	}
	found := runningListeners()
	found = found[:min(len(found), listenersMax-len(listenersDefault))]
	guessed := slices.DeleteFunc(slices.Clone(listenersDefault), func(url string) bool { return slices.Contains(found, url) })
	listeners := newListeners(append(found, guessed...), a.secret)
	for i := len(found); i < len(listeners); i++ {
		listeners[i].guessed = true
	}
	return listeners, nil
}

func (a *adminCommand) check() error {
	if len(a.urls) > listenersMax {
		return fmt.Errorf("admin has %d URLs, want at most %d", len(a.urls), listenersMax)
	}
	var faults []error
	for _, u := range a.urls {
		faults = append(faults, checkListenerURL(u))
	}
	return errors.Join(faults...)
}

// stateCommand makes a subcommand that asks each listener once and shows rows
// of what they say.
func stateCommand[T any](a *adminCommand, use, short, long, head string, rows func([]listenerAnswer) []T, text func(T) string) *cobra.Command {
	return a.offer(&cobra.Command{
		Use: use, Short: short, Long: long, Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			listeners, err := a.listeners(cmd)
			if err != nil {
				return err
			}
			all := askStates(cmd.Context(), listeners)
			if err := orInterrupted(cmd.Context(), nil); err != nil {
				return err
			}
			if err := reportSilent(cmd.ErrOrStderr(), all); err != nil {
				return err
			}
			return failed(writeRows(cmd.OutOrStdout(), a.json, head, rows(all), text))
		},
	})
}

// writeRows writes a table, or a JSON object for each row.
func writeRows[T any](w io.Writer, asJSON bool, head string, rows []T, text func(T) string) error {
	if asJSON {
		for _, row := range rows {
			if err := writeLine(w, row); err != nil {
				return err
			}
		}
		return nil
	}
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	lines := []string{head}
	for _, row := range rows {
		lines = append(lines, text(row))
	}
	if _, err := fmt.Fprintln(table, strings.Join(lines, "\n")); err != nil {
		return err
	}
	return table.Flush()
}

// cells joins the cells of a row, some of which other users may have written.
func cells(all ...any) string {
	words := make([]string, len(all))
	for i, cell := range all {
		if words[i] = terminal.Harmless(fmt.Sprint(cell)); words[i] == "" {
			words[i] = "-"
		}
	}
	return strings.Join(words, "\t")
}
