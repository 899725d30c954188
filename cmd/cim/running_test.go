//go:build unix

package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"cim/client"
)

// pipe is a pipe whose write end the process under test gets.
func pipe(t *testing.T) (r, w *os.File) {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = r.Close(), w.Close() })
	return r, w
}

// fullPipe is a pipe without room.
func fullPipe(t *testing.T) (r, w *os.File) {
	t.Helper()
	r, w = pipe(t)
	raw, err := w.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	var full error
	err = raw.Write(func(fd uintptr) (done bool) {
		for full == nil {
			_, full = unix.Write(int(fd), make([]byte, 512)) // what small writes of others need is gone too
		}
		return true
	})
	if err != nil || full != unix.EAGAIN {
		t.Fatalf("a pipe that fills up: %v, %v", err, full)
	}
	return r, w
}

// detached is a process whose standard output and standard error the test chose.
type detached struct {
	t *testing.T
	*serviceProcess
}

// runStandaloneWith starts cim standalone. The process alone keeps the ends
// that are written.
func runStandaloneWith(t *testing.T, out, log *os.File, args ...string) *detached {
	t.Helper()
	r := &detached{t: t, serviceProcess: &serviceProcess{log: &lockedBuffer{}}}
	r.cmd = exec.Command("cim", append([]string{
		"standalone", "--data", t.TempDir(),
		"--cim-port", "0", "--http-port", "0", "--route-port", "0", "--admin-port", "0",
	}, args...)...)
	r.cmd.Stdout, r.cmd.Stderr = out, log
	r.cmd.SysProcAttr = endWithTest()
	r.cmd.SysProcAttr.Setsid = true
	if err := r.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	_, _ = out.Close(), log.Close()
	t.Cleanup(func() { _ = r.kill() })
	return r
}

// stranger sends bytes that are no frame, which the server logs.
func (r *detached) stranger() {
	r.t.Helper()
	conn, err := net.Dial("tcp", r.CIM)
	if err != nil {
		r.t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(waitMax))
	if _, err := conn.Write([]byte("\xff\xff\xff\xff\xff\xff")); err != nil {
		r.t.Fatal(err)
	}
	if _, err := io.Copy(io.Discard, conn); err != nil && !errors.Is(err, syscall.ECONNRESET) {
		r.t.Errorf("the server does not end a stranger's connection: %v", err)
	}
}

// dropped is the metric.
func (r *detached) dropped() int {
	r.t.Helper()
	response, err := http.Get("http://" + r.Admin + "/metrics")
	if err != nil {
		r.t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		r.t.Fatal(err)
	}
	found := regexp.MustCompile(`(?m)^cim_log_dropped_total (\d+)$`).FindSubmatch(body)
	if found == nil {
		r.t.Fatalf("no cim_log_dropped_total in:\n%s", body)
	}
	n, err := strconv.Atoi(string(found[1]))
	if err != nil {
		r.t.Fatal(err)
	}
	return n
}

// serves fails the test unless a client can log in and gets its own message.
func (r *detached) serves() {
	r.t.Helper()
	got := make(chan string, 1)
	c, err := client.Dial(r.t.Context(), client.Config{
		Routes: []string{"http://" + r.Route}, Name: "ann",
		OnMessage: func(m client.Message) { got <- m.Text },
	})
	if err != nil {
		r.t.Fatal(err)
	}
	defer func() { _ = c.Close(r.t.Context()) }()
	if _, err := c.Send(r.t.Context(), c.User().ID, "to me"); err != nil {
		r.t.Fatal(err)
	}
	select {
	case text := <-got:
		if text != "to me" {
			r.t.Errorf("brought %q", text)
		}
	case <-time.After(waitMax):
		r.t.Error("the message does not come")
	}
}

// TestLogReaderStandsStill gives a process a standard error without room, from the start: it
// starts, serves, and drains with 0; the waiting lines are there for a late reader.
func TestLogReaderStandsStill(t *testing.T) {
	t.Parallel()
	for _, read := range []bool{true, false} {
		out, outEnd := pipe(t)
		log, logEnd := fullPipe(t)
		r := runStandaloneWith(t, outEnd, logEnd)
		if err := r.readAddresses(out); err != nil {
			t.Fatal(err)
		}
		for range 10 {
			r.stranger()
		}
		r.serves()
		var lines []byte
		ended := make(chan error, 1)
		if read {
			go func() {
				var err error
				lines, err = io.ReadAll(log)
				ended <- err
			}()
		} else {
			ended <- nil
		}
		if err := r.stop(); err != nil {
			t.Errorf("read %v: %v", read, err)
		}
		if err := <-ended; err != nil {
			t.Error(err)
		}
		for _, want := range []string{"msg=ready", "reason=malformed", "msg=stopped"} {
			if read && !strings.Contains(string(lines), want) {
				t.Errorf("the log that was read late has no %s:\n%s", want, lines)
			}
		}
	}
}

// TestLogReaderGone closes the reader of standard error and of standard output,
// and has a full disk behind both: lines are counted, and nothing else happens.
func TestLogReaderGone(t *testing.T) {
	t.Parallel()
	out, outEnd := pipe(t)
	log, logEnd := pipe(t)
	r := runStandaloneWith(t, outEnd, logEnd)
	if err := r.readAddresses(out); err != nil {
		t.Fatal(err)
	}
	_, _ = out.Close(), log.Close()
	for r.dropped() == 0 {
		r.stranger()
	}
	r.serves()
	if err := r.stop(); err != nil {
		t.Error(err)
	}
}

