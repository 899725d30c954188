package client

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"cim/proto"
)

// script is the client of docs/client.py as a process.
type script struct {
	t     *testing.T
	cmd   *exec.Cmd
	in    io.WriteCloser
	lines chan string // of its output; closed at its end
	ended chan error
	// faults is its standard error; read it after ended.
	faults strings.Builder
}

// startScript starts it as ann's client, with more variables of the environment.
func startScript(t *testing.T, f *fake, environ ...string) *script {
	t.Helper()
	python, err := exec.LookPath("python3")
	if err != nil {
		t.Skip("python3 is not installed: docs/client.py is not tested")
	}
	if exec.Command(python, "-c", "import asyncio; asyncio.timeout").Run() != nil {
		t.Skip("python3 is older than 3.11: docs/client.py is not tested")
	}
	ctx, cancel := context.WithCancel(t.Context())
	cmd := exec.CommandContext(ctx, python, "-X", "dev", "../docs/client.py", ann.Name, f.http.URL)
	cmd.Env = append(os.Environ(), environ...)
	s := &script{t: t, cmd: cmd, lines: make(chan string, 100), ended: make(chan error, 1)}
	cmd.Stderr = &s.faults
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if s.in, err = cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	read := make(chan struct{})
	go func() {
		defer close(read)
		defer close(s.lines)
		for in := bufio.NewScanner(out); in.Scan(); {
			s.lines <- in.Text()
		}
	}()
	go func() { <-read; s.ended <- cmd.Wait(); close(s.ended) }()
	t.Cleanup(func() {
		cancel()
		for range s.ended {
		}
		if t.Failed() {
			t.Log(s.faults.String())
		}
	})
	return s
}

// want waits for the next line, which must have these members.
func (s *script) want(members map[string]any) {
	s.t.Helper()
	line := await(s.t, s.lines)
	var got map[string]any
	if err := json.Unmarshal([]byte(line), &got); err != nil {
		s.t.Fatalf("line %q: %v", line, err)
	}
	for name, want := range members {
		if got[name] != want {
			s.t.Fatalf("line %s, want %q to be %v", line, name, want)
		}
	}
}

func (s *script) say(line string) {
	s.t.Helper()
	if _, err := io.WriteString(s.in, line+"\n"); err != nil {
		s.t.Fatal(err)
	}
}

// nextSend is the next frame that is no ping.
func (p *peer) nextSend() *proto.View {
	p.t.Helper()
	for {
		if v := p.read(); v.Command != proto.CommandPing {
			return v
		}
	}
}

// TestPython takes the client of docs/client.py through everything that a server may demand:
// duplicates, a move, a lost connection, a final end.
func TestPython(t *testing.T) {
	f := newFake(t, ticketOne)
	s := startScript(t, f)
	f.expect(proto.PathRegister)
	if a := f.expect(proto.PathLogin); a.body["client"] != 1.0 || a.body["ticket"] != nil {
		t.Errorf("first login %v", a.body)
	}
	p := f.takeLogin(proto.LoginAnswer{User: ann.ID, Heartbeat: 30})
	s.want(map[string]any{"state": "ready", "id": float64(ann.ID)})

	p.deliver(1<<63+1, "one")
	p.deliver(1<<63+1, "one")
	p.deliver(2, "two")
	s.want(map[string]any{"text": "one", "from": "7", "name": "ann", "offline": false})
	s.want(map[string]any{"text": "two", "id": 2.0, "sent": 0.0, "toAll": false})
	all := proto.MessageFrom(proto.CommandMessage, proto.User{ID: 7, Name: "ann"}, 3, []string{"a", "b"})
	all.IDs, all.ToAll, all.Sent = []proto.TextID{2, 99}, true, []proto.UnixMilli{5, 1796068800123} // the first came already
	p.write(proto.AppendDelivery(nil, proto.AppendBody(nil, all), ann.ID))
	s.want(map[string]any{"text": "b", "id": 99.0, "sent": 1796068800123.0, "toAll": true})
	s.say("9;;hi;;there")
	sent := p.nextSend()
	if sent.Command != proto.CommandSend || sent.Receiver != 9 || string(sent.Text) != "hi;;there" {
		t.Errorf("it sent %+v", sent)
	}

	f.now(func() { f.ticket = ticketTwo })
	p.write(proto.AppendMove(nil, proto.ReasonDraining))
	p.write(proto.AppendOutcome(nil, sent.MessageID, 5, proto.OutcomeStored, proto.CodeOffline))
	if line := await(t, s.lines); line != `["stored", 7000, 5]` {
		t.Errorf("outcome %s", line)
	}
	if a := f.expect(proto.PathLogin); a.body["ticket"] != ticketOne || a.body["move"] != 1.0 {
		t.Errorf("login of the move %v", a.body)
	}
	next := f.takeLogin(proto.LoginAnswer{User: ann.ID, Heartbeat: 30})
	next.deliver(3, "three")
	next.deliver(4, "four")
	p.deliver(3, "three")
	p.write(proto.AppendClose(nil, proto.ReasonReplaced))
	s.want(map[string]any{"text": "three"})
	s.want(map[string]any{"state": "ready"})
	s.want(map[string]any{"text": "four"})

	s.say("to all")
	if sent := next.nextSend(); sent.Receiver != 0 || string(sent.Text) != "to all" {
		t.Errorf("it sent %+v", sent)
	}
	next.close()
	lines := await(t, s.lines) + await(t, s.lines) // in either order
	if !strings.Contains(lines, `["unknown", 4000, 0]`) || !strings.Contains(lines, `"disconnected"`) {
		t.Errorf("a message whose connection broke: %s", lines)
	}
	if a := f.expect(proto.PathLogin); a.body["ticket"] != ticketTwo {
		t.Errorf("login after the loss %v", a.body)
	}
	p = f.takeLogin(proto.LoginAnswer{User: ann.ID, Heartbeat: 30})
	s.want(map[string]any{"state": "ready"})
	p.write(proto.AppendClose(nil, proto.ReasonReplaced))
	s.want(map[string]any{"state": "disconnected"})
	if err := await(t, s.ended); err == nil {
		t.Error("it ends well although its user is logged in elsewhere")
	}
}

