package redis

import (
	"net"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"cim/internal/daemon"
	"cim/store"
)

// TestSentinel kills a master that a Sentinel watches: the store goes on with
// the replica that takes its place.
func TestSentinel(t *testing.T) {
	t.Parallel()
	master := own(t)
	host, text, _ := net.SplitHostPort(master.Addr)
	port, err := strconv.Atoi(text)
	if err != nil {
		t.Fatal(err)
	}
	replica := own(t, "--replicaof", host+" "+text, "--repl-diskless-sync-delay", "0")
	awaitLong(t, "the replica", func() bool {
		return strings.Contains(said(t, replica.Addr, "INFO", "replication"), "master_link_status:up")
	})
	sentinel, err := daemon.Sentinel(t.Context(), filepath.Join(t.TempDir(), "sentinel"), "cim", host, port, 1)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := sentinel.Stop(); err != nil {
			t.Error(err)
		}
	}()
	awaitLong(t, "the Sentinel knows the replica", func() bool {
		return strings.Contains(said(t, sentinel.Addr, "SENTINEL", "MASTER", "cim"), "num-slaves\r\n$1\r\n1")
	})
	s := opened(t, Config{URLs: []string{"redis://" + sentinel.Addr + "?master_set=cim"}})
	ann := registered(t, s, "ann")
	generation := loggedIn(t, s, ann, 0)
	awaitLong(t, "the replica has the record", func() bool {
		return said(t, replica.Addr, "GET", connectedKey(ann.ID)) == "$1\r\n1\r\n"
	})
	if err := master.Kill(); err != nil {
		t.Fatal(err)
	}
	awaitLong(t, "the replica has taken over", func() bool {
		record, found, err := s.Lookup(t.Context(), ann.ID, store.Fresh)
		return err == nil && found && record.Generation == generation
	})
	awaitLong(t, "and takes what is written", func() bool {
		return s.Append(t.Context(), ann.ID, ann, 0, 0, []string{"text"}) == nil
	})
	if next := loggedIn(t, s, ann, generation); next <= generation {
		t.Errorf("generation %d after %d", next, generation)
	}
}

// awaitLong waits for what takes a Sentinel's time, 2 minutes at most: one that
// has itself stood still for 2 s does nothing for 30 s.
func awaitLong(t *testing.T, what string, done func() bool) {
	t.Helper()
	poll := time.NewTicker(50 * time.Millisecond)
	defer poll.Stop()
	for end := time.Now().Add(2 * time.Minute); !done(); <-poll.C {
		if time.Now().After(end) {
			t.Fatalf("not within 2 minutes: %s", what)
		}
	}
}
