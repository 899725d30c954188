package main

import (
	"fmt"
	"io"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"
)

func newVersionCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print the version, the commit and the version of Go",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return failed(writeVersion(cmd.OutOrStdout()))
		},
	}
}

// writeVersion prints the build's version.
func writeVersion(w io.Writer) error {
	version, commit := "unknown", "unknown"
	if info, ok := debug.ReadBuildInfo(); ok {
		version, commit = info.Main.Version, commitOf(info.Settings, commit)
	}
	_, err := fmt.Fprintf(w, "version %s\ncommit %s\ngo %s\n", version, commit, runtime.Version())
	return err
}

// commitOf is the commit of the build, or unknown if it was built outside of
// version control.
func commitOf(build []debug.BuildSetting, unknown string) string {
	commit, modified := unknown, ""
	for _, s := range build {
		switch {
		case s.Key == "vcs.revision":
			commit = s.Value
		case s.Key == "vcs.modified" && s.Value == "true":
			modified = " with changes"
		}
	}
	return commit + modified
}
