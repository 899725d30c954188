package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"cim/client"
	"cim/client/terminal"
	"cim/proto"
)

const (
	// completionMax bounds what a shell waits for a route.
	completionMax = 500 * time.Millisecond
	// namesMax bounds the users that a shell is offered.
	namesMax = 1000
)

func newCompletionCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "completion bash|zsh|fish|powershell",
		Short: "Print a script that lets a shell complete commands, contexts and users",
		Long: `  source <(cim completion bash)                                 this shell
  cim completion bash > /etc/bash_completion.d/cim              every bash
  cim completion zsh > "${fpath[1]}/_cim"                       every zsh
  cim completion fish > ~/.config/fish/completions/cim.fish     every fish
  cim completion powershell | Out-String | Invoke-Expression    this PowerShell

Bash needs the package bash-completion. With it --context completes the contexts, and --to who is online, if
a route answers within half a second.`,
		Args:      cobra.MatchAll(cobra.ExactArgs(1), cobra.OnlyValidArgs),
		ValidArgs: []string{"bash", "zsh", "fish", "powershell"},
		RunE: func(cmd *cobra.Command, args []string) error {
			root, out := cmd.Root(), cmd.OutOrStdout()
			switch args[0] {
			case "bash":
				return failed(root.GenBashCompletionV2(out, true))
			case "zsh":
				return failed(root.GenZshCompletion(out))
			case "powershell":
				return failed(root.GenPowerShellCompletionWithDesc(out))
			}
			return failed(root.GenFishCompletion(out, true))
		},
	}
}

// offerReceivers lets a shell complete --to.
func offerReceivers(p *program, s *settings, who *identity, cmd *cobra.Command) {
	complete := func(cmd *cobra.Command, _ []string, typed string) ([]string, cobra.ShellCompDirective) {
		ctx, cancel := context.WithTimeout(cmd.Context(), completionMax)
		defer cancel()
		names := slices.DeleteFunc(receivers(ctx, p, s, who, cmd), func(name string) bool { return !strings.HasPrefix(name, typed) })
		return names[:min(len(names), namesMax)], cobra.ShellCompDirectiveNoFileComp
	}
	if err := cmd.RegisterFlagCompletionFunc("to", complete); err != nil {
		panic(err) // the flag exists
	}
}

// receivers are all and the connected users, if a route answers. Errors are reported when the
// command runs.
func receivers(ctx context.Context, p *program, s *settings, who *identity, cmd *cobra.Command) []string {
	all := []string{toAll + "\teveryone online"}
	if s.resolve(p, cmd.Flags()) != nil || who.complete(s) != nil {
		return all
	}
	api, err := client.NewAPI(who.routes, who.tokens())
	if err != nil {
		return all
	}
	defer api.Close()
	users, err := api.Online(ctx)
	if err != nil {
		return all
	}
	for _, u := range users {
		if terminal.HarmlessName(u.Name) != u.Name {
			continue // a shell would show another name
		}
		all = append(all, fmt.Sprintf("%s\t%d", receiverText(u), u.ID))
	}
	return all
}

// receiverText is what --to says for u.
func receiverText(u proto.User) string {
	if to, err := parseReceiver(u.Name); err != nil || to.name != u.Name {
		return toName + u.Name
	}
	return u.Name
}
