package main

import (
	"strings"
	"testing"

	"github.com/spf13/cobra"
)

// TestCheckSystem: each command runs on Linux; a server does not on Windows, and
// a command that only has its name does.
func TestCheckSystem(t *testing.T) {
	root := newRoot(&program{})
	all := map[string]bool{}
	for _, cmd := range root.Commands() {
		all[cmd.Name()] = true
		if err := checkSystem("linux", cmd); err != nil {
			t.Errorf("linux: %v", err)
		}
	}
	for name := range partial {
		if !all[name] {
			t.Errorf("cim has no command %q", name)
		}
	}
	for _, c := range []struct {
		goos, path string
		runs       bool
	}{
		{"windows", "standalone", false},
		{"windows", "server", false},
		{"windows", "cluster", false},
		{"windows", "bench", false},
		{"windows", "chat", true},
		{"windows", "send", true},
		{"windows", "route", true},
		{"windows", "loadgen", true},
		{"darwin", "standalone", true},
		{"darwin", "server", true},
		{"darwin", "bench", false},
		{"darwin", "floor", false},
		{"windows", "admin top", true},
	} {
		cmd, _, err := root.Find(strings.Fields(c.path))
		if err != nil {
			t.Fatal(err)
		}
		err = checkSystem(c.goos, cmd)
		if (err == nil) != c.runs || err != nil && !strings.Contains(err.Error(), c.path+" does not run on "+c.goos) {
			t.Errorf("%s on %s: %v", c.path, c.goos, err)
		}
	}
	below := &cobra.Command{Use: "server"}
	root.Commands()[0].AddCommand(below)
	if err := checkSystem("windows", below); err != nil {
		t.Errorf("another command with the name of one: %v", err)
	}
}