// TestPythonToken shows the present token of a file with each request, and ends when a route
// refuses it.
func TestPythonToken(t *testing.T) {
	f := newFake(t, ticketOne)
	file := filepath.Join(t.TempDir(), "token")
	keep := func(token string) {
		t.Helper()
		if err := os.WriteFile(file, []byte(token+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	keep("first")
	s := startScript(t, f, "CIM_TOKEN_FILE="+file, "CIM_TOKEN=")
	for _, path := range []string{proto.PathRegister, proto.PathLogin} {
		if a := f.expect(path); a.auth != "Bearer first" {
			t.Errorf("%s shows %q", path, a.auth)
		}
	}
	p := f.takeLogin(proto.LoginAnswer{User: ann.ID, Heartbeat: 30})
	s.want(map[string]any{"state": "ready"})
	keep("second")
	f.now(func() { f.status, f.codes[proto.PathLogin] = http.StatusUnauthorized, proto.CodeInvalid })
	p.write(proto.AppendClose(nil, proto.ReasonExpired))
	s.want(map[string]any{"state": "disconnected"})
	if a := f.expect(proto.PathLogin); a.auth != "Bearer second" {
		t.Errorf("the login after the end shows %q", a.auth)
	}
	s.want(map[string]any{"state": "disconnected"})
	if err := await(t, s.ended); err == nil {
		t.Error("it ends well although its token is refused")
	}
	if !strings.Contains(s.faults.String(), "3000") {
		t.Errorf("it says %q", s.faults.String())
	}
}

// TestPythonGoodbye ends with its input, and says so.
func TestPythonGoodbye(t *testing.T) {
	f := newFake(t, ticketOne)
	s := startScript(t, f)
	f.takeLogin(proto.LoginAnswer{User: ann.ID, Heartbeat: 30})
	s.want(map[string]any{"state": "ready"})
	f.expect(proto.PathRegister)
	f.expect(proto.PathLogin)
	if err := s.in.Close(); err != nil {
		t.Fatal(err)
	}
	if bye := f.expect(proto.PathOffLine); bye.body["ticket"] != ticketOne || bye.body["msg"] != proto.GoodbyeMsg {
		t.Errorf("goodbye %v", bye.body)
	}
	if err := await(t, s.ended); err != nil {
		t.Errorf("it ended with %v", err)
	}
}

// TestPythonLines has lines that cannot be sent: each is answered, and the next one is read.
func TestPythonLines(t *testing.T) {
	f := newFake(t, ticketOne)
	s := startScript(t, f)
	f.expect(proto.PathRegister)
	p := f.takeLogin(proto.LoginAnswer{User: ann.ID, Heartbeat: 30})
	s.want(map[string]any{"state": "ready"})
	f.expect(proto.PathLogin)
	for _, bad := range []string{"\xff\xfe", "0;;x", "9223372036854775808;;x", strings.Repeat("x", proto.TextMax+1)} {
		s.say(bad)
		if line := await(t, s.lines); !strings.Contains(line, `{"error": `) {
			t.Errorf("line %.20q is answered %s", bad, line)
		}
	}
	f.now(func() { f.codes[proto.PathRegister] = proto.CodeAccountMismatch })
	s.say("nobody;;x")
	if a := f.expect(proto.PathRegister); a.body["userName"] != "nobody" || a.body["find"] != 1.0 {
		t.Errorf("of a name it asks %v", a.body)
	}
	if line := await(t, s.lines); !strings.Contains(line, `{"error": `) || !strings.Contains(line, "9100") {
		t.Errorf("an unknown name is answered %s", line)
	}
	f.now(func() { f.codes[proto.PathRegister] = proto.CodeSuccess })
	s.say("\n\ufeffann;;by name\r")
	f.expect(proto.PathRegister)
	if sent := p.nextSend(); sent.Receiver != ann.ID || string(sent.Text) != "by name" {
		t.Errorf("it sent %+v", sent)
	}
}

// TestPythonInterrupt ends by Ctrl-C while it waits for a line: it says goodbye,
// or that it could not.
func TestPythonInterrupt(t *testing.T) {
	for _, gone := range []bool{false, true} {
		f := newFake(t, ticketOne)
		s := startScript(t, f)
		f.takeLogin(proto.LoginAnswer{User: ann.ID, Heartbeat: 30})
		s.want(map[string]any{"state": "ready"})
		f.expect(proto.PathRegister)
		f.expect(proto.PathLogin)
		if gone {
			f.now(func() { f.codes[proto.PathOffLine] = proto.CodeFailure })
		}
		if err := s.cmd.Process.Signal(os.Interrupt); err != nil {
			t.Fatal(err)
		}
		f.expect(proto.PathOffLine)
		var exit *exec.ExitError
		if err := await(t, s.ended); !errors.As(err, &exit) || exit.ExitCode() != 130 {
			t.Errorf("route gone %t: it ended with %v, want status 130", gone, err)
		}
		if said := s.faults.String(); strings.Contains(said, "Traceback") || strings.Contains(said, "not logged off") != gone {
			t.Errorf("route gone %t: it said %s", gone, said)
		}
	}
}

// TestPythonUsage passes a route that is no URL.
func TestPythonUsage(t *testing.T) {
	python, err := exec.LookPath("python3")
	if err != nil {
		t.Skip("python3 is not installed: docs/client.py is not tested")
	}
	out, err := exec.CommandContext(t.Context(), python, "../docs/client.py", "ann", "localhost").CombinedOutput()
	if said := string(out); err == nil || !strings.HasPrefix(said, "client.py: ") || strings.Contains(said, "Traceback") {
		t.Errorf("%v: it said %s", err, said)
	}
}

// TestPythonTokenFile has files that no token can be read from: the error names the file
// and does not blame the routes.
func TestPythonTokenFile(t *testing.T) {
	python, err := exec.LookPath("python3")
	if err != nil {
		t.Skip("python3 is not installed: docs/client.py is not tested")
	}
	for name, text := range map[string]string{"missing": "", "bytes": "\xff\xfe", "lines": "one\ntwo\n"} {
		file := filepath.Join(t.TempDir(), name)
		if text != "" {
			if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		cmd := exec.CommandContext(t.Context(), python, "../docs/client.py", "ann", "http://127.0.0.1:1")
		cmd.Env = append(os.Environ(), "CIM_TOKEN=", "CIM_TOKEN_FILE="+file)
		out, err := cmd.CombinedOutput()
		if said := string(out); err == nil || !strings.HasPrefix(said, "client.py: ") || !strings.Contains(said, file) {
			t.Errorf("%s: %v, it said %s", name, err, said)
		}
	}
}

// TestPythonLength keeps docs/client.py as short as docs/clients.md says.
func TestPythonLength(t *testing.T) {
	text, err := os.ReadFile("../docs/client.py")
	if err != nil {
		t.Fatal(err)
	}
	if lines := strings.Count(string(text), "\n"); lines > 225 {
		t.Errorf("%d lines, want some 220", lines)
	}
}
