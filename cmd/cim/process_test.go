package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"cim/loadgen"
)

// raceOptions spare each process a second of waiting for late reports of the
// race detector at its end.
const raceOptions = "atexit_sleep_ms=10"

// TestMain makes the test binary the command cim as well, so that the tests
// run real processes.
func TestMain(m *testing.M) {
	if err := os.Setenv("GORACE", raceOptions); err != nil {
		panic(err)
	}
	testscript.Main(m, map[string]func(){"cim": main})
}

const (
	// waitMax bounds every wait of a test.
	waitMax = 30 * time.Second
	// lifeMax bounds a process that a test starts.
	lifeMax = 5 * time.Minute
)

// serviceProcess is a running cim standalone, or cim server.
type serviceProcess struct {
	addresses
	cmd *exec.Cmd
	log *lockedBuffer
}

// lockedBuffer takes a log that is still being written.
type lockedBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

// startStandalone starts cim standalone in folder with free ports, and returns
// when it has said that it is ready.
func startStandalone(folder string, args ...string) (*serviceProcess, error) {
	return startService(append([]string{
		"standalone", "--data", filepath.Join(folder, "data"),
		"--cim-port", "0", "--http-port", "0", "--route-port", "0", "--admin-port", "0",
	}, args...)...)
}

// startService starts a command that prints its addresses.
func startService(args ...string) (*serviceProcess, error) {
	s := &serviceProcess{cmd: exec.Command("cim", args...), log: &lockedBuffer{}}
	s.cmd.SysProcAttr = endWithTest()
	s.cmd.Stderr = s.log
	out, err := s.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := s.cmd.Start(); err != nil {
		return nil, err
	}
	if err := s.readAddresses(out); err != nil {
		return nil, errors.Join(err, s.kill())
	}
	return s, nil
}

func (s *serviceProcess) readAddresses(out io.Reader) error {
	timeout := time.AfterFunc(waitMax, func() { _ = s.kill() }) // then the pipe ends
	defer timeout.Stop()
	line, err := bufio.NewReader(out).ReadBytes('\n')
	if err != nil {
		return fmt.Errorf("no line of addresses: %w; log:\n%s", err, s.log)
	}
	return json.Unmarshal(line, &s.addresses)
}

// stop ends the process as an operator does, and returns how it ended.
func (s *serviceProcess) stop() error {
	if err := s.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		return err
	}
	return s.wait()
}

func (s *serviceProcess) wait() error {
	timeout := time.AfterFunc(waitMax, func() { _ = s.kill() })
	defer timeout.Stop()
	if err := s.cmd.Wait(); err != nil {
		return fmt.Errorf("%s: %w; log:\n%s", s.cmd, err, s.log)
	}
	return nil
}

func (s *serviceProcess) kill() error { return s.cmd.Process.Kill() }

func newStandalone(t *testing.T, args ...string) *serviceProcess {
	t.Helper()
	s, err := startStandalone(t.TempDir(), args...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.stop(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// portOf is the port of an address that a listener has.
func portOf(address string) string {
	_, port, err := net.SplitHostPort(address)
	if err != nil {
		panic(err)
	}
	return port
}

// TestAdvertised: clients are sent to the host that is advertised, the rest is
// where it listens.
func TestAdvertised(t *testing.T) {
	s := newStandalone(t, "--advertise", "127.0.0.2")
	if !strings.HasPrefix(s.CIM, "127.0.0.2:") {
		t.Errorf("clients are sent to %s", s.CIM)
	}
	for _, url := range []string{"http://" + s.Route + "/onlineUser", "http://" + s.Admin + "/livez"} {
		response, err := http.Get(url)
		if err != nil {
			t.Fatal(err)
		}
		response.Body.Close()
		if response.StatusCode != http.StatusOK {
			t.Errorf("%s: HTTP %d", url, response.StatusCode)
		}
	}
}

// chatter is a running cim chat.
type chatter struct {
	t     *testing.T
	name  string
	cmd   *exec.Cmd
	in    io.WriteCloser
	lines chan string

	faults bytes.Buffer // standard error, to be read after the end
}

func newChatter(t *testing.T, s *serviceProcess, name string, flags ...string) *chatter {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), lifeMax)
	c := &chatter{t: t, name: name, lines: make(chan string, 100)}
	args := []string{"chat", "--route", "http://" + s.Route, "--name", name, "--history", t.TempDir()}
	c.cmd = exec.CommandContext(ctx, "cim", append(args, flags...)...)
	c.cmd.Stderr = &c.faults
	var err error
	if c.in, err = c.cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	out, err := c.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cancel()
		for range c.lines { // until it has read the last
		}
	})
	go func() {
		defer close(c.lines)
		for scanner := bufio.NewScanner(out); scanner.Scan(); {
			t.Logf("%s sees: %s", name, scanner.Text())
			c.lines <- scanner.Text()
		}
	}()
	return c
}

// typeLine types a line.
func (c *chatter) typeLine(line string) {
	c.t.Helper()
	if _, err := io.WriteString(c.in, line+"\n"); err != nil {
		c.t.Fatal(err)
	}
}

