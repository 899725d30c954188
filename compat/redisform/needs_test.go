package redisform

import (
	"os"
	"slices"
	"strings"
	"testing"

	"cim/internal/daemon"
	"cim/store"
	"cim/store/redis"
)

// user makes a user with these rights, and returns the URL.
func user(t *testing.T, d *daemon.Daemon, rights ...string) string {
	t.Helper()
	args := append([]string{"ACL", "SETUSER", "cim", "reset", "on", ">pw"}, rights...)
	if answer := said(t, d.Addr, args...); answer != "+OK\r\n" {
		t.Fatalf("%v: %s", args, answer)
	}
	return "redis://cim:pw@" + d.Addr
}

// documented are the rights of the ACL line in the documentation.
func documented(t *testing.T) []string {
	t.Helper()
	page, err := os.ReadFile("../../docs/operations.md")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(page)) {
		if strings.HasPrefix(line, "ACL SETUSER cim ") && strings.Contains(line, "+hset") {
			return strings.Fields(strings.ReplaceAll(line, "PASSWORD", "pw"))[3:]
		}
	}
	t.Fatal("docs/operations.md has no line ACL SETUSER cim with +hset")
	return nil
}

// TestDocumentedACL runs the suite beside the original as the user whose ACL line
// stands in the documentation.
func TestDocumentedACL(t *testing.T) {
	d := own(t)
	url := user(t, d, documented(t)...)
	runOriginal(t, func(t *testing.T, config store.Config) *Store {
		said(t, d.Addr, "FLUSHALL")
		return on(url)(t, config)
	})
	if stats := said(t, d.Addr, "INFO", "errorstats"); strings.Contains(stats, "NOPERM") {
		t.Errorf("something was not allowed: %s; ACL LOG: %s", stats, said(t, d.Addr, "ACL", "LOG"))
	}
}

// missed waits until the store at url is not ready since something of these words is
// missing.
func missed(t *testing.T, url string, words ...string) {
	t.Helper()
	s := opened(t, Config{Redis: redis.Config{URLs: []string{url}}})
	await(t, strings.Join(words, ", ")+" is missed", func() bool {
		err := s.Ready(t.Context())
		return err != nil && !slices.ContainsFunc(words, func(word string) bool { return !strings.Contains(err.Error(), word) })
	})
}

// TestNeededRights takes each right away that this package needs: that is named.
func TestNeededRights(t *testing.T) {
	d := own(t)
	for _, command := range slices.Concat(needs.Commands, needs.InScripts) {
		name := strings.ToLower(command.Name)
		missed(t, user(t, d, "~*", "+@all", "-"+name), name, "NOPERM")
	}
	missed(t, user(t, d, "~cim-*", "~{cim-*", "~login-status", "+@all"), textPrefix, "NOPERM")
}

// TestNeededCommands runs a Redis that does not know a command, as with
// rename-command: that is named, whether we send it or a script calls it.
func TestNeededCommands(t *testing.T) {
	for _, command := range []string{"RPUSH", "TYPE"} {
		d := own(t, "--rename-command", command, "")
		missed(t, "redis://"+d.Addr, "does not know "+strings.ToLower(command)+", which cim needs")
	}
}
