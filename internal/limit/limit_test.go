package limit

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// noon is the time of all tests.
var noon = time.Date(2026, 1, 2, 12, 0, 0, 0, time.UTC)

var (
	local  = netip.MustParseAddr("127.0.0.1")
	remote = netip.MustParseAddr("192.0.2.1")
)

// TestAutoSparesLoopback: unset limits do not apply to this machine's clients, and
// set ones apply to all.
func TestAutoSparesLoopback(t *testing.T) {
	if got := DefaultConfig().For(local); got != (Config{}) {
		t.Errorf("on loopback: %+v, want no limit", got)
	}
	if got := DefaultConfig().For(netip.MustParseAddr("::ffff:127.0.0.1")); got != (Config{}) {
		t.Errorf("on loopback within IPv6: %+v, want no limit", got)
	}
	want := Config{AutoRegistrations, AutoLogins, AutoUserLogins, AutoMessages, AutoUserMessages, AutoGroupMessages, AutoGroupBytes}
	if got := DefaultConfig().For(remote); got != want {
		t.Errorf("elsewhere: %+v, want %+v", got, want)
	}
	given := Config{1, 2, 3, 4, 5, 6, 7}
	for _, from := range []netip.Addr{local, remote, {}} {
		if got := given.For(from); got != given {
			t.Errorf("from %v: %+v, want %+v", from, got, given)
		}
		if got := (Config{}).For(from); got != (Config{}) {
			t.Errorf("from %v: %+v, want none", from, got)
		}
	}
}

// TestBucketFills: a bucket holds its burst, fills by its rate, and belongs to one
// key. A refusal takes nothing from it.
func TestBucketFills(t *testing.T) {
	table := NewTable[string](8)
	take := func(key string, after time.Duration) bool {
		return table.Take(key, 2, Rate(2).Burst(), 1, noon.Add(after))
	}
	for i := range 20 {
		if !take("a", 0) {
			t.Fatalf("number %d was refused, want 20", i+1)
		}
	}
	for range 5 {
		if take("a", 0) {
			t.Fatal("one past the burst was taken")
		}
	}
	if !take("b", 0) {
		t.Error("another key was refused")
	}
	if !take("a", 500*time.Millisecond) || take("a", 500*time.Millisecond) {
		t.Error("half a second at 2 a second is not one more")
	}
	for range 100 {
		if !table.Take("a", None, 0, 1, noon) {
			t.Fatal("refused without a limit")
		}
	}
}

// TestTableIsBounded: new keys take no further memory, and do not remove a bucket
// in use.
func TestTableIsBounded(t *testing.T) {
	table := NewTable[int](100)
	for i := range 10_000 {
		table.Take(i, 1, 10, 1, noon)
		if table.Len() > 100 {
			t.Fatalf("%d buckets, want at most 100", table.Len())
		}
		if i%10 == 0 && table.Take(-1, 1, 3, 1, noon) != (i < 30) {
			t.Fatalf("after %d keys the bucket in use is another", i)
		}
	}
}

// TestConfigIsChecked: each fault is named with its value.
func TestConfigIsChecked(t *testing.T) {
	if err := DefaultConfig().Check(); err != nil {
		t.Error(err)
	}
	wrong := Config{-2, RateMax + 1, -3, -4, -5, -6, -7}
	for _, want := range []string{
		"limit-registrations -2", "limit-logins 1073741825", "limit-user-logins -3", "limit-messages -4", "limit-user-messages -5",
		"limit-group-messages -6", "limit-group-bytes -7",
	} {
		if err := wrong.Check(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
}
