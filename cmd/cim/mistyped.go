package main

import (
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// flagFault adds to the fault of an unknown flag which one was probably meant, and to that of a
// value what is wanted.
func (p *program) flagFault(cmd *cobra.Command, err error) error {
	if invalid := (*pflag.InvalidValueError)(nil); errors.As(err, &invalid) {
		if _, wanted := plainText(invalid.GetFlag().Value.Type(), invalid.GetValue()); wanted != nil {
			err = fmt.Errorf("--%s %q: %w", invalid.GetFlag().Name, invalid.GetValue(), wanted)
		}
		return err
	}
	var unknown *pflag.NotExistError
	if !errors.As(err, &unknown) {
		return err
	}
	var names []string
	cmd.Flags().VisitAll(func(f *pflag.Flag) { names = append(names, "--"+f.Name) })
	typed := unknown.GetSpecifiedName()
	if short := unknown.GetSpecifiedShortnames(); short != "" {
		typed, _, _ = strings.Cut(short, "=") // -name=ann, as Go's own flags are written
		if len(typed) == 1 {
			return err
		}
	}
	if p.isSecret(typed) {
		return fmt.Errorf("unknown flag: --%s: other users of this machine could read it; set %s, or %s in the file of --config", typed, envName(typed), typed)
	}
	return fmt.Errorf("%w%s", err, didYouMean("--"+typed, names))
}

// isSecret reports whether key is a setting that some command keeps secret.
func (p *program) isSecret(key string) bool {
	for _, s := range p.commands {
		if s.secret[key] {
			return true
		}
	}
	return false
}

// checkArguments makes all commands below cmd explain a wrong argument.
func checkArguments(cmd *cobra.Command) {
	for _, sub := range cmd.Commands() {
		if sub.HasSubCommands() {
			sub.Args = subcommandsOnly
		} else if sub.Args != nil {
			sub.Args = wantedArguments(sub.Args)
		}
		checkArguments(sub)
	}
}

// wantedArguments is check with texts of ours, where cobra gives numbers, or reports an unknown
// command although the command has none.
func wantedArguments(check cobra.PositionalArgs) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		err := check(cmd, args)
		if err != nil && strings.HasPrefix(err.Error(), "accepts ") {
			return fmt.Errorf("want %s, got %d arguments", strings.TrimSuffix(cmd.UseLine(), " [flags]"), len(args))
		}
		if err != nil && len(cmd.ValidArgs) > 0 {
			return fmt.Errorf("%w: want one of %s", err, strings.Join(cmd.ValidArgs, ", "))
		}
		if err == nil || !strings.HasPrefix(err.Error(), "unknown command") {
			return err
		}
		hint := ""
		if _, fault := plainText("bool", args[0]); fault == nil {
			hint = "; true and false follow a flag behind =, as in --verify=false"
		}
		return fmt.Errorf("%s takes no argument, but has %q%s", cmd.CommandPath(), args[0], hint)
	}
}

// subcommandsOnly are the arguments of a command that has subcommands and takes
// none itself.
func subcommandsOnly(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	var names []string
	for _, sub := range cmd.Commands() {
		names = append(names, sub.Name())
	}
	return fmt.Errorf("unknown command %q for %q%s", args[0], cmd.CommandPath(), didYouMean(args[0], names))
}

// offerValues lets a shell complete the value of a flag: one of its words, a
// folder, or a file where a text is wanted.
func offerValues(cmd *cobra.Command, f *pflag.Flag) {
	complete := cobra.NoFileCompletions
	words, isChoice := f.Value.(interface{ choices() []string })
	switch {
	case isChoice:
		complete = cobra.FixedCompletions(words.choices(), cobra.ShellCompDirectiveNoFileComp)
	case f.Name == "data" || f.Name == "history":
		complete = func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
			return nil, cobra.ShellCompDirectiveFilterDirs
		}
	case f.Value.Type() == kindText:
		return
	}
	if err := cmd.RegisterFlagCompletionFunc(f.Name, complete); err != nil {
		panic(err) // the flag exists
	}
}
