package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// terminalTest is a standalone, and a terminal with folders of its own.
type terminalTest struct {
	*tmux
	home   string
	server *serviceProcess
}

func newTerminalTest(t *testing.T) *terminalTest {
	t.Helper()
	return &terminalTest{newTmux(t), t.TempDir(), newStandalone(t)}
}

// chat runs cim chat in a terminal, with more variables and flags.
func (x *terminalTest) chat(name string, variables []string, flags ...string) *pane {
	x.t.Helper()
	command := append([]string{
		"env", "-u", "NO_COLOR", "XDG_DATA_HOME=" + x.home, "XDG_CONFIG_HOME=" + x.home,
	}, variables...)
	command = append(command, "cim", "chat", "--route", "http://"+x.server.Route)
	return x.pane(name, append(command, flags...)...)
}

// TestTerminalTyping types, edits and completes in a real terminal while
// messages come in.
func TestTerminalTyping(t *testing.T) {
	x := newTerminalTest(t)
	bob := newChatter(t, x.server, "bob")
	bob.hear("logged in")
	ann := x.chat("ann", nil, "--name", "ann")
	ann.sees("logged in as ann")
	ann.await("a new name", func() bool {
		ann.presses("C-u", "b", "o", "Tab")
		return ann.lastRow() == "ann> bob;;"
	})
	ann.presses("C-u")

	ann.types("half a 世界 line")
	ann.edits("ann> half a 世界 line")
	bob.typeLine("hello :beer: \x1b[2J\u202eann")
	ann.sees("): hello 🍺 \ufffd[2J\ufffdann")
	ann.edits("ann> half a 世界 line")
	ann.presses("Left", "Left", "Left", "Left", "Left", "Left")
	ann.types("👍")
	ann.edits("ann> half a 世👍界 line")
	if column := ann.value("cursor_x"); column != "16" { // behind four wide columns and twelve others
		t.Errorf("the cursor is in column %s", column)
	}
	ann.presses("Enter")
	bob.hear(": half a 世👍界 line")
	ann.sees("+ to everyone: delivered")

	ann.types("bo")
	ann.presses("Tab")
	ann.edits("ann> bob;;")
	ann.types("see :beers")
	ann.presses("Tab", "Enter")
	bob.hear(": see 🍻")
	ann.sees("+ to bob: received")

	ann.types(":a")
	ann.presses("Tab", "Tab")
	ann.sees(":again ")
	bob.typeLine("among candidates")
	ann.sees("among candidates")
	ann.presses("C-c")
	ann.presses("C-c")
	ann.presses("C-d")
	ann.ends("0")
	bob.typeLine(":q!")
	bob.leave()
}

// TestTerminalResize keeps a long line whole while the terminal becomes
// narrower and wider.
func TestTerminalResize(t *testing.T) {
	x := newTerminalTest(t)
	ann, bob := x.chat("ann", nil, "--name", "ann"), newChatter(t, x.server, "bob")
	ann.sees("logged in as ann")
	bob.hear("logged in")
	line := "ann> " + strings.TrimSpace(strings.Repeat("words ", 20))
	ann.types(strings.TrimPrefix(line, "ann> "))
	ann.edits(line) // characters typed while the width changes may leave a trace
	for i, width := range []string{"50", "100", "37"} {
		ann.widen(width)
		said := "said " + strings.Repeat("!", i+1) + "."
		bob.typeLine(said)
		ann.sees(said)
		ann.await("one whole line", func() bool {
			return strings.Count(strings.ReplaceAll(strings.Join(ann.rows(), ""), " ", ""), strings.ReplaceAll(line, " ", "")) == 1 &&
				strings.Count(strings.Join(ann.rows(), ""), "ann> ") == 1
		})
	}
	ann.presses("Enter")
	bob.hear(strings.TrimPrefix(line, "ann> "))
	ann.presses("C-d")
	ann.ends("0")
	bob.typeLine(":q!")
	bob.leave()
}

