package faults

import (
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
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"cim/internal/child"
	"cim/internal/daemon"
)

const (
	// drainMax bounds the end of a process after SIGTERM, with some room.
	drainMax = 35 * time.Second
	// logTailMax bounds what is shown of a log, in bytes.
	logTailMax = 16 << 10
)

// addresses is the line that a process writes when it is ready.
type addresses struct {
	CIM   string `json:"cim"`
	HTTP  string `json:"http"`
	Link  string `json:"link"`
	Route string `json:"route"`
	Admin string `json:"admin"`
	PID   int    `json:"pid"`
}

// process is a server or a route, which may be ended and started again at its
// addresses. It belongs to the test's goroutine.
type process struct {
	addresses
	t      *testing.T
	name   string
	place  daemon.Place
	args   []string
	env    []string
	limit  int    // of its descriptors; 0: that of the test
	binary string // path of its executable

	child *child.Child
	stop  context.CancelFunc
	log   string // path
	asked bool   // its end was asked for
}

// start starts the executable and returns once it has printed its addresses.
func (p *process) start() {
	p.t.Helper()
	line := slices.Concat(p.place.Within, []string{p.binary}, p.args)
	if p.limit > 0 {
		line = append([]string{"sh", "-c", `ulimit -n "$0" && exec "$@"`, strconv.Itoa(p.limit)}, line...)
	}
	log, err := os.OpenFile(p.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		p.t.Fatal(err)
	}
	defer log.Close() // the process has its own descriptor
	ctx, stop := context.WithCancel(context.Background())
	cmd := exec.CommandContext(ctx, line[0], line[1:]...)
	said := child.NewReadyLine()
	cmd.Stdout, cmd.Stderr = said, log
	cmd.Env = append(cmd.Environ(), p.env...)
	p.stop, p.asked = stop, false
	if p.child, err = child.Start(cmd); err != nil {
		stop()
		p.t.Fatalf("start %v: %v", line, err)
	}
	p.awaitReady(said)
}

func (p *process) awaitReady(said *child.ReadyLine) {
	p.t.Helper()
	line, err := p.child.AwaitReady(p.t.Context(), said, waitMax)
	if err != nil {
		p.t.Fatalf("start %s: %v: %s", p.name, err, p.logTail())
	}
	var at addresses
	if err := json.Unmarshal(line, &at); err != nil || at.PID != p.child.PID() {
		p.t.Fatalf("ready line %q of %s (%v), want addresses and the pid %d", line, p.name, err, p.child.PID())
	}
	if p.PID == 0 {
		p.keepPorts(at)
	}
	p.addresses = at
}

// keepPorts lets the next run listen where this one does.
func (p *process) keepPorts(at addresses) {
	for flag, address := range map[string]string{
		"--cim-port": at.CIM, "--http-port": at.HTTP, "--link-port": at.Link, "--route-port": at.Route, "--admin-port": at.Admin,
	} {
		if address == "" {
			continue
		}
		_, port, err := net.SplitHostPort(address)
		if err != nil {
			p.t.Fatal(err)
		}
		p.args = append(p.args, flag, port)
	}
}

func (p *process) signal(s syscall.Signal) {
	p.t.Helper()
	if err := p.child.Signal(s); err != nil {
		p.t.Fatalf("signal %v to %s: %v", s, p.name, err)
	}
}

// kill ends the process as a crash does.
func (p *process) kill() {
	p.t.Helper()
	p.asked = true
	p.signal(syscall.SIGKILL)
	<-p.child.Ended()
	p.stop()
}

// drain asks the process to end, and demands that it does well and in time. It
// returns how long that took.
func (p *process) drain() time.Duration {
	p.t.Helper()
	p.asked = true
	began := time.Now()
	p.signal(syscall.SIGTERM)
	timeout := time.NewTimer(drainMax)
	defer timeout.Stop()
	select {
	case <-p.child.Ended():
		if state := p.child.State(); !state.Success() {
			p.t.Errorf("%s did not end well: %v", p.name, state)
		}
	case <-timeout.C:
		p.t.Errorf("%s did not end within %v of SIGTERM", p.name, drainMax)
		p.signal(syscall.SIGKILL)
		<-p.child.Ended()
	}
	p.stop()
	return time.Since(began)
}

// cleanUp ends the process, and fails the test if it ended by itself, or
// wrote what no healthy process writes.
func (p *process) cleanUp() {
	if p.child == nil {
		return
	}
	select {
	case <-p.child.Ended():
		if !p.asked {
			p.t.Errorf("%s ended by itself: %v", p.name, p.child.State())
		}
	default:
		p.kill()
	}
	p.stop()
	text, err := os.ReadFile(p.log)
	if err != nil {
		p.t.Error(err)
	}
	for _, sign := range []string{"DATA RACE", "panic:", "fatal error:"} {
		if bytes.Contains(text, []byte(sign)) {
			p.t.Errorf("the log of %s has %q", p.name, sign)
		}
	}
	if p.t.Failed() {
		p.t.Logf("the log of %s:\n%s", p.name, p.logTail())
	}
	p.keepLog(text)
}

// keepLog copies the log to where -logs says.
func (p *process) keepLog(text []byte) {
	if *logs == "" {
		return
	}
	path := filepath.Join(*logs, strings.ReplaceAll(p.t.Name(), "/", "-")+"-"+p.name+".log")
	if err := os.WriteFile(path, text, 0o600); err != nil {
		p.t.Error(err)
	}
}

// logTail is the end of the log.
func (p *process) logTail() string {
	text, err := os.ReadFile(p.log)
	if err != nil {
		return err.Error()
	}
	return string(text[max(0, len(text)-logTailMax):])
}

// admin asks the admin listener. An error is any answer but 200.
func (p *process) admin(path string) (string, error) {
	asker := http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	response, err := asker.Get("http://" + p.Admin + path)
	if err != nil {
		return "", err
	}
	text, err := io.ReadAll(io.LimitReader(response.Body, 1<<20))
	if err := errors.Join(err, response.Body.Close()); err != nil {
		return "", err
	}
	if response.StatusCode != http.StatusOK {
		return "", fmt.Errorf("%s: %s: %s", p.name, path, strings.TrimSpace(string(text)))
	}
	return string(text), nil
}

// metric sums the metrics of that name, whatever their labels; -1: unknown.
func (p *process) metric(name string) float64 {
	text, err := p.admin("/metrics")
	if err != nil {
		return -1
	}
	sum := 0.0
	for line := range strings.Lines(text) {
		head, value, ok := strings.Cut(strings.TrimSpace(line), " ")
		base, _, _ := strings.Cut(head, "{")
		if !ok || base != name {
			continue
		}
		if v, err := strconv.ParseFloat(value, 64); err == nil {
			sum += v
		}
	}
	return sum
}

// labelled is one metric, its labels included; -1: unknown.
func (p *process) labelled(name string) float64 {
	text, err := p.admin("/metrics")
	if err != nil {
		return -1
	}
	for line := range strings.Lines(text) {
		if value, ok := strings.CutPrefix(strings.TrimSpace(line), name+" "); ok {
			if v, err := strconv.ParseFloat(value, 64); err == nil {
				return v
			}
		}
	}
	return 0
}

// rssKiB is the resident memory of a process.
func rssKiB(pid int) (int, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(text)) {
		if fields := strings.Fields(line); len(fields) > 1 && fields[0] == "VmRSS:" {
			return strconv.Atoi(fields[1])
		}
	}
	return 0, fmt.Errorf("process %d has no VmRSS", pid)
}
