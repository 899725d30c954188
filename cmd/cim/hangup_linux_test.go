package main

import (
	"context"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// TestHangupOfClients sends SIGHUP to the client's commands, as of a connection by
// ssh that was lost: they end as by Ctrl-C, not by the signal.
func TestHangupOfClients(t *testing.T) {
	t.Parallel()
	hangupsReach(t)
	s, err := startStandalone(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.stop(); err != nil {
			t.Error(err)
		}
	})
	for _, args := range [][]string{
		{"listen", "--name", "bob"},
		{"send", "--name", "bob", "--to", "bob"},
	} {
		ctx, cancel := context.WithTimeout(t.Context(), waitMax)
		defer cancel()
		cmd := exec.CommandContext(ctx, "cim", append(args, "--route", "http://"+s.Route)...)
		in, inEnd, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		cmd.Stdin = in
		said := &lockedBuffer{}
		cmd.Stderr = said
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		if _, err := inEnd.WriteString("one\n"); err != nil {
			t.Fatal(err)
		}
		await(t, args[0]+" runs", func() bool {
			return strings.Contains(said.String(), "id ") || strings.Contains(said.String(), "line 1")
		})
		if err := cmd.Process.Signal(syscall.SIGHUP); err != nil {
			t.Fatal(err)
		}
		_ = cmd.Wait()
		if got := cmd.ProcessState.ExitCode(); got != exitInterrupted {
			t.Errorf("%s: %v, want status %d: %s", args[0], cmd.ProcessState, exitInterrupted, said.String())
		}
		_, _ = in.Close(), inEnd.Close()
	}
}

// TestHangupOfChat sends SIGHUP to a chat whose terminal stays: its modes are as
// before.
func TestHangupOfChat(t *testing.T) {
	t.Parallel()
	hangupsReach(t)
	s, err := startStandalone(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	p, cmd := runOnTerminal(t, 24, 80, []string{"TERM=xterm"}, "chat", "--name", "ann", "--history", "", "--route", "http://"+s.Route)
	isRaw := func() bool {
		modes, err := unix.IoctlGetTermios(int(p.ours.Fd()), unix.TCGETS)
		if err != nil {
			t.Fatal(err)
		}
		return modes.Lflag&unix.ICANON == 0
	}
	await(t, "the terminal is raw", isRaw)
	if err := cmd.Process.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil || isRaw() {
		t.Errorf("it ended with %v, the terminal is raw: %t", err, isRaw())
	}
	if err := s.stop(); err != nil {
		t.Error(err)
	}
}
