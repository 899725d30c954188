package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"cim/client"
	"cim/proto"
)

// routeDefault is where a route of this machine listens by default.
const routeDefault = "http://127.0.0.1:8083"

const (
	settingContext = "context"
	settingToken   = "token"
)

// identity is the routes and the name of a client command: what chat, send, listen and users share.
type identity struct {
	context string
	token   string // a secret; "": tokenFile has it, or none is shown
	contextEntry
}

func newIdentity() *identity {
	return &identity{contextEntry: contextEntry{routes: []string{routeDefault}}}
}

func (i *identity) define(flags *pflag.FlagSet) {
	i.defineRoute(flags)
	flags.StringVar(&i.name, keyName, i.name, "name of the user")
}

// defineRoute is define for a command that acts for no user.
func (i *identity) defineRoute(flags *pflag.FlagSet) {
	flags.Var(texts{&i.routes}, keyRoute, "URLs of the routes, separated by commas")
	flags.StringVar(&i.context, settingContext, i.context, "context for what is not given; none: the one in use")
	flags.StringVar(&i.token, settingToken, "", "token for the routes")
	flags.StringVar(&i.tokenFile, keyTokenFile, i.tokenFile, "file with the token for the routes, read again for each request; CIM_TOKEN wins")
}

// tokens is what the client shows to routes; nil: nothing.
func (i *identity) tokens() client.TokenSource {
	switch {
	case i.token != "":
		return func(context.Context) (string, error) { return i.token, nil }
	case i.tokenFile != "":
		return func(context.Context) (string, error) { return readToken(i.tokenFile) }
	}
	return nil
}

// complete takes from the context what was not set elsewhere, once s has been resolved. A route or
// name wins if it was set in the same place as the context, or in a stronger one: so --context wins
// over CIM_ROUTE, and a file's route over the context in use.
func (i *identity) complete(s *settings) error {
	place := placeOf(s.source[settingContext])
	wanted := func(setting string) bool {
		given := placeOf(s.source[setting])
		return s.typed.Lookup(setting) != nil && (given < place || given == 0)
	}
	if i.context == "" && !wanted(keyRoute) && !wanted(keyName) {
		return nil // a broken file of contexts must not stop a command that needs none
	}
	book, err := openContexts()
	if err != nil {
		return err
	}
	if i.context == "" {
		i.context = book.inUse
	}
	if i.context == "" {
		return nil
	}
	entry, err := book.find(i.context)
	if err != nil {
		return err
	}
	if wanted(keyRoute) {
		i.routes, s.source[keyRoute] = entry.routes, "context "+i.context
	}
	if wanted(keyName) && entry.name != "" {
		i.name, s.source[keyName] = entry.name, "context "+i.context
	}
	// A token is of the context's name: it is not shown for another one.
	if named := s.typed.Lookup(keyName) != nil; (!named || wanted(keyName)) && wanted(keyTokenFile) && entry.tokenFile != "" {
		i.tokenFile, s.source[keyTokenFile] = entry.tokenFile, "context "+i.context
	}
	return nil
}

// placeOf ranks where a value came from; 0 is nowhere.
func placeOf(source string) int {
	kind, _, _ := strings.Cut(source, " ")
	return map[string]int{"file": 1, "environment": 2, "flag": 3}[kind]
}

// check reports all faults of a user's identity.
func (i *identity) check() error {
	if i.name == "" {
		return errors.Join(errors.New("--name is missing: give it, or keep it in a context with cim context add"), i.contextEntry.check())
	}
	return i.contextEntry.check()
}

// registerUser returns the user's id. It says before the login that the name is new: it may be mistyped.
func (i *identity) registerUser(ctx context.Context, stderr io.Writer) (proto.UserID, error) {
	api, err := client.NewAPI(i.routes, i.tokens())
	if err != nil {
		return 0, err
	}
	defer api.Close()
	user, err := registerName(ctx, api, i.name, stderr)
	return user.ID, err
}

