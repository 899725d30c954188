package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"
)

// partial are the commands that do not run on every system that cim is built
// for.
var partial = map[string]struct {
	systems []string // as GOOS
	needs   string
}{
	"server":     {[]string{"linux", "darwin"}, "its event loops need epoll or kqueue"},
	"standalone": {[]string{"linux", "darwin"}, "its event loops need epoll or kqueue"},
	"cluster":    {[]string{"linux", "darwin"}, "its servers need epoll or kqueue"},
	"bench":      {[]string{"linux"}, "it reads from /proc what each process uses"},
	"floor":      {[]string{"linux"}, "it is made of epoll"},
}

// checkSystem refuses a command that does not run on the system goos, before the command starts.
func checkSystem(goos string, cmd *cobra.Command) error {
	p, is := partial[cmd.Name()]
	if !is || cmd.Parent() != cmd.Root() || slices.Contains(p.systems, goos) {
		return nil
	}
	return failed(fmt.Errorf("%s does not run on %s: %s. It runs on %s; the commands of a client run here too, with --route",
		cmd.Name(), goos, p.needs, strings.Join(p.systems, " and ")))
}
