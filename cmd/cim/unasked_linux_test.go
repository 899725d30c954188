package main

import (
	"strings"
	"testing"
)

// TestUnasked: a command asks the terminal nothing as it starts, since an answer
// that does not come is waited for, and one that comes may be taken for keys.
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
