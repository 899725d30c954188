package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// terminal is the other end of a pseudo-terminal.
type pseudoTerminal struct {
	t     *testing.T
	ours  *os.File
	shown bytes.Buffer
}

// runOnTerminal starts cim on a terminal of a size, which controls it.
func runOnTerminal(t *testing.T, rows, columns uint16, environ []string, args ...string) (*pseudoTerminal, *exec.Cmd) {
	t.Helper()
	ours, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Skipf("no pseudo-terminals here: %v", err)
	}
	t.Cleanup(func() { _ = ours.Close() })
	p := &pseudoTerminal{t: t, ours: ours}
	number, err := unix.IoctlGetUint32(int(ours.Fd()), unix.TIOCGPTN)
	if err == nil {
		err = unix.IoctlSetPointerInt(int(ours.Fd()), unix.TIOCSPTLCK, 0)
	}
	if err != nil {
		t.Fatal(err)
	}
	p.resize(rows, columns)
	theirs, err := os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer theirs.Close()
	ctx, cancel := context.WithTimeout(t.Context(), lifeMax)
	t.Cleanup(cancel)
	cmd := exec.CommandContext(ctx, "cim", args...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = theirs, theirs, theirs
	cmd.Env = append(cmd.Environ(), environ...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true, Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return p, cmd
}

func (p *pseudoTerminal) resize(rows, columns uint16) {
	p.t.Helper()
	if err := unix.IoctlSetWinsize(int(p.ours.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Row: rows, Col: columns}); err != nil {
		p.t.Fatal(err)
	}
}

// until reads up to the count-th want after the earlier output, and returns all of it.
func (p *pseudoTerminal) until(want string, count int) string {
	p.t.Helper()
	begin := p.shown.Len()
	chunk := make([]byte, 4096)
	for strings.Count(p.shown.String()[begin:], want) < count {
		n, err := p.ours.Read(chunk)
		p.shown.Write(chunk[:n])
		if err != nil {
			p.t.Fatalf("%v before %q was there %d times: %q", err, want, count, p.shown.String())
		}
	}
	return p.shown.String()[begin:]
}

// rest reads until the process has ended.
func (p *pseudoTerminal) rest() string {
	begin := p.shown.Len()
	_, _ = p.shown.ReadFrom(p.ours) // ends with an error, as terminals do
	return p.shown.String()[begin:]
}

// framesOf are the drawn frames, without the last one, which may be incomplete.
func framesOf(shown string) (frames [][]string) {
	parts := strings.Split(shown, screenHome)
	for _, part := range parts[1:max(1, len(parts)-1)] {
		part = strings.TrimSuffix(part, "\r\n"+screenEmpty)
		frames = append(frames, strings.Split(strings.ReplaceAll(part, lineEmpty, ""), "\r\n"))
	}
	return frames
}

// aTerminal is one that gets no question when a process starts on it.
const aTerminal = "TERM=screen-256color"

// TestTopOnTerminal draws in place within the terminal's size, also when that
// changes, and leaves it as it was.
func TestTopOnTerminal(t *testing.T) {
	s := newStandalone(t)
	environ := []string{aTerminal, "NO_COLOR=1", "CIM_ADMIN=http://" + s.Admin + ",http://127.0.0.1:1"}
	p, cmd := runOnTerminal(t, 24, 200, environ, "admin", "top", "--interval", "100ms")
	shown := p.until(screenHome, 4)
	if !strings.HasPrefix(shown, screenOpen) || strings.Contains(shown, boldOn) {
		t.Errorf("begins with %q, or is bold without a wish for color", shown[:20])
	}
	for _, lines := range framesOf(shown) {
		if len(lines) != 6 || !strings.HasPrefix(lines[0], "cim admin top, every 100ms") ||
			!strings.HasPrefix(lines[4], "standalone") || !strings.Contains(lines[5], "connection refused") {
			t.Errorf("a frame of %d lines: %q", len(lines), lines)
		}
	}
	p.resize(4, 30)
	p.until("... and 3 more lines", 1)
	frames := framesOf(p.until(screenHome, 4))
	if len(frames) == 0 {
		t.Error("no frame behind the new size")
	}
	for _, lines := range frames {
		for _, line := range lines {
			if len(lines) > 4 || len(line) > 30 {
				t.Errorf("a frame beyond 4 lines of 30: %q", lines)
			}
		}
	}
	if _, err := p.ours.WriteString("\x03"); err != nil {
		t.Fatal(err)
	}
	if rest := p.rest(); !strings.HasSuffix(rest, screenClose) {
		t.Errorf("the terminal is left with %q", rest)
	}
	if err := cmd.Wait(); err != nil {
		t.Errorf("Ctrl-C: %v", err)
	}
}

// TestTopOnDumbTerminal writes blocks.
func TestTopOnDumbTerminal(t *testing.T) {
	s := newStandalone(t)
	p, cmd := runOnTerminal(t, 24, 200, []string{"TERM=dumb", "CIM_ADMIN=http://" + s.Admin}, "admin", "top", "-n", "2", "--interval", "100ms")
	shown := p.rest()
	if strings.Contains(shown, "\x1b") || strings.Count(shown, "\r\nstandalone ") != 2 {
		t.Errorf("shown: %q", shown)
	}
	if err := cmd.Wait(); err != nil {
		t.Error(err)
	}
}

// TestTopInterrupted is 130 where a number of looks was asked for.
func TestTopInterrupted(t *testing.T) {
	s := newStandalone(t)
	p, cmd := runOnTerminal(t, 24, 80, []string{aTerminal, "CIM_ADMIN=http://" + s.Admin}, "admin", "top", "-n", "1000", "--interval", "100ms")
	p.until("\r\nstandalone ", 1)
	if _, err := p.ours.WriteString("\x03"); err != nil {
		t.Fatal(err)
	}
	p.rest()
	if strings.Contains(p.shown.String(), screenHome) {
		t.Errorf("shown in place: %q", p.shown.String())
	}
	if err := cmd.Wait(); cmd.ProcessState.ExitCode() != exitInterrupted {
		t.Errorf("ended with %v, want exit status %d", err, exitInterrupted)
	}
}
