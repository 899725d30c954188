//go:build unix

package main

import (
	"bufio"
	"context"
	"net"
	"net/http"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// TestCluster runs cim cluster, asks both routes and all admin listeners, kills
// a server, which is told, and ends it: nothing is left running.
func TestCluster(t *testing.T) {
	runHome(t)
	ctx, cancel := context.WithTimeout(t.Context(), lifeMax)
	defer cancel()
	cmd := exec.CommandContext(ctx, "cim", "cluster", "--data", "data", "--route-port", "0")
	cmd.Dir = t.TempDir()
	cmd.SysProcAttr = endWithTest()
	log := &lockedBuffer{}
	cmd.Stderr = log
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	told := linesUntil(t, lines, "ready;")
	pids := pidsOf(t, told)
	if len(pids) != 6 {
		t.Fatalf("%d processes: %q; log: %s", len(pids), told, log)
	}
	for _, url := range regexp.MustCompile(`(?m)^route +(\S+)`).FindAllStringSubmatch(told, -1) {
		response, err := http.Get(url[1] + "/onlineUser")
		if err != nil {
			t.Fatal(err)
		}
		response.Body.Close()
		if response.StatusCode != http.StatusOK {
			t.Errorf("%s: HTTP %d", url[1], response.StatusCode)
		}
	}
	awaitMembers(t, told, 4, `"state":"linked"`)
	if err := syscall.Kill(pids[2], syscall.SIGKILL); err != nil { // redis, zookeeper, server
		t.Fatal(err)
	}
	if said := linesUntil(t, lines, "has ended"); !strings.Contains(said, "server, pid "+strconv.Itoa(pids[2])) {
		t.Errorf("of the killed server: %q", said)
	}
	if err := cmd.Process.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Errorf("the cluster ended with %v; log: %s", err, log)
	}
	for _, pid := range pids {
		if err := syscall.Kill(pid, 0); err != syscall.ESRCH {
			t.Errorf("process %d is left: %v", pid, err)
		}
	}
}

// TestClusterFails names a log that is still there to be read.
func TestClusterFails(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	_, port, err := net.SplitHostPort(taken.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), lifeMax)
	defer cancel()
	cmd := exec.CommandContext(ctx, "cim", "cluster", "--servers", "1", "--routes", "1", "--route-port", port)
	cmd.Env = append(cmd.Environ(), "TMPDIR="+t.TempDir())
	said, err := cmd.CombinedOutput()
	if cmd.ProcessState.ExitCode() != exitFailure {
		t.Fatalf("ended with %v: %s", err, said)
	}
	log := regexp.MustCompile(`its log is (\S+)`).FindSubmatch(said)
	if log == nil {
		t.Fatalf("said %s, want it to name a log", said)
	}
	if text, err := os.ReadFile(string(log[1])); !strings.Contains(string(text), "address already in use") {
		t.Errorf("the log has %q (%v)", text, err)
	}
}

// awaitMembers has cim admin ask all processes that were told of, and then those
// that it finds, until there are n members, as many as each route has, and what
// is said of each.
func awaitMembers(t *testing.T, cluster string, n int, what string) {
	t.Helper()
	var admins []string
	for _, found := range regexp.MustCompile(`admin +(http://\S+)`).FindAllStringSubmatch(cluster, -1) {
		admins = append(admins, found[1])
	}
	awaitMembersBy(t, n, what, "--admin", strings.Join(admins, ","))
	awaitMembersBy(t, n, what)
}

func awaitMembersBy(t *testing.T, n int, what string, flags ...string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), lifeMax)
	defer cancel()
	for {
		out, err := exec.CommandContext(ctx, "cim", append([]string{"admin", "members", "--json"}, flags...)...).CombinedOutput()
		if err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		rows := strings.Split(strings.TrimSpace(string(out)), "\n")
		if len(rows) == n && strings.Count(string(out), what) == n && strings.Count(string(out), `"sessions":0}`) == n {
			return
		}
	}
}

// linesUntil reads lines up to the one that has want in it.
func linesUntil(t *testing.T, lines *bufio.Scanner, want string) string {
	t.Helper()
	var all strings.Builder
	for lines.Scan() {
		all.WriteString(lines.Text() + "\n")
		if strings.Contains(lines.Text(), want) {
			return all.String()
		}
	}
	t.Fatalf("no line with %q behind %q: %v", want, all.String(), lines.Err())
	return ""
}

func pidsOf(t *testing.T, text string) []int {
	t.Helper()
	var pids []int
	for _, found := range regexp.MustCompile(`pid (\d+)`).FindAllStringSubmatch(text, -1) {
		pid, err := strconv.Atoi(found[1])
		if err != nil {
			t.Fatal(err)
		}
		pids = append(pids, pid)
	}
	return pids
}
