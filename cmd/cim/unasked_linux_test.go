package main

import (
	"strings"
	"testing"
)

// TestUnasked: a command asks the terminal nothing at its start, since it would wait for a missing
// answer, and an answer might be taken for keys.
func TestUnasked(t *testing.T) {
	p, cmd := runOnTerminal(t, 24, 80, []string{"TERM=xterm-256color"}, "version")
	shown := p.until("go go", 1)
	if strings.Contains(shown, "\x1b") {
		t.Errorf("the terminal gets %q", shown)
	}
	if err := cmd.Wait(); err != nil {
		t.Error(err)
	}
}
