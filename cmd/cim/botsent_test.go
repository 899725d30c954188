package main

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"cim/client"
	"cim/proto"
)

// TestListenSent: a stored message has the time at which it was sent, also after an earlier
// listener has put it back.
func TestListenSent(t *testing.T) {
	s := newStandalone(t)
	route := "http://" + s.Route
	newBot(t, route, "listen", "--name", "bob", "--timeout", "1ms").end(0) // registers bob
	var from, to [3]time.Time
	for i := range from {
		from[i] = time.Now().Truncate(time.Millisecond)
		sendText(t, route, "bob", fmt.Sprint(i), "stored")
		to[i] = time.Now()
	}
	for i := range from {
		listener := newBot(t, route, "listen", "--name", "bob", "--json", "-n", "1")
		line := listener.line()
		listener.end(0)
		at, err := time.Parse(time.RFC3339, strings.Trim(field(line, "time"), `"`))
		if err != nil || at.Before(from[i]) || at.After(to[i]) || field(line, "text") != fmt.Sprintf("%q", fmt.Sprint(i)) {
			t.Errorf("%s: %v, sent between %v and %v", line, err, from[i].UTC(), to[i].UTC())
		}
		if strings.Contains(line, "timeOf") {
			t.Errorf("%s: the time is that of sending", line)
		}
	}
}

// TestListenToAll: a group message is marked, and is never put back as a private one.
func TestListenToAll(t *testing.T) {
	s := newStandalone(t)
	route := "http://" + s.Route
	listener := newBot(t, route, "listen", "--name", "bob", "--json")
	listener.hear("listening as bob")
	sendText(t, route, "all", "one", "delivered")
	sendText(t, route, "bob", "two", "received")
	if line := listener.line(); field(line, "to") != `"all"` || field(line, "text") != `"one"` {
		t.Errorf("it hears %s, want one to all", line)
	}
	if line := listener.line(); strings.Contains(line, `"to":`) || field(line, "text") != `"two"` {
		t.Errorf("it hears %s, want two to bob alone", line)
	}
	if err := listener.out.Close(); err != nil {
		t.Fatal(err)
	}
	sendText(t, route, "all", "three", "delivered")
	if said := listener.end(0); !strings.Contains(said, "not stored since they went to all: 1 messages") || strings.Contains(said, "stored again") {
		t.Errorf("it says %q", said)
	}
	sendText(t, route, "bob", "four", "stored")
	listener = newBot(t, route, "listen", "--name", "bob", "--json", "-n", "1")
	if line := listener.line(); field(line, "text") != `"four"` {
		t.Errorf("the next one hears %s", line)
	}
	listener.end(0)
}

// TestListenKilled kills a listener while it reads a box, without a goodbye: each message arrives,
// in order, at one of two listeners, or around the moment of the kill at both.
func TestListenKilled(t *testing.T) {
	const messages, read = 900, 300
	s := newStandalone(t)
	route := "http://" + s.Route
	sender := newBot(t, route, "send", "--name", "robot", "--create", "--to", "bob")
	for i := range messages {
		sender.typeLine(fmt.Sprintf("%d %s\n", i, strings.Repeat(".", 300))) // so that the pipe does not hold all
	}
	if err := sender.in.Close(); err != nil {
		t.Fatal(err)
	}
	sender.end(0)
	first := newBot(t, route, "listen", "--name", "bob", "--json")
	came := map[string]bool{}
	for range read {
		came[field(first.line(), "text")] = true
	}
	if err := first.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	for line := first.line(); strings.HasSuffix(line, "}"); line = first.line() {
		came[field(line, "text")] = true
	}
	first.end(-1)
	second := newBot(t, route, "listen", "--name", "bob", "--json")
	for last := -1; last < messages-1; {
		var text int
		line := second.line()
		if _, err := fmt.Sscanf(field(line, "text"), `"%d `, &text); err != nil || text <= last {
			t.Fatalf("behind %d comes %s", last, line)
		}
		last = text
		came[field(line, "text")] = true
	}
	second.interrupt()
	second.end(exitInterrupted)
	if len(came) != messages {
		t.Errorf("%d of %d messages came", len(came), messages)
	}
}

// TestReceivedLine: a message has the time at which it was sent, with the day if that is another
// one, or else the time of its arrival.
func TestReceivedLine(t *testing.T) {
	now := time.Date(2026, 11, 30, 20, 0, 0, 0, time.UTC)
	for want, m := range map[string]client.Message{
		"20:00:00 ann (5): hi":                                  {},
		"19:59:58 ann (5): hi":                                  {Sent: now.Add(-2 * time.Second)},
		"19:59:58 [all] ann (5): hi":                            {Sent: now.Add(-2 * time.Second), ToAll: true},
		"2026-11-29 20:00:01 ann (5) (while you were away): hi": {Sent: now.Add(-86399 * time.Second), Offline: true},
		"2025-11-30 20:00:00 ann (5) (while you were away): hi": {Sent: now.AddDate(-1, 0, 0), Offline: true},
		"20:00:00 ann (5) (while you were away): hi":            {Offline: true},
	} {
		m.Sender, m.Text = proto.User{ID: 5, Name: "ann"}, "hi"
		if got := receivedLine(m, now); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

// TestByteOrderMark: a byte order mark is no part of a line, and no line alone.
func TestByteOrderMark(t *testing.T) {
	l := readLines(t.Context(), strings.NewReader("\ufeffone\r\n\ufefftwo\n\ufeff\n\na\ufeffb\n\ufeff"))
	var got []string
	for line := range l.lines {
		got = append(got, fmt.Sprint(line.number, line.text))
	}
	if want := []string{"1one", "2two", "4", "5a\ufeffb"}; strings.Join(got, "|") != strings.Join(want, "|") {
		t.Errorf("lines %q, want %q", got, want)
	}
	if line := <-oneLine("\ufeffhi").lines; line.text != "hi" {
		t.Errorf("%q", line.text)
	}
	if line := newSendLine(1, "\xff\xfeh\x00"); line.fault == nil || !strings.Contains(line.fault.Error(), "UTF-16") {
		t.Errorf("%v", line.fault)
	}
}
