package redis

import (
	"strings"
	"testing"
	"unicode/utf8"

	"cim/proto"
)

// TestOddNames: a name that another process has written and that no frame can
// carry is an error that names its key; the list of users goes on with what can
// be read of it.
func TestOddNames(t *testing.T) {
	d := own(t)
	s := opened(t, Config{URLs: []string{"redis://" + d.Addr}})
	longest := strings.Repeat("x", proto.RecordNameMax)
	for _, c := range []struct {
		name string
		fits bool
	}{{longest, true}, {longest + "x", false}, {"\xff\xfe", false}} {
		ann := registered(t, s, "ann"+c.name[:1]+string(rune('a'+len(c.name)%26)))
		loggedIn(t, s, ann, 0)
		said(t, d.Addr, "SET", accountKey(ann.ID), c.name)
		fresh := opened(t, Config{URLs: []string{"redis://" + d.Addr}})
		name, found, err := fresh.Account(t.Context(), ann.ID)
		if c.fits && (err != nil || !found || name != c.name) {
			t.Errorf("a name of %d bytes: %t, %v", len(c.name), found, err)
		}
		if !c.fits && (err == nil || !strings.Contains(err.Error(), accountKey(ann.ID))) {
			t.Errorf("a name of %d bytes is taken: %v", len(c.name), err)
		}
	}
	present, err := opened(t, Config{URLs: []string{"redis://" + d.Addr}}).Connected(t.Context())
	if err != nil || len(present) != 3 {
		t.Fatalf("%d connected, %v; want 3", len(present), err)
	}
	for _, p := range present {
		if !utf8.ValidString(p.User.Name) {
			t.Errorf("a listed name is no UTF-8: %q", p.User.Name)
		}
	}
}
