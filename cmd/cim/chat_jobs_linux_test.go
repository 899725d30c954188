package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// modes are what a terminal does with keys.
func (p *pane) modes() string {
	p.t.Helper()
	out, err := exec.Command("stty", "-F", p.value("pane_tty"), "-a").Output()
	if err != nil {
		p.t.Fatalf("stty: %v", err)
	}
	return string(out)
}

// child is the process that the one of a pane has started.
func (p *pane) child() int {
	p.t.Helper()
	shell := p.value("pane_pid")
	out, err := os.ReadFile("/proc/" + shell + "/task/" + shell + "/children")
	if err != nil {
		p.t.Fatal(err)
	}
	pid, err := strconv.Atoi(strings.Fields(string(out) + " none")[0])
	if err != nil {
		p.t.Fatalf("the children of %s: %q", shell, out)
	}
	return pid
}

// TestTerminalNoJobControl: where no shell could continue the chat, as in a container, Ctrl-Z does
// nothing, whatever is being edited, however often.
func TestTerminalNoJobControl(t *testing.T) {
	x := newTerminalTest(t)
	bob := newChatter(t, x.server, "bob")
	bob.hear("logged in")
	ann := x.chat("ann", nil, "--name", "ann")
	ann.sees("logged in as ann")
	ann.presses("C-z", "C-z")
	ann.types("half")
	ann.presses("C-z")
	ann.types(" a line")
	ann.edits("ann> half a line")
	if modes := ann.modes(); !strings.Contains(modes, "-icanon") {
		t.Errorf("the terminal has the modes %s", modes)
	}
	ann.presses("Enter")
	bob.hear(": half a line")
	bob.typeLine("seen")
	ann.sees(": seen")

	// Another process has had the terminal while the chat was stopped.
	pid := ann.child()
	if err := errors.Join(syscall.Kill(pid, syscall.SIGSTOP), exec.Command("stty", "-F", ann.value("pane_tty"), "sane").Run()); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(pid, syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	ann.await("raw mode again", func() bool { return strings.Contains(ann.modes(), "-icanon") })
	ann.types("after")
	ann.edits("ann> after")
	ann.presses("Enter")
	bob.hear(": after")
	ann.presses("C-c")
	ann.ends("0")
}

// TestTerminalJobControl: at Ctrl-Z a shell gets the terminal back in its old state, and the chat
// continues with the edited line, also if it is one of several processes of a job.
func TestTerminalJobControl(t *testing.T) {
	if _, err := exec.LookPath("bash"); err != nil {
		t.Fatal(err)
	}
	for name, command := range map[string]string{"alone": "%s", "behind a script": "sh -c '%s; true'"} {
		t.Run(name, func(t *testing.T) {
			x := newTerminalTest(t)
			bob := newChatter(t, x.server, "bob")
			bob.hear("logged in")
			shell := x.pane("shell", "env", "-u", "NO_COLOR", "PS1=shell> ", "XDG_DATA_HOME="+x.home, "XDG_CONFIG_HOME="+x.home, "bash", "--norc", "-i")
			shell.edits("shell>")
			shell.types(fmt.Sprintf(command, "cim chat --name ann --route http://"+x.server.Route))
			shell.presses("Enter")
			shell.edits("ann>")
			shell.types("half")
			shell.edits("ann> half")
			for range 2 {
				shell.presses("C-z")
				shell.sees("Stopped")
				shell.edits("shell>")
				bob.typeLine("meanwhile")
				shell.types("clear; echo here")
				shell.presses("Enter")
				shell.await("the shell works", func() bool { return slices.Contains(shell.rows(), "here") })
				shell.types("fg")
				shell.presses("Enter")
				shell.sees(": meanwhile")
				shell.edits("ann> half")
			}
			shell.types(" a line")
			shell.presses("Enter")
			bob.hear(": half a line")
			shell.presses("C-d")
			shell.edits("shell>")
		})
	}
}