// TestTerminalReconnect kills the server under a terminal: lines typed meanwhile are sent when it
// is back, and lines typed before a restart of the chat can be recalled after it.
func TestTerminalReconnect(t *testing.T) {
	folder := t.TempDir()
	server, err := startStandalone(folder)
	if err != nil {
		t.Fatal(err)
	}
	x := &terminalTest{newTmux(t), t.TempDir(), server}
	ann := x.chat("ann", nil, "--name", "ann")
	ann.sees("logged in as ann")
	ann.types(":delay late 2")
	ann.presses("Enter")
	ann.types("half ")
	if err := server.kill(); err != nil {
		t.Fatal(err)
	}
	_ = server.cmd.Wait() // killed
	ann.sees("! connection lost, connecting again")
	ann.edits("ann! half")
	ann.types("a line")
	ann.presses("Enter")
	storeWhileAway(t, folder)
	again, err := startStandalone(folder, "--cim-port", portOf(server.CIM), "--route-port", portOf(server.Route))
	if err != nil {
		t.Fatal(err)
	}
	ann.sees("---- connected again")
	ann.await("two outcomes", func() bool {
		return strings.Count(strings.Join(ann.rows(), "\n"), ": delivered") == 2
	})
	ann.sees(" (while you were away): missed")
	if screen := strings.Join(ann.rows(), "\n"); strings.Index(screen, "---- connected again") > strings.Index(screen, "missed\n") {
		t.Errorf("what was missed is above the divider: %s", screen)
	}
	ann.edits("ann>")
	ann.types(":q!")
	ann.presses("Enter")
	ann.ends("0")

	ann = x.chat("again", nil, "--name", "ann")
	ann.sees("logged in as ann")
	ann.presses("C-r")
	ann.types("alf")
	ann.sees("bck-i-search: alf")
	ann.presses("Enter")
	ann.sees("+ to everyone: delivered")
	ann.types(":q half")
	ann.presses("Enter")
	ann.sees("2 found")
	if !strings.Contains(ann.run("capture-pane", "-p", "-e", "-t", ann.name), "\x1b[7mhalf\x1b[0m") {
		t.Errorf("what was found is not highlighted: %q", ann.run("capture-pane", "-p", "-e", "-t", ann.name))
	}
	ann.types("not sent")
	ann.presses("C-c")
	ann.presses("C-c")
	ann.ends("0")
	if err := again.stop(); err != nil {
		t.Error(err)
	}
}

// storeWhileAway stores something for ann while her chat cannot find the server, whose ports have changed.
func storeWhileAway(t *testing.T, folder string) {
	t.Helper()
	elsewhere, err := startStandalone(folder)
	if err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("cim", "send", "--route", "http://"+elsewhere.Route, "--name", "carl", "--to", "ann", "missed").CombinedOutput(); err != nil {
		t.Errorf("cim send: %v: %s", err, out)
	}
	if err := elsewhere.stop(); err != nil {
		t.Error(err)
	}
}

// TestTerminalReplaced ends a chat whose user logs in elsewhere, without
// sending the half line that was typed.
func TestTerminalReplaced(t *testing.T) {
	server := newStandalone(t, "--repeat-login", "replace")
	x := &terminalTest{newTmux(t), t.TempDir(), server}
	bob := newChatter(t, server, "bob")
	bob.hear("logged in")
	ann := x.chat("ann", nil, "--name", "ann")
	ann.sees("logged in as ann")
	ann.types("half")
	ann.edits("ann> half")
	again := newChatter(t, server, "ann")
	again.hear("logged in")
	ann.sees("cim: ann logged in elsewhere; this chat ends")
	ann.ends("1")
	again.typeLine("whole")
	if got := bob.hear(": "); !strings.HasSuffix(got, ": whole") {
		t.Errorf("bob hears %q", got)
	}
	for _, c := range []*chatter{bob, again} {
		c.typeLine(":q!")
		c.leave()
	}
}

// colour is an escape sequence for one.
var colour = regexp.MustCompile("\x1b\\[(3[0-9]|4[0-9]|38;5;[0-9]+)m")