// hear waits for a line with want, and returns it.
func (c *chatter) hear(want string) string {
	c.t.Helper()
	timeout := time.NewTimer(waitMax)
	defer timeout.Stop()
	for {
		select {
		case line, open := <-c.lines:
			if strings.Contains(line, want) {
				return line
			}
			if !open {
				_ = c.cmd.Wait() // its output says more
				c.t.Fatalf("%s ended without %q: %s", c.name, want, &c.faults)
			}
		case <-timeout.C:
			c.t.Fatalf("%s: no line with %q within %v", c.name, want, waitMax)
		}
	}
}

// leave waits until the process has ended well.
func (c *chatter) leave() {
	c.t.Helper()
	for range c.lines { // Wait must not come before the last line
	}
	if err := c.cmd.Wait(); err != nil {
		c.t.Errorf("%s: %v", c.name, err)
	}
}

// fail waits until the process has ended badly with said on standard error,
// and without a word more on its screen.
func (c *chatter) fail(said string) {
	c.t.Helper()
	for line := range c.lines {
		c.t.Errorf("%s sees %q before the end", c.name, line)
	}
	if err := c.cmd.Wait(); c.cmd.ProcessState.ExitCode() != exitFailure {
		c.t.Errorf("%s ends with %v, want exit status %d", c.name, err, exitFailure)
	}
	if got := c.stderrText(); got != said {
		c.t.Errorf("%s gets %q, want %q", c.name, got, said)
	}
}

// stderrText is the text on standard error after the end, without the line about a new name.
func (c *chatter) stderrText() string {
	return regexp.MustCompile(`^cim: the name \S+ is new: registered, id \d+\n`).ReplaceAllString(c.faults.String(), "")
}

// TestLoadgenInterrupted says once that it was interrupted.
func TestLoadgenInterrupted(t *testing.T) {
	s := newStandalone(t)
	ctx, cancel := context.WithTimeout(t.Context(), lifeMax)
	defer cancel()
	load := exec.CommandContext(ctx, "cim", "loadgen", "--route", "http://"+s.Route, "--conns", "2", "--duration", "1h")
	progress, err := load.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := load.Start(); err != nil {
		t.Fatal(err)
	}
	var said []string
	for scanner := bufio.NewScanner(progress); scanner.Scan(); {
		if strings.HasSuffix(scanner.Text(), " measured") { // it has started
			if err := load.Process.Signal(os.Interrupt); err != nil {
				t.Fatal(err)
			}
		}
		if strings.HasPrefix(scanner.Text(), "cim: ") {
			said = append(said, scanner.Text())
		}
	}
	if err := load.Wait(); load.ProcessState.ExitCode() != exitInterrupted {
		t.Errorf("ended with %v, want exit status %d", err, exitInterrupted)
	}
	if len(said) != 1 || said[0] != "cim: loadgen: nothing was measured: signal: interrupt" {
		t.Errorf("said %q, want one line", said)
	}
}

// TestLoadgenProcs shares group messages over worker processes: each client of each receives them
// all from a real standalone.
func TestLoadgenProcs(t *testing.T) {
	s := newStandalone(t)
	for _, load := range []string{
		"--procs 2 --mode group --conns 30 --rate 50",
		"--procs 3 --mode group --conns 30 --rate 50 --via conn --verify",
		"--procs 3 --mode mixed --mix group=1,private=4 --conns 30 --rate 200 --verify",
		"--procs 2 --mode group --conns 30 --window 1,15 --verify",
		"--procs 2 --mode mixed --mix group=1,private=4 --conns 30 --window 2,10 --via conn",
	} {
		ctx, cancel := context.WithTimeout(t.Context(), lifeMax)
		args := append([]string{"loadgen", "--json", "--route", "http://" + s.Route, "--duration", "2s", "--warmup", "0s"}, strings.Fields(load)...)
		cmd := exec.CommandContext(ctx, "cim", args...)
		var faults bytes.Buffer
		cmd.Stderr = &faults
		out, err := cmd.Output()
		cancel()
		if err != nil {
			t.Fatalf("%s: %v: %s%s", load, err, &faults, out)
		}
		var report loadgen.Report
		if err := json.Unmarshal(out, &report); err != nil {
			t.Fatal(err)
		}
		checkShared(t, load, report)
	}
}

func checkShared(t *testing.T, load string, report loadgen.Report) {
	t.Helper()
	want := 1
	if strings.Contains(load, "--window") {
		want = 2
	}
	if len(report.Trials) != want || report.Failed() != nil {
		t.Fatalf("%s: %d trials: %v", load, len(report.Trials), report.Failed())
	}
	for _, got := range report.Trials {
		sent := got.Delivered + got.Stored
		if got.Rate > 0 && sent != 2*got.Rate || got.Conns != 30 {
			t.Errorf("%s: %d messages, want %d: %+v", load, sent, 2*got.Rate, got)
		}
		// A group message has 29 receivers, a private one has 1.
		more := got.Received - sent
		groups := more / 28
		if more <= 0 || more%28 != 0 || report.Mode == loadgen.Group && groups != sent {
			t.Errorf("%s: received %d of %d messages", load, got.Received, sent)
		}
		if n := got.Skew.Count; n == 0 || n > int64(groups) || got.Unfollowed > 0 || got.Window > 0 && got.Credit.Count < n {
			t.Errorf("%s: %d group messages, skew of %d, %d not followed, %d credits", load, groups, n, got.Unfollowed, got.Credit.Count)
		}
	}
}
