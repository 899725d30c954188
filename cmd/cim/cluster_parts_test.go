//go:build unix

package main

import (
	"bufio"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"cim/client"
	"cim/internal/link"
	"cim/proto"
	"cim/registry/zk"
)

// TestClusterHandsOn gives a cluster settings of its processes by a flag, the
// environment and a file: each reaches those that have it.
func TestClusterHandsOn(t *testing.T) {
	runHome(t)
	ctx, cancel := context.WithTimeout(t.Context(), lifeMax)
	defer cancel()
	folder := t.TempDir()
	keys, err := exec.CommandContext(ctx, "cim", "token", "keygen").Output()
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{"keys.json": string(keys), "cim.yaml": "heartbeat: 20s\nbind: 0.0.0.0\n"} {
		if err := os.WriteFile(filepath.Join(folder, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.CommandContext(ctx, "cim", "cluster", "--servers", "1", "--routes", "1", "--route-port", "0",
		"--auth", "require", "--config", "cim.yaml")
	cmd.Dir = folder
	cmd.Env = append(cmd.Environ(), "CIM_AUTH_KEYS=keys.json", "CIM_LINK_SECRET=a-secret-of-many-bytes", "CIM_AUTH=off")
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
	defer func() {
		if err := cmd.Process.Signal(syscall.SIGINT); err != nil {
			t.Error(err)
		}
		if err := cmd.Wait(); err != nil {
			t.Errorf("the cluster ended with %v; log: %s", err, log)
		}
	}()
	printed := linesUntil(t, bufio.NewScanner(out), "ready;")
	route := regexp.MustCompile(`(?m)^route +(\S+)`).FindStringSubmatch(printed)
	if route == nil || !strings.HasPrefix(route[1], "http://127.0.0.1:") {
		t.Fatalf("a route at %q, want it on loopback: %s", route, printed)
	}
	wantSecret(ctx, t, printed, "a-secret-of-many-bytes")

	dial := client.Config{Routes: []string{route[1]}, Name: "ann", OnMessage: func(client.Message) {}}
	if c, err := client.Dial(ctx, dial); err == nil {
		_ = c.Close(ctx)
		t.Fatal("a login without a token was served")
	}
	issue := exec.CommandContext(ctx, "cim", "token", "--keys", "keys.json", "--service", "--ttl", "1h")
	issue.Dir = folder
	token, err := issue.Output()
	if err != nil {
		t.Fatal(err)
	}
	dial.Token = func(context.Context) (string, error) { return strings.TrimSpace(string(token)), nil }
	c, err := client.Dial(ctx, dial)
	if err != nil {
		t.Fatal(err)
	}
	if got := c.Server().Heartbeat; got != 20*time.Second {
		t.Errorf("the server's heartbeat is %v, want 20s", got)
	}
	if err := c.Close(ctx); err != nil {
		t.Error(err)
	}
}

// wantSecret dials the server of a cluster that has printed these lines: with the secret a link comes up,
// without it none does. The routes have the secret too, since they are linked.
func wantSecret(ctx context.Context, t *testing.T, printed, secret string) {
	t.Helper()
	address := regexp.MustCompile(`(?m)^zookeeper +(\S+)`).FindStringSubmatch(printed)
	if address == nil {
		t.Fatalf("no ZooKeeper in %s", printed)
	}
	members, err := zk.Open(zk.Config{Servers: []string{address[1]}})
	if err != nil {
		t.Fatal(err)
	}
	defer members.Close()
	for changed := members.Changed(); len(members.Snapshot().Members) == 0; changed = members.Changed() {
		select {
		case <-changed:
		case <-ctx.Done():
			t.Fatalf("no server is registered: %v", members.Ready())
		}
	}
	server := members.Snapshot().Members[0]
	conn, err := dialLinks(secret)(ctx, server)
	if err != nil {
		t.Fatalf("with the secret: %v", err)
	}
	conn.Close()
	var refused *link.RefusedError
	if _, err := dialLinks("")(ctx, server); !errors.As(err, &refused) || refused.Refusal != proto.LinkRefusedSecret {
		t.Errorf("without the secret: %v, want that it is refused", err)
	}
}

// TestClusterRefuses looks at settings of servers and routes as those do, before
// anything is started.
func TestClusterRefuses(t *testing.T) {
	for _, c := range []struct {
		name, want string
		env        []string
		args       []string
	}{
		{"a fault of a route", "auth require needs auth-keys", []string{"CIM_AUTH=require"}, nil},
		{"where it is from", "(from environment CIM_AUTH)", []string{"CIM_AUTH=require"}, nil},
		{"a fault of a server", "kept-budget", nil, []string{"--kept-budget", "1"}},
		{"a way past", "login open", []string{"CIM_AUTH_KEYS=keys.json"}, []string{"--auth", "require", "--login", "open"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), lifeMax)
			defer cancel()
			cmd := exec.CommandContext(ctx, "cim", append([]string{"cluster"}, c.args...)...)
			cmd.Env = append(os.Environ(), c.env...)
			said, _ := cmd.CombinedOutput()
			if cmd.ProcessState.ExitCode() != exitUsage || !strings.Contains(string(said), c.want) {
				t.Errorf("ended with %v and said %q, want %q", cmd.ProcessState, said, c.want)
			}
		})
	}
}
