package redis

import (
	"os"
	"strings"
	"testing"

	"cim/internal/daemon"
	"cim/store"
	"cim/store/storetest"
)

// aclUser makes a user with all keys and these rights, and returns the URL.
func aclUser(t *testing.T, d *daemon.Daemon, rights ...string) string {
	t.Helper()
	args := append([]string{"ACL", "SETUSER", "cim", "reset", "on", ">pw", "~*"}, rights...)
	if answer := said(t, d.Addr, args...); answer != "+OK\r\n" {
		t.Fatalf("%v: %s", args, answer)
	}
	return "redis://cim:pw@" + d.Addr
}

// documentedACL is what stands behind "ACL SETUSER cim" in the line of the
// documentation that has these words too.
func documentedACL(t *testing.T, words string) []string {
	t.Helper()
	page, err := os.ReadFile("../../docs/operations.md")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(page)) {
		if strings.HasPrefix(line, "ACL SETUSER cim ") && strings.Contains(line, words) {
			return strings.Fields(strings.ReplaceAll(line, "PASSWORD", "pw"))[3:]
		}
	}
	t.Fatalf("docs/operations.md has no line ACL SETUSER cim with %q", words)
	return nil
}

// documentedUser makes the documented user, and returns the URL.
func documentedUser(t *testing.T, d *daemon.Daemon) string {
	t.Helper()
	args := append([]string{"ACL", "SETUSER", "cim"}, documentedACL(t, "+hset")...)
	if answer := said(t, d.Addr, args...); answer != "+OK\r\n" {
		t.Fatalf("%v: %s", args, answer)
	}
	return "redis://cim:pw@" + d.Addr
}

// TestDocumentedACL runs the suite as the user whose ACL line stands in the
// documentation.
func TestDocumentedACL(t *testing.T) {
	d := own(t)
	url := documentedUser(t, d)
	open := func(t *testing.T, config store.Config) store.Store {
		said(t, d.Addr, "FLUSHALL")
		return opened(t, Config{URLs: []string{url}, Store: config})
	}
	storetest.RunAgain(t, open)
	said(t, d.Addr, "FLUSHALL")
	s, log := openedLogged(t, Config{URLs: []string{url}})
	serves(t, s)
	if err := s.repairRoutes(t.Context(), map[string]uint64{}); err != nil {
		t.Errorf("repairRoutes: %v", err)
	}
	if log.String() != "" {
		t.Errorf("the log has: %s", log)
	}
	if stats := said(t, d.Addr, "INFO", "errorstats"); strings.Contains(stats, "NOPERM") {
		t.Errorf("something was not allowed: %s; ACL LOG: %s", stats, said(t, d.Addr, "ACL", "LOG"))
	}
}

// TestNeededRights takes each right away that is tried: that is named, and each
// right of the documented line that is not tried is known to be spared.
func TestNeededRights(t *testing.T) {
	d := own(t)
	for _, command := range append(needed, []string{"TIME"}) {
		name := strings.ToLower(command[0])
		s, _ := openedLogged(t, Config{URLs: []string{aclUser(t, d, "+@all", "-"+name)}})
		await(t, "the right to use "+name+" is missed", func() bool {
			err := s.Ready(t.Context())
			return err != nil && strings.Contains(err.Error(), name) && strings.Contains(err.Error(), "NOPERM")
		})
	}
	if answer := said(t, d.Addr, "ACL", "SETUSER", "some", "on", ">pw", "~cim-*", "~{cim-*", "~login-status", "+@all"); answer != "+OK\r\n" {
		t.Fatal(answer)
	}
	s, _ := openedLogged(t, Config{URLs: []string{"redis://some:pw@" + d.Addr}})
	await(t, "keys are missed", func() bool {
		err := s.Ready(t.Context())
		return err != nil && strings.Contains(err.Error(), "any-user-name") && !strings.Contains(err.Error(), routePrefix)
	})
}

// TestRightsComeAndGo takes a right away while the store works, and gives it
// back.
func TestRightsComeAndGo(t *testing.T) {
	d := own(t)
	s, log := openedLogged(t, Config{URLs: []string{aclUser(t, d, "+@all")}})
	ann := registered(t, s, "ann")
	said(t, d.Addr, "ACL", "SETUSER", "cim", "-hset")
	if err := s.Append(t.Context(), ann.ID, ann, 0, 0, []string{"private"}); err == nil || strings.Contains(err.Error(), "private") {
		t.Errorf("Append: %v", err)
	}
	await(t, "the missing right is seen", func() bool {
		err := s.Ready(t.Context())
		return err != nil && strings.Contains(err.Error(), "hset")
	})
	said(t, d.Addr, "ACL", "SETUSER", "cim", "+hset")
	await(t, "it is back", func() bool { return s.Ready(t.Context()) == nil })
	if log.count("cannot be used") != 1 {
		t.Errorf("want it logged once: %s", log)
	}
}

// TestEvictionPolicy goes through the policies: those that may drop our keys are
// warned of, once, and that makes nothing unready.
func TestEvictionPolicy(t *testing.T) {
	d := own(t)
	for policy, want := range map[string]string{
		"noeviction": "", "allkeys-lru": "accounts, presence and stored messages", "allkeys-random": "accounts, presence",
		"volatile-ttl": "stored messages may be dropped", "volatile-lfu": "stored messages may be dropped",
	} {
		said(t, d.Addr, "CONFIG", "SET", "maxmemory-policy", policy)
		for _, denied := range [][]string{{"+@all"}, {"+@all", "-config"}, {"+@all", "-info"}} {
			s, log := openedLogged(t, Config{URLs: []string{aclUser(t, d, denied...)}})
			if want != "" {
				await(t, "the warning", func() bool { return log.count("level=WARN") > 0 })
			}
			if err := s.Ready(t.Context()); err != nil {
				t.Errorf("Ready: %v", err)
			}
			switch got := log.String(); {
			case want == "" && got != "":
				t.Errorf("%s, %v: warned: %s", policy, denied, got)
			case want != "" && (log.count("level=WARN") != 1 || !strings.Contains(got, want) || !strings.Contains(got, policy)):
				t.Errorf("%s, %v: %s, want %q once", policy, denied, got, want)
			}
		}
	}
}

// TestNeededCommands runs a Redis that does not know one of the commands, as with
// rename-command: that is named, whether we send it or a script calls it.
func TestNeededCommands(t *testing.T) {
	for _, command := range []string{"EVAL", "EVALSHA", "GET", "SSCAN", "HGETALL", "HINCRBY"} {
		t.Run(command, func(t *testing.T) {
			t.Parallel()
			d := own(t, "--rename-command", command, "")
			s, _ := openedLogged(t, Config{URLs: []string{"redis://" + d.Addr}})
			await(t, command+" is missed", func() bool {
				err := s.Ready(t.Context())
				return err != nil && strings.Contains(err.Error(), "does not know "+strings.ToLower(command)+", which cim needs")
			})
		})
	}
}
