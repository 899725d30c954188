package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"
)

// bot is a running cim send or cim listen, as a script has it.
type bot struct {
	t     *testing.T
	cmd   *exec.Cmd
	in    io.WriteCloser
	out   io.ReadCloser
	read  *bufio.Reader // of out
	lines chan string   // lines of standard error; closed at its end
}

func newBot(t *testing.T, route string, args ...string) *bot {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), lifeMax)
	b := &bot{t: t, lines: make(chan string, 10_000)}
	b.cmd = exec.CommandContext(ctx, "cim", append(args, "--route", route)...)
	var faults [3]error
	b.in, faults[0] = b.cmd.StdinPipe()
	b.out, faults[1] = b.cmd.StdoutPipe()
	said, err := b.cmd.StderrPipe()
	if err := errors.Join(faults[0], faults[1], err, b.cmd.Start()); err != nil {
		t.Fatal(err)
	}
	b.read = bufio.NewReader(b.out)
	t.Cleanup(func() {
		cancel()
		for range b.lines { // until it has read the last
		}
	})
	go func() {
		defer close(b.lines)
		for scanner := bufio.NewScanner(said); scanner.Scan(); {
			t.Logf("%s says: %s", args[0], scanner.Text())
			b.lines <- scanner.Text()
		}
	}()
	return b
}

// hear waits for a line of standard error with want.
func (b *bot) hear(want string) {
	b.t.Helper()
	timeout := time.NewTimer(waitMax)
	defer timeout.Stop()
	for {
		select {
		case line, open := <-b.lines:
			if strings.Contains(line, want) {
				return
			}
			if !open {
				b.t.Fatalf("ended without %q", want)
			}
		case <-timeout.C:
			b.t.Fatalf("no %q within %v", want, waitMax)
		}
	}
}

// line reads a line of standard output, "" at its end.
func (b *bot) line() string {
	b.t.Helper()
	line, err := b.read.ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		b.t.Fatal(err)
	}
	return strings.TrimSuffix(line, "\n")
}

// typeLine writes to standard input.
func (b *bot) typeLine(text string) {
	b.t.Helper()
	if _, err := io.WriteString(b.in, text); err != nil {
		b.t.Fatal(err)
	}
}

// end waits until the process has ended with a status, and returns its later output.
func (b *bot) end(status int) string {
	b.t.Helper()
	var said strings.Builder
	for line := range b.lines {
		said.WriteString(line + "\n")
	}
	if err := b.cmd.Wait(); b.cmd.ProcessState.ExitCode() != status {
		b.t.Errorf("%v, want exit status %d", err, status)
	}
	return said.String()
}

func (b *bot) interrupt() {
	b.t.Helper()
	if err := b.cmd.Process.Signal(os.Interrupt); err != nil {
		b.t.Fatal(err)
	}
}

// sendText sends a text, and checks the outcome; "": any but a failure.
func sendText(t *testing.T, route, to, text, outcome string) {
	t.Helper()
	b := newBot(t, route, "send", "--json", "--name", "robot", "--create", "--to", to, text)
	if line := b.line(); !strings.Contains(line, `"outcome":"`+outcome) {
		t.Errorf("%s to %s: %s, want %s", text, to, line, outcome)
	}
	b.end(0)
}

// field is what stands in a line of JSON behind a name, up to the next comma.
func field(line, name string) string {
	_, rest, _ := strings.Cut(line, `"`+name+`":`)
	value, _, _ := strings.Cut(rest, ",")
	return value
}

// TestListenPipe ends a listener whose reader goes away. The last messages are there for the next
// listener, with the ids that the senders saw.
func TestListenPipe(t *testing.T) {
	s := newStandalone(t)
	route := "http://" + s.Route
	listener := newBot(t, route, "listen", "--name", "bob", "--json")
	listener.hear("listening as bob")
	sender := newBot(t, route, "send", "--name", "robot", "--create", "--to", "bob", "--json", "one")
	if sent, heard := field(sender.line(), "id"), field(listener.line(), "id"); sent != heard || len(sent) < 3 {
		t.Errorf("sent as %s, heard as %s", sent, heard)
	}
	sender.end(0)
	if err := listener.out.Close(); err != nil {
		t.Fatal(err)
	}
	sendText(t, route, "bob", "two", "stored") // the listener does not acknowledge what it could not write
	if said := listener.end(0); strings.Contains(said, "stored") {
		t.Errorf("it says %q", said)
	}
	listener = newBot(t, route, "listen", "--name", "bob", "--json", "-n", "1")
	if line := listener.line(); !strings.Contains(line, `"userName":"robot"},"text":"two","offline":true`) {
		t.Errorf("the next one hears %s", line)
	}
	listener.end(0)
}

