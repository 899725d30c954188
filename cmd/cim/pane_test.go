package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// tmux is a tmux server of the test's own, without a user's configuration.
type tmux struct {
	t      *testing.T
	socket string
}

// newTmux skips the test where there is no tmux.
func newTmux(t *testing.T) *tmux {
	t.Helper()
	if _, err := exec.LookPath("tmux"); err != nil {
		t.Skip("tmux is not installed: apt-get install -y --no-install-recommends tmux")
	}
	folder, err := os.MkdirTemp("", "cim") // short: a socket's path has a bound
	if err != nil {
		t.Fatal(err)
	}
	x := &tmux{t: t, socket: filepath.Join(folder, "tmux")}
	server := exec.Command("tmux", "-u", "-D", "-S", x.socket, "-f", os.DevNull)
	server.Env = append(os.Environ(), "LC_ALL=C.UTF-8")
	server.SysProcAttr = endWithTest()
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if out, err := x.command("kill-server").CombinedOutput(); err != nil {
			t.Errorf("tmux kill-server: %v: %s", err, out)
		}
		_ = server.Wait() // the test ended it
		if err := os.RemoveAll(folder); err != nil {
			t.Error(err)
		}
	})
	x.until("tmux listens", func() bool { _, err := os.Stat(x.socket); return err == nil })
	return x
}

func (x *tmux) command(args ...string) *exec.Cmd {
	return exec.Command("tmux", append([]string{"-u", "-S", x.socket}, args...)...)
}

func (x *tmux) run(args ...string) string {
	x.t.Helper()
	cmd := x.command(args...)
	var fault bytes.Buffer
	cmd.Stderr = &fault
	out, err := cmd.Output()
	if err != nil {
		x.t.Fatalf("tmux %q: %v: %s", args, err, &fault)
	}
	return string(out)
}

// until waits for a condition, looking again and again up to a deadline.
func (x *tmux) until(what string, reached func() bool) {
	x.t.Helper()
	look := time.NewTicker(20 * time.Millisecond)
	defer look.Stop()
	for deadline := time.Now().Add(waitMax); !reached(); <-look.C {
		if time.Now().After(deadline) {
			x.t.Fatalf("not within %v: %s", waitMax, what)
		}
	}
}

// pane is one terminal with a command in it.
type pane struct {
	*tmux
	name string
}

// pane runs a command in a terminal of 80 columns and 24 rows, which stays when
// the command has ended.
func (x *tmux) pane(name string, command ...string) *pane {
	x.t.Helper()
	shell := []string{
		"new-session", "-d", "-s", name, "-x", "80", "-y", "24",
		"sh", "-c", `"$@"; echo "ended with $?$(stty -a | grep -o ' -echo ')"; read -r _`, "sh",
	}
	x.run(append(shell, command...)...)
	return &pane{x, name}
}

// types presses the keys of a text, presses those of tmux's names.
func (p *pane) types(text string) { p.t.Helper(); p.run("send-keys", "-t", p.name, "-l", text) }

func (p *pane) presses(keys ...string) {
	p.t.Helper()
	p.run(append([]string{"send-keys", "-t", p.name}, keys...)...)
}

// rows are the rows of the screen, wrapped lines joined, without empty ones at the end.
func (p *pane) rows() []string {
	p.t.Helper()
	return strings.Split(strings.TrimRight(p.run("capture-pane", "-p", "-J", "-t", p.name), " \n"), "\n")
}

// lastRow is the edited row.
func (p *pane) lastRow() string {
	rows := p.rows()
	return strings.TrimRight(rows[len(rows)-1], " ")
}

// sees waits until a row has want in it, and returns the row.
func (p *pane) sees(want string) string {
	p.t.Helper()
	var found string
	p.await(fmt.Sprintf("a row with %q", want), func() bool {
		for _, row := range p.rows() {
			if strings.Contains(row, want) {
				found = row
				return true
			}
		}
		return false
	})
	return found
}

// edits waits until the last row is want.
func (p *pane) edits(want string) {
	p.t.Helper()
	p.await(fmt.Sprintf("last row %q", want), func() bool { return p.lastRow() == want })
}

// await prints the screen if the awaited state does not come.
func (p *pane) await(what string, reached func() bool) {
	p.t.Helper()
	done := false
	defer func() {
		if !done {
			p.t.Logf("%s shows:\n%s", p.name, strings.Join(p.rows(), "\n"))
		}
	}()
	p.until(what, func() bool { done = reached(); return done })
}

// value is one of tmux's own values of the pane.
func (p *pane) value(value string) string {
	p.t.Helper()
	return strings.TrimSpace(p.run("display-message", "-p", "-t", p.name, "#{"+value+"}"))
}

// widen makes the terminal that many columns wide, and waits until the program in it can know: tmux
// signals it a while after it has wrapped its lines again.
func (p *pane) widen(columns string) {
	p.t.Helper()
	p.run("resize-window", "-t", p.name, "-x", columns, "-y", "24")
	terminal := p.value("pane_tty")
	p.until("the terminal is resized", func() bool {
		size, err := exec.Command("stty", "-F", terminal, "size").Output()
		return err == nil && strings.TrimSpace(string(size)) == "24 "+columns
	})
}

// ends waits until the command has ended with a status, which tmux itself does
// not always learn. The terminal must be as it was.
func (p *pane) ends(status string) {
	p.t.Helper()
	if row := p.sees("ended with "); row != "ended with "+status {
		p.t.Errorf("%s %s, want %s: %s", p.name, row, status, strings.Join(p.rows(), "\n"))
	}
}
