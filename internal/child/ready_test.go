package child

import (
	"context"
	"errors"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// script starts a shell that writes to a ReadyLine.
func script(t *testing.T, text string) (*Child, *ReadyLine) {
	t.Helper()
	ctx, stop := context.WithCancel(context.Background())
	cmd := exec.CommandContext(ctx, "sh", "-c", text)
	ready := NewReadyLine()
	cmd.Stdout = ready
	c, err := Start(cmd)
	if err != nil {
		stop()
		t.Fatal(err)
	}
	t.Cleanup(func() {
		stop()
		<-c.Ended()
	})
	return c, ready
}

// TestAwaitReady takes the first line, even if the process has ended by then, and
// names the other results.
func TestAwaitReady(t *testing.T) {
	long := strings.Repeat("x", readyLineMax+1)
	given, cancel := context.WithCancelCause(t.Context())
	gone := errors.New("given up")
	cancel(gone)
	for name, test := range map[string]struct {
		ctx  context.Context
		text string
		most time.Duration
		line string
		said string
	}{
		"the first line":          {text: "echo one; echo two; exec cat", line: "one"},
		"in pieces":               {text: "printf o; printf ne; echo; exec cat", line: "one"},
		"as long as may be":       {text: "echo " + long[1:] + "; exec cat", line: long[1:]},
		"longer":                  {text: "echo " + long + "; exec cat", said: "more than 4096 bytes"},
		"ended, with its line":    {text: "echo one", line: "one"},
		"ended, without its line": {text: "printf one", said: ErrEnded.Error()},
		"not in time":             {text: "exec sleep 60", most: time.Millisecond, said: "not ready within 1ms"},
		"given up":                {text: "exec sleep 60", ctx: given, said: gone.Error()},
	} {
		t.Run(name, func(t *testing.T) {
			c, ready := script(t, test.text)
			if strings.HasPrefix(name, "ended") {
				<-c.Ended()
			}
			if test.ctx == nil {
				test.ctx = t.Context()
			}
			if test.most == 0 {
				test.most = time.Minute
			}
			line, err := c.AwaitReady(test.ctx, ready, test.most)
			if string(line) != test.line || (err == nil) != (test.said == "") {
				t.Fatalf("line %.20q, %v; want %.20q, %q", line, err, test.line, test.said)
			}
			if err != nil && !strings.Contains(err.Error(), test.said) {
				t.Errorf("%v, want %q", err, test.said)
			}
		})
	}
}
