package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// runHome gives this process a runtime folder of its own.
func runHome(t *testing.T) (folder string) {
	t.Helper()
	home := t.TempDir()
	t.Setenv("XDG_RUNTIME_DIR", home)
	t.Setenv("TMPDIR", home)
	return filepath.Join(home, runFolderName)
}

// TestAdminFinds starts a standalone at a free admin port: cim admin finds it without a flag. Once
// it was killed, cim admin does not, though its file is left behind.
func TestAdminFinds(t *testing.T) {
	folder := runHome(t)
	ctx, cancel := context.WithTimeout(t.Context(), lifeMax)
	defer cancel()
	cmd := exec.CommandContext(ctx, "cim", "standalone", "--data", t.TempDir(),
		"--cim-port", "0", "--http-port", "0", "--route-port", "0", "--admin-port", "0", "--admin-bind", "0.0.0.0")
	cmd.SysProcAttr = endWithTest()
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadBytes('\n')
	var a addresses
	if err != nil || json.Unmarshal(line, &a) != nil {
		t.Fatalf("it says %q, %v", line, err)
	}
	url := strings.Replace(listenerURL(a.Admin), "0.0.0.0", "127.0.0.1", 1)
	if said, err := exec.CommandContext(ctx, "cim", "admin", "members", "--json").CombinedOutput(); err != nil || !strings.Contains(string(said), `"route":"`+url+`"`) {
		t.Errorf("cim admin: %v, %s, want %s", err, said, url)
	} else if strings.Contains(string(said), "cim: ") {
		t.Errorf("cim admin names a listener that was not given: %s", said)
	}
	if said, err := exec.CommandContext(ctx, "cim", "admin", "top", "-n", "1", "--interval", "100ms").CombinedOutput(); err != nil || strings.Contains(string(said), "silent") {
		t.Errorf("cim admin top: %v, %s", err, said)
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	if files, err := os.ReadDir(folder); err != nil || len(files) != 1 {
		t.Errorf("left behind by kill -9: %v, %v, want one file", files, err)
	}
	if said, _ := exec.CommandContext(ctx, "cim", "admin", "members").CombinedOutput(); strings.Contains(string(said), url) {
		t.Errorf("cim admin asks one that has gone: %s", said)
	}
	if files, err := os.ReadDir(folder); err != nil || len(files) != 0 {
		t.Errorf("still there: %v, %v", files, err)
	}
}

// TestRunFile is found while it is held, and gone afterwards; what others could
// have left is not read.
func TestRunFile(t *testing.T) {
	folder := runHome(t)
	remove, err := leaveRunFile(addresses{Admin: "[::]:9", PID: os.Getpid()})
	if err != nil {
		t.Fatal(err)
	}
	if got := runningListeners(); !slices.Equal(got, []string{"http://[::1]:9"}) {
		t.Errorf("found %v", got)
	}
	for n := range 1000 { // of processes that were killed
		if err := os.WriteFile(filepath.Join(folder, fmt.Sprintf("%d.json", n)), []byte(`{"admin":"127.0.0.1:1"}`), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	listenersIn(folder, runSweepMax)
	if files, err := os.ReadDir(folder); err != nil || len(files) > 1001-runSweepMax+1 {
		t.Errorf("%d files are left by a start, %v", len(files), err)
	}
	if got := runningListeners(); len(got) != 1 {
		t.Errorf("with stale ones: %v", got)
	}
	if err := os.Chmod(folder, 0o755); err != nil {
		t.Fatal(err)
	}
	if got := runningListeners(); len(got) != 0 {
		t.Errorf("in a folder that others may read: %v", got)
	}
	if err := os.Chmod(folder, 0o700); err != nil {
		t.Fatal(err)
	}
	remove()
	if files, err := os.ReadDir(folder); err != nil || len(files) != 0 {
		t.Errorf("left behind: %v, %v", files, err)
	}
	if err := os.Remove(folder); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(t.TempDir(), folder); err != nil {
		t.Fatal(err)
	}
	if err := checkRunFolder(folder); err == nil {
		t.Error("a link is taken for the folder")
	}
}