// TestListenInterrupt says goodbye, so the next message is stored at once.
func TestListenInterrupt(t *testing.T) {
	s := newStandalone(t)
	route := "http://" + s.Route
	listener := newBot(t, route, "listen", "--name", "bob", "--json")
	listener.hear("listening as bob")
	sendText(t, route, "bob", "one", "received")
	listener.interrupt()
	if line := listener.line(); !strings.Contains(line, `"text":"one"`) {
		t.Errorf("it prints %q", line)
	}
	if said := listener.end(exitInterrupted); said != "cim: interrupted\n" {
		t.Errorf("it says %q", said)
	}
	sendText(t, route, "bob", "two", "stored")
}

// TestListenUnread interrupts a listener whose output is not read: it ends soon, and what it could
// not print is there for the next one.
func TestListenUnread(t *testing.T) {
	const messages = 6
	s := newStandalone(t)
	route := "http://" + s.Route
	listener := newBot(t, route, "listen", "--name", "bob", "--json")
	listener.hear("listening as bob")
	for i := range messages { // more than a pipe holds
		sendText(t, route, "bob", fmt.Sprint(i)+strings.Repeat(".", 30_000), "") // received, or stored
	}
	listener.interrupt()
	interrupted := time.Now()
	for _, want := range []string{"cim: standard output: it is not read", "cim: interrupted"} {
		listener.hear(want)
	}
	if took := time.Since(interrupted); took > listenCloseMax/2 {
		t.Errorf("it ends after %v", took)
	}
	for range listener.lines { // until it has ended
	}
	printed := 0
	for line := listener.line(); strings.HasSuffix(line, "}"); line = listener.line() {
		printed++
	}
	listener.end(exitInterrupted)
	if printed == 0 || printed == messages {
		t.Errorf("%d of %d messages were printed, want some", printed, messages)
	}
	listener = newBot(t, route, "listen", "--name", "bob", "--json", "-n", fmt.Sprint(messages-printed))
	for i := printed; i < messages; i++ {
		if line := listener.line(); !strings.HasPrefix(field(line, "text"), fmt.Sprintf(`"%d.`, i)) {
			t.Errorf("the next one hears %.150s, want message %d", line, i)
		}
	}
	listener.end(0)
}

// TestListenReplaced ends a listener whose user logs in elsewhere.
func TestListenReplaced(t *testing.T) {
	s := newStandalone(t, "--repeat-login", "replace")
	first := newBot(t, "http://"+s.Route, "listen", "--name", "bob")
	first.hear("listening as bob")
	second := newBot(t, "http://"+s.Route, "listen", "--name", "bob")
	second.hear("listening as bob")
	if said := first.end(exitFailure); said != "cim: bob has logged in elsewhere, which ends this session\n" {
		t.Errorf("it says %q", said)
	}
	second.interrupt()
	second.end(exitInterrupted)
}

// TestListenReconnect restarts the server under a listener, which reports it and gets the messages
// stored meanwhile.
func TestListenReconnect(t *testing.T) {
	folder := t.TempDir()
	s, err := startStandalone(folder)
	if err != nil {
		t.Fatal(err)
	}
	route := "http://" + s.Route
	listener := newBot(t, route, "listen", "--name", "bob", "-n", "1")
	listener.hear("listening as bob")
	if err := s.stop(); err != nil {
		t.Fatal(err)
	}
	listener.hear("connection lost, connecting again")
	again, err := startStandalone(folder, "--cim-port", portOf(s.CIM), "--route-port", portOf(s.Route))
	if err != nil {
		t.Fatal(err)
	}
	listener.hear("connected again")
	sendText(t, route, "bob", "one", "received")
	if line := listener.line(); !strings.HasSuffix(line, "): one") {
		t.Errorf("it prints %q", line)
	}
	listener.end(0)
	if err := again.stop(); err != nil {
		t.Error(err)
	}
}

// TestSendBox sends one message more than a box takes, faster than they go out: all but the last
// are stored, in order and under the printed ids.
func TestSendBox(t *testing.T) {
	const boxMax = 1000
	s := newStandalone(t)
	route := "http://" + s.Route
	sender := newBot(t, route, "send", "--name", "robot", "--create", "--to", "bob", "--json")
	for i := range boxMax + 1 {
		sender.typeLine(fmt.Sprintln(i))
	}
	if err := sender.in.Close(); err != nil {
		t.Fatal(err)
	}
	sent := make([]string, boxMax)
	for i := range sent {
		sent[i] = sender.line()
	}
	want := `{"line":1001,"outcome":"failed","code":"9200","error":"code 9200: the message could not be stored: too many may wait for the receiver already"}`
	if line := sender.line(); line != want {
		t.Errorf("one too many: %s, want %s", line, want)
	}
	sender.end(exitUndelivered)
	listener := newBot(t, route, "listen", "--name", "bob", "--json", "-n", "1000")
	for i := range boxMax {
		line := listener.line()
		if field(line, "text") != fmt.Sprintf(`"%d"`, i) || field(line, "id") != field(sent[i], "id") {
			t.Fatalf("line %d is %s, sent as %s", i, line, sent[i])
		}
	}
	listener.end(0)
}