// TestTerminalColours has colours unless NO_COLOR is set, and on a dumb
// terminal no escape sequence at all.
func TestTerminalColours(t *testing.T) {
	x := newTerminalTest(t)
	for name, variables := range map[string][]string{"colours": nil, "none": {"NO_COLOR=1"}} {
		p := x.chat(name, variables, "--name", name)
		p.sees("logged in as " + name)
		if has := colour.MatchString(p.run("capture-pane", "-p", "-e", "-t", p.name)); has != (variables == nil) {
			t.Errorf("%s: there are colours: %t", name, has)
		}
		p.types(":q!")
		p.presses("Enter")
		p.ends("0")
	}
	raw := filepath.Join(x.home, "raw")
	dumb := x.pane("dumb", "sh", "-c", "TERM=dumb exec cim chat --name dumb --history '' --route http://"+x.server.Route+" | tee "+raw+" >/dev/tty")
	dumb.sees("logged in as dumb")
	dumb.types(":q!")
	dumb.presses("Enter")
	dumb.ends("0")
	p := x.pane("dumb2", "sh", "-c", "read line; TERM=dumb exec cim chat --name dumb --history '' --route http://"+x.server.Route)
	p.run("pipe-pane", "-t", p.name, "cat >"+raw+"2")
	p.presses("Enter")
	p.sees("logged in as dumb")
	p.types("typed")
	p.presses("Enter")
	p.sees("+ to everyone: delivered")
	p.types(":q!")
	p.presses("Enter")
	p.ends("0")
	for _, name := range []string{raw, raw + "2"} {
		text, err := os.ReadFile(name)
		if err != nil || !strings.Contains(string(text), "logged in as dumb") || strings.Contains(string(text), "\x1b") {
			t.Errorf("on a dumb terminal it writes %q, %v", text, err)
		}
	}
}

// TestTerminalFirstUse starts a chat without a name: it asks for one, and keeps it.
func TestTerminalFirstUse(t *testing.T) {
	x := newTerminalTest(t)
	p := x.chat("first", nil)
	p.sees("What is your name?")
	p.types("cim-x")
	p.presses("Enter")
	p.sees("That cannot be a name")
	p.types("zhang san")
	p.presses("Enter")
	p.sees("Keep this name and route")
	p.presses("Enter")
	p.sees("Kept as context home")
	p.sees("logged in as zhang san")
	p.types(":q!")
	p.presses("Enter")
	p.ends("0")
	p = x.chat("second", nil)
	p.sees("logged in as zhang san")
	p.presses("C-d")
	p.ends("0")

	broken := x.chat("broken", []string{"XDG_CONFIG_HOME=/proc/none"})
	broken.sees("What is your name?")
	broken.types("ann")
	broken.presses("Enter")
	broken.sees("Keep this name and route")
	broken.presses("Enter")
	broken.sees("Not kept: ")
	broken.sees("logged in as ann")
	broken.presses("C-d")
	broken.ends("0")

	none := x.pane("none", "env", "XDG_CONFIG_HOME="+filepath.Join(x.home, "empty"), "cim", "chat", "--route", "http://"+x.server.Route)
	none.sees("What is your name?")
	none.presses("C-d")
	none.sees("cim: no answer")
	none.ends("1")
}

// TestTerminalLeaving: what other programs take for a command is asked about, and
// :quit quits.
func TestTerminalLeaving(t *testing.T) {
	x := newTerminalTest(t)
	bob := newChatter(t, x.server, "bob")
	bob.hear("logged in")
	ann := x.chat("ann", nil, "--name", "ann")
	ann.sees("logged in as ann")
	ann.types("exit")
	ann.presses("Enter")
	ann.sees(`not sent: "exit" would go to everyone`)
	ann.types("hi")
	ann.presses("Enter")
	ann.sees("delivered to 1 online")
	bob.hear("[all] ann (")
	ann.types(":help")
	ann.presses("Enter")
	ann.sees("id;;text or name;;text to one user")
	ann.types(":quit")
	ann.presses("Enter")
	ann.ends("0")
}
