package main

import (
	"errors"
	"os"
	"os/exec"
	"strings"
	"testing"
)

// idOf is the id in "... name (id) ...".
func idOf(line string) string {
	_, rest, _ := strings.Cut(line, "(")
	id, _, _ := strings.Cut(rest, ")")
	return id
}

// TestChat lets two users talk through the real binary: to everyone, to one, and to one who is away
// and comes back.
func TestChat(t *testing.T) {
	s := newStandalone(t)
	ann, bob := newChatter(t, s, "ann"), newChatter(t, s, "bob")
	annID, bobID := idOf(ann.hear("logged in as ann")), idOf(bob.hear("logged in as bob"))

	for online := ""; online != "2 online"; { // soon after both have logged in
		ann.typeLine(":olu")
		online = ann.hear(" online")
	}
	ann.typeLine("hello, everyone")
	bob.hear("ann (" + annID + "): hello, everyone")
	bob.typeLine(annID + ";;hello, ann")
	ann.hear("bob (" + bobID + "): hello, ann")

	bob.typeLine(":q!")
	bob.leave()
	ann.typeLine(bobID + ";;where are you?")
	ann.hear("~ to " + bobID + ": not received yet, kept for later")
	bob = newChatter(t, s, "bob")
	bob.hear("ann (" + annID + ") (while you were away): where are you?")

	if err := bob.in.Close(); err != nil { // the end of the input is an end as well
		t.Fatal(err)
	}
	bob.leave()
	ann.typeLine(":q!")
	ann.leave()
}

// TestChatUserID logs in with a given id.
func TestChatUserID(t *testing.T) {
	s := newStandalone(t)
	ann := newChatter(t, s, "ann")
	id := idOf(ann.hear("logged in as ann"))
	ann.typeLine(":q!")
	ann.leave()
	ann = newChatter(t, s, "ann", "--user-id", id, "--heartbeat", "1s", "--reconnects", "3")
	if again := idOf(ann.hear("logged in as ann")); again != id {
		t.Errorf("logged in with the id %s, want %s", again, id)
	}
	ann.typeLine(":q!")
	ann.leave()
}

// TestChatTwice refuses a second login of a connected user.
func TestChatTwice(t *testing.T) {
	s := newStandalone(t)
	ann := newChatter(t, s, "ann")
	ann.hear("logged in")
	again := newChatter(t, s, "ann")
	again.fail("cim: ann is already logged in elsewhere\n")
	ann.typeLine(":q!")
	ann.leave()
}

// TestChatReplaced ends a chat whose user logs in elsewhere, with one line.
func TestChatReplaced(t *testing.T) {
	s := newStandalone(t, "--repeat-login", "replace")
	ann := newChatter(t, s, "ann")
	ann.hear("logged in")
	again := newChatter(t, s, "ann")
	again.hear("logged in")
	ann.fail("cim: ann logged in elsewhere; this chat ends\n")
	again.typeLine(":q!")
	again.leave()
}

// TestKicked: a chat and a listener show that an operator has ended them, and the operator learns
// which user has no session.
func TestKicked(t *testing.T) {
	s := newStandalone(t)
	ann, bob := newChatter(t, s, "ann"), newBot(t, "http://"+s.Route, "listen", "--name", "bob")
	ann.hear("logged in")
	bob.hear("listening as bob")
	kick := func(whom string) string {
		cmd := exec.Command("cim", "admin", "kick", whom, "--admin", "http://"+s.Admin)
		said, err := cmd.CombinedOutput()
		if ended := (*exec.ExitError)(nil); err != nil && !errors.As(err, &ended) {
			t.Fatal(err)
		}
		return string(said)
	}
	for whom, want := range map[string]string{
		"ann": "kicked user ", "bob": "kicked user ",
		"carl": `cim: "carl" has no session at the servers that have answered; a client of the original is found by its id only`,
		"42":   "cim: user 42 has no session at the servers that have answered\n",
	} {
		if said := kick(whom); !strings.HasPrefix(said, want) {
			t.Errorf("kick %s: %q, want %q", whom, said, want)
		}
	}
	ann.fail("cim: an operator has ended the session of ann; this chat ends\n")
	if said := bob.end(exitFailure); said != "cim: an operator has ended the session of bob\n" {
		t.Errorf("standard error: %q", said)
	}
}

// TestChatAway ends a chat whose server is gone, in each way, without a message.
func TestChatAway(t *testing.T) {
	for name, leave := range map[string]func(*chatter) error{
		"command":   func(c *chatter) error { c.typeLine(":q!"); return nil },
		"end":       func(c *chatter) error { return c.in.Close() },
		"interrupt": func(c *chatter) error { return c.cmd.Process.Signal(os.Interrupt) },
	} {
		t.Run(name, func(t *testing.T) {
			s, err := startStandalone(t.TempDir())
			if err != nil {
				t.Fatal(err)
			}
			ann := newChatter(t, s, "ann")
			ann.hear("logged in")
			if err := s.stop(); err != nil {
				t.Fatal(err)
			}
			ann.hear("connection lost")
			if err := leave(ann); err != nil {
				t.Fatal(err)
			}
			for line := range ann.lines {
				t.Errorf("the chat ends with %q", line)
			}
			ann.leave()
			if said := ann.stderrText(); said != "" {
				t.Errorf("standard error: %q", said)
			}
		})
	}
}

// TestChatUnknownUser writes to an id without an account.
func TestChatUnknownUser(t *testing.T) {
	ann := newChatter(t, newStandalone(t), "ann")
	ann.typeLine("1;;who are you?")
	ann.hear("! to 1: not sent: no such user")
	ann.typeLine(":q! ")
	ann.fail("cim: lines that were not done, or not for certain: 1\n")
}

// TestChatReconnect restarts the server under a chat, on the same ports and
// data: the chat comes back.
func TestChatReconnect(t *testing.T) {
	folder := t.TempDir()
	s, err := startStandalone(folder)
	if err != nil {
		t.Fatal(err)
	}
	ann := newChatter(t, s, "ann")
	ann.hear("logged in")
	if err := s.stop(); err != nil {
		t.Fatal(err)
	}
	ann.hear("connection lost")
	again, err := startStandalone(folder, "--cim-port", portOf(s.CIM), "--route-port", portOf(s.Route))
	if err != nil {
		t.Fatal(err)
	}
	ann.hear("connected again")
	ann.typeLine(":olu")
	ann.hear("1 online")
	ann.typeLine(":q!")
	ann.leave()
	if err := again.stop(); err != nil {
		t.Error(err)
	}
}
