//go:build unix

package main

import (
	"bufio"
	"context"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// TestCluster runs cim cluster, asks both routes and all admin listeners, kills a server, which is
// printed, then another one when standard output is not read any more, and ends it: nothing is left
// running.
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
	if err := out.Close(); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(pids[3], syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	await(t, "the cluster knows that it has ended", func() bool { return syscall.Kill(pids[3], 0) == syscall.ESRCH })
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

// TestClusterFails quotes the failed part, and leaves no folder; a named folder stays, with the log
// in it.
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
	folder, named := t.TempDir(), filepath.Join(t.TempDir(), "named")
	fail := func(more ...string) string {
		cmd := exec.CommandContext(ctx, "cim", append([]string{"cluster", "--servers", "1", "--routes", "1", "--route-port", port}, more...)...)
		cmd.Env = append(cmd.Environ(), "TMPDIR="+folder)
		said, err := cmd.CombinedOutput()
		if cmd.ProcessState.ExitCode() != exitFailure {
			t.Fatalf("ended with %v: %s", err, said)
		}
		if n := strings.Count(string(said), "address already in use"); n != 1 {
			t.Errorf("the log is quoted %d times: %s", n, said)
		}
		return string(said)
	}
	if said := fail(); !regexp.MustCompile(`cim-cluster-\d+ is removed; --data FOLDER keeps the logs`).MatchString(said) {
		t.Errorf("said %s", said)
	}
	if left, err := filepath.Glob(filepath.Join(folder, "cim-cluster-*")); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
	log := regexp.MustCompile(`its log is (\S+)`).FindStringSubmatch(fail("--data", named))
	if log == nil || filepath.Dir(log[1]) != named {
		t.Fatalf("the log is %v, want one in %s", log, named)
	}
	if text, err := os.ReadFile(log[1]); !strings.Contains(string(text), "address already in use") {
		t.Errorf("the log has %q (%v)", text, err)
	}
}

// awaitMembers has cim admin ask the processes that were printed, and then those that it finds,
// until there are n members, as many as each route has, each in the state what.
func awaitMembers(t *testing.T, cluster string, n int, what string) {
	t.Helper()
	var admins []string
	for _, found := range regexp.MustCompile(`admin +(http://\S+)`).FindAllStringSubmatch(cluster, -1) {
		admins = append(admins, found[1])
	}
	awaitMembersBy(t, admins, n, what, "--admin", strings.Join(admins, ","))
	awaitMembersBy(t, admins, n, what)
}

func awaitMembersBy(t *testing.T, admins []string, n int, what string, flags ...string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), lifeMax)
	defer cancel()
	for {
		out, err := exec.CommandContext(ctx, "cim", append([]string{"admin", "members", "--json"}, flags...)...).CombinedOutput()
		if err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		rows := strings.Split(strings.TrimSpace(string(out)), "\n")
		rows = slices.DeleteFunc(rows, func(row string) bool { // another system runs here
			return !slices.ContainsFunc(admins, func(url string) bool { return strings.Contains(row, `"route":"`+url+`"`) })
		})
		ours := strings.Join(rows, "\n")
		if len(rows) == n && strings.Count(ours, what) == n && strings.Count(ours, `"sessions":0}`) == n {
			return
		}
	}
}

// linesUntil reads lines up to the first with want.
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