func newContextCommand(p *program) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "context",
		Short: "Keep routes and names, so that chat, send, listen and users need no flags",
		Long: `  cim context add home --route http://127.0.0.1:8083 --name ann
  cim context use home       from now on
  cim chat --context work    this once
  cim context list

A context is a route, a name and, where routes ask for tokens, the file with the
user's. A command takes route and name from the first of:
--route and --name, --context, CIM_ROUTE and CIM_NAME, CIM_CONTEXT, the file of
--config, the context in use, the route of this machine. They are kept in
cim/contexts.yaml in the user's configuration folder.

Exit status: 0 done, 1 failed, 2 wrong usage.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return failed(cmd.Help()) },
	}
	cmd.AddCommand(newContextAddCommand(p), newContextUseCommand(), newContextListCommand(p), newContextRemoveCommand())
	return cmd
}

func newContextAddCommand(p *program) *cobra.Command {
	c := newIdentity().contextEntry
	replace := false
	s := p.newSettings(func(flags *pflag.FlagSet) {
		flags.Var(texts{&c.routes}, keyRoute, "URLs of the routes, separated by commas")
		flags.StringVar(&c.name, keyName, c.name, "name of the user; none: the context is of a route only")
		flags.StringVar(&c.tokenFile, keyTokenFile, c.tokenFile, "file with the user's token; none: no token is shown")
		flags.BoolVar(&replace, "replace", replace, "replace the context of that name")
	})
	cmd := &cobra.Command{
		Use:               "add CONTEXT",
		Short:             "Keep a context; the first one is in use from then on",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, args []string) error {
			check := func() error { return errors.Join(checkContextName(args[0]), c.check()) }
			if err := s.read(p, cmd, check); err != nil {
				return err
			}
			return failed(addContext(args[0], c, replace, cmd.OutOrStdout()))
		},
	}
	s.offer(cmd)
	return cmd
}

func addContext(name string, c contextEntry, replace bool, out io.Writer) error {
	return changeContexts(func(b *contextBook) error {
		if _, known := b.entries[name]; known && !replace {
			return fmt.Errorf("context %q is there already: give --replace to change it", name)
		}
		b.put(name, c)
		return nil
	}, out)
}

// changeContexts changes the file and prints which context is in use then.
func changeContexts(edit func(*contextBook) error, out io.Writer) error {
	book, err := openContexts()
	if err == nil {
		err = book.change(edit)
	}
	if err != nil {
		return err
	}
	text := "no context is in use"
	if book.inUse != "" {
		text = "in use: " + book.inUse
	}
	_, err = fmt.Fprintln(out, text)
	return err
}

func newContextUseCommand() *cobra.Command {
	return &cobra.Command{
		Use:               "use CONTEXT",
		Short:             "Use a context from now on",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: completeContext,
		RunE: func(cmd *cobra.Command, args []string) error {
			return failed(changeContexts(func(b *contextBook) error {
				_, err := b.find(args[0])
				b.inUse = args[0]
				return err
			}, cmd.OutOrStdout()))
		},
	}
}

func newContextRemoveCommand() *cobra.Command {
	return &cobra.Command{
		Use:               "remove CONTEXT",
		Short:             "Forget a context; its user stays registered",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: completeContext,
		RunE: func(cmd *cobra.Command, args []string) error {
			return failed(changeContexts(func(b *contextBook) error {
				_, err := b.find(args[0])
				delete(b.entries, args[0])
				if b.inUse == args[0] {
					b.inUse = ""
				}
				return err
			}, cmd.OutOrStdout()))
		},
	}
}

func newContextListCommand(p *program) *cobra.Command {
	asJSON := false
	s := p.newSettings(func(flags *pflag.FlagSet) {
		flags.BoolVar(&asJSON, "json", asJSON, "one JSON object a line: context, route, name, inUse")
	})
	cmd := &cobra.Command{
		Use:   "list",
		Short: "Print the contexts; * is in use",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := s.read(p, cmd, func() error { return nil }); err != nil {
				return err
			}
			book, err := openContexts()
			if err == nil && len(book.entries) == 0 {
				report(cmd.ErrOrStderr(), errors.New("there is none yet; cim context add makes one"))
			}
			if err == nil && asJSON {
				err = book.printJSON(cmd.OutOrStdout())
			} else if err == nil {
				err = book.print(cmd.OutOrStdout())
			}
			return failed(err)
		},
	}
	s.offer(cmd)
	return cmd
}

func (b *contextBook) print(out io.Writer) error {
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	for _, name := range b.names() {
		mark, entry := " ", b.entries[name]
		if name == b.inUse {
			mark = "*"
		}
		if _, err := fmt.Fprintf(table, "%s %s\t%s\t%s\n", mark, name, urls{texts{&entry.routes}}, entry.name); err != nil {
			return err
		}
	}
	return table.Flush()
}

func (b *contextBook) printJSON(out io.Writer) error {
	for _, name := range b.names() {
		entry := b.entries[name]
		if err := writeLine(out, struct {
			Context string `json:"context"`
			Route   string `json:"route"`
			Name    string `json:"name"`
			InUse   bool   `json:"inUse"`
		}{name, urls{texts{&entry.routes}}.String(), entry.name, name == b.inUse}); err != nil {
			return err
		}
	}
	return nil
}

// offerIdentity gives cmd its flags; a shell can complete the context.
func (s *settings) offerIdentity(cmd *cobra.Command) {
	s.offer(cmd)
	complete := func(cmd *cobra.Command, _ []string, typed string) ([]string, cobra.ShellCompDirective) {
		return completeContext(cmd, nil, typed)
	}
	if err := cmd.RegisterFlagCompletionFunc(settingContext, complete); err != nil {
		panic(err) // the flag exists
	}
}

// completeContext offers the names of the contexts to a shell.
func completeContext(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	book, err := openContexts()
	if err != nil || len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return book.names(), cobra.ShellCompDirectiveNoFileComp
}