// TestSendInterrupt sends the lines that it has read.
func TestSendInterrupt(t *testing.T) {
	s := newStandalone(t)
	sender := newBot(t, "http://"+s.Route, "send", "--name", "robot", "--create", "--to", "bob", "--json")
	sender.typeLine("one\ntw")
	if line := sender.line(); field(line, "outcome") != `"stored"` {
		t.Errorf("it prints %s", line)
	}
	sender.interrupt()
	if said := sender.end(exitInterrupted); !strings.Contains(said, "cim: interrupted\ncim: 1 messages: ") {
		t.Errorf("it says %q", said)
	}
}

// flaky is a route with the original's form of answers. It knows every name, and gives messages the
// answers that a test sets, the last one again and again.
type flaky struct {
	closes bool // each connection after one answer

	mu      sync.Mutex
	answers []string // "": the connection ends without one
	asked   int
}

func (f *flaky) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if f.closes {
		w.Header().Set("Connection", "close")
	}
	if r.URL.Path == "/registerAccount" {
		_, _ = io.WriteString(w, `{"code":"9000","dataBody":{"userId":7,"userName":"x"}}`)
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.asked++
	code := f.answers[0]
	if len(f.answers) > 1 {
		f.answers = f.answers[1:]
	}
	if code == "" {
		panic(http.ErrAbortHandler)
	}
	_, _ = fmt.Fprintf(w, `{"code":"%s","message":"m","dataBody":null}`, code)
}

// TestSendFaults walks through what a route can do to messages.
func TestSendFaults(t *testing.T) {
	for name, c := range map[string]struct {
		answers []string
		lines   string
		status  int
		out     []string
		said    string // in standard error
		asked   int    // requests with messages
	}{
		"busy, then not": {[]string{"6000", "6000", "9000"}, "a\n", 0, []string{"delivered"}, "", 3},
		"busy":           {[]string{"6000"}, "a\n", exitUndelivered, []string{"busy"}, "1 messages: 1 neither", sendTries},
		"unknown":        {[]string{"", "9000"}, "a\nb\n", exitUnknown, []string{"unknown", "delivered"}, "2 messages: 0 neither delivered nor stored, 1 unknown", 2},
		"failed":         {[]string{"4000", "7000"}, "a\nb\n", exitUndelivered, []string{"failed", "stored"}, "2 messages: 1 neither", 2},
		"both":           {[]string{"4000", ""}, "a\nb\n", exitUnknown, []string{"failed", "unknown"}, "2 messages: 1 neither delivered nor stored, 1 unknown", 2},
		"no batches":     {[]string{"9000"}, "a\nb\nc\n", 0, []string{"delivered", "delivered", "delivered"}, "", 3},
		"no such user":   {[]string{"9000", "9100"}, "a\nb\n", exitFailure, []string{"delivered"}, "line 2 was not sent, nor the lines after it: no account has the id 7", 2},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := &flaky{answers: c.answers}
			route := httptest.NewServer(f)
			defer route.Close()
			sender := newBot(t, route.URL, "send", "--name", "robot", "--to", "7", "--json")
			sender.typeLine(c.lines)
			if err := sender.in.Close(); err != nil {
				t.Fatal(err)
			}
			for i, outcome := range c.out {
				if line := sender.line(); field(line, "line") != fmt.Sprint(i+1) || !strings.Contains(line, `"outcome":"`+outcome+`"`) {
					t.Errorf("line %d: %s, want %s", i+1, line, outcome)
				}
			}
			if line := sender.line(); line != "" {
				t.Errorf("one line more: %s", line)
			}
			if said := sender.end(c.status); !strings.Contains(said, c.said) || c.said == "" && said != "" {
				t.Errorf("it says %q, want %q", said, c.said)
			}
			f.mu.Lock()
			defer f.mu.Unlock()
			if f.asked != c.asked {
				t.Errorf("%d requests, want %d", f.asked, c.asked)
			}
		})
	}
}

// TestSendRouteGone ends a sender whose route goes away: the rest is not sent, and the line is
// named.
func TestSendRouteGone(t *testing.T) {
	t.Parallel()
	route := httptest.NewServer(&flaky{closes: true, answers: []string{"9000"}})
	sender := newBot(t, route.URL, "send", "--name", "robot", "--to", "7", "--json")
	sender.typeLine("one\n")
	sender.line()
	route.Close()
	sender.typeLine("two\nthree\n")
	said := sender.end(exitFailure)
	if !strings.Contains(said, "cim: line 2 was not sent, nor what is behind it: ") || !strings.Contains(said, "1 messages: 0 neither") {
		t.Errorf("it says %q", said)
	}
}