// TestStandardOutputNotRead starts processes whose standard output cannot be written, or blocks:
// the log has the addresses too.
func TestStandardOutputNotRead(t *testing.T) {
	t.Parallel()
	gone, goneEnd := pipe(t)
	gone.Close()
	_, fullEnd := fullPipe(t)
	disk, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		out     *os.File
		warning string
	}{
		"reader gone": {goneEnd, "broken pipe"}, "full pipe": {fullEnd, ""}, "full disk": {disk, "no space left"},
	} {
		log, logEnd := pipe(t)
		r := runStandaloneWith(t, test.out, logEnd, "--log-format", "json")
		lines := bufio.NewScanner(log)
		var said strings.Builder // the warning may come before the addresses
		for r.Admin == "" && lines.Scan() {
			said.WriteString(lines.Text())
			if err := json.Unmarshal(lines.Bytes(), &r.addresses); err != nil {
				t.Fatalf("%s: line %q: %v", name, lines.Text(), err)
			}
		}
		r.serves()
		if err := r.cmd.Process.Signal(syscall.SIGTERM); err != nil {
			t.Fatal(err)
		}
		for lines.Scan() {
			said.WriteString(lines.Text())
		}
		if err := r.wait(); err != nil || !strings.Contains(said.String(), test.warning) {
			t.Errorf("%s: %v; the log has %s", name, err, said.String())
		}
	}
}

// TestDiskOfLogFull has a full disk behind standard error: the process serves.
func TestDiskOfLogFull(t *testing.T) {
	t.Parallel()
	disk, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	out, outEnd := pipe(t)
	r := runStandaloneWith(t, outEnd, disk)
	if err := r.readAddresses(out); err != nil {
		t.Fatal(err)
	}
	r.serves()
	if n := r.dropped(); n == 0 {
		t.Error("no line was dropped on a full disk")
	}
	if err := r.stop(); err != nil {
		t.Error(err)
	}
}

// TestFatalErrorIsLogged ends a start with an error: the line is logged, and a stuck reader does
// not hold the process.
func TestFatalErrorIsLogged(t *testing.T) {
	t.Parallel()
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	port := portOf(taken.Addr().String())
	_, outEnd := pipe(t)
	log, logEnd := pipe(t)
	r := runStandaloneWith(t, outEnd, logEnd, "--cim-port", port)
	lines, err := io.ReadAll(log)
	if err != nil || !strings.Contains(string(lines), "cim: server: cim-port "+port) {
		t.Errorf("%v: the log is %q", err, lines)
	}
	if err := r.cmd.Wait(); r.cmd.ProcessState.ExitCode() != exitFailure {
		t.Errorf("ended with %v", err)
	}
	_, outEnd = pipe(t)
	_, logEnd = fullPipe(t)
	r = runStandaloneWith(t, outEnd, logEnd, "--cim-port", port)
	if _ = r.wait(); r.cmd.ProcessState.ExitCode() != exitFailure {
		t.Errorf("with a full pipe ended with %v", r.cmd.ProcessState)
	}
}

// hangupsReach makes the processes that t starts get SIGHUP even below nohup: a process passes an
// ignored signal on to its children.
func hangupsReach(t *testing.T) {
	got := make(chan os.Signal, 1)
	signal.Notify(got, syscall.SIGHUP)
	t.Cleanup(func() { signal.Stop(got) })
}

// TestHangup sends SIGHUP: without a terminal nothing but a line comes of it,
// and a process that was started from a terminal drains.
func TestHangup(t *testing.T) {
	t.Parallel()
	hangupsReach(t)
	out, outEnd := pipe(t)
	log, logEnd := pipe(t)
	r := runStandaloneWith(t, outEnd, logEnd)
	if err := r.readAddresses(out); err != nil {
		t.Fatal(err)
	}
	if err := r.cmd.Process.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	timeout := time.AfterFunc(waitMax, func() { _ = r.kill() })
	defer timeout.Stop()
	for lines := bufio.NewScanner(log); ; {
		if !lines.Scan() {
			t.Fatal("the log does not speak of the signal")
		}
		if strings.Contains(lines.Text(), "signal=hangup") {
			break
		}
	}
	go func() { _, _ = io.Copy(io.Discard, log) }()
	r.serves()
	if err := r.stop(); err != nil {
		t.Error(err)
	}
}

// TestGapLine: the line in place of lost lines has the log's form, or none before the settings are
// known.
func TestGapLine(t *testing.T) {
	for want, c := range map[string]*logConfig{
		"cim: 3 lines are missing here": nil, "lines=3": {"error", "text"}, `"lines":3`: {"error", "json"},
	} {
		o := newOutput(io.Discard)
		if c != nil {
			o.logger(*c)
		}
		var line strings.Builder
		if err := o.writeGap(&line, 3); err != nil || !strings.Contains(line.String(), want) || strings.Count(line.String(), "\n") != 1 {
			t.Errorf("%v: %q, %v; want %q in it", c, line.String(), err, want)
		}
		if err := o.writeGap(broken{}, 3); !errors.Is(err, syscall.EPIPE) {
			t.Errorf("%v: a write that fails returns %v", c, err)
		}
		o.queue.Close(waitMax)
	}
}

type broken struct{}

func (broken) Write([]byte) (int, error) { return 0, syscall.EPIPE }
