package main

import (
	"bufio"
	"strings"
	"testing"
)

// TestTerminalCloses starts a process from a terminal and closes that: the
// process drains and leaves nothing behind.
func TestTerminalCloses(t *testing.T) {
	t.Parallel()
	hangupsReach(t)
	p, cmd := runOnTerminal(t, 24, 80, nil, "standalone", "--data", t.TempDir(),
		"--cim-port", "0", "--http-port", "0", "--route-port", "0", "--admin-port", "0")
	for lines := bufio.NewScanner(p.ours); ; {
		if !lines.Scan() {
			t.Fatalf("the terminal ends: %v", lines.Err())
		}
		if strings.Contains(lines.Text(), `"pid":`) {
			break
		}
	}
	if err := p.ours.Close(); err != nil {
		t.Fatal(err)
	}
	if err := (&serviceProcess{cmd: cmd, log: &lockedBuffer{}}).wait(); err != nil {
		t.Error(err)
	}
}
