package access

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"cim/internal/limit"
	"cim/internal/token"
	"cim/proto"
)

// spender makes calls of one caller from one address, all at noon.
type spender struct {
	w     *world
	token string
	from  string
}

// passes makes n calls, and returns how many are within the limits and what the
// first was above that is not.
func (s spender) passes(call Call, subject proto.UserID, size, n int) (passed int, above string) {
	s.w.t.Helper()
	shown := Credential{From: netip.MustParseAddr(s.from)}
	if s.token != "" {
		shown.Header = "Bearer " + s.token
	}
	caller, refusal := s.w.gate.Identify(shown, noon)
	if refusal != nil {
		s.w.t.Fatal(refusal.Text)
	}
	for range n {
		limited := caller.Spend(call, subject, 1, size, noon)
		if limited == nil {
			passed++
			continue
		}
		if above == "" {
			above = limited.What
		}
		if !strings.Contains(limited.Text, "a second") || !strings.HasSuffix(limited.Text, "(limit-"+limited.What+")") {
			s.w.t.Errorf("the caller gets %q", limited.Text)
		}
	}
	return passed, above
}

// wants makes n calls and checks that exactly want of them are within the limits.
func (s spender) wants(call Call, subject proto.UserID, n, want int, above string) {
	s.w.t.Helper()
	if passed, what := s.passes(call, subject, 100, n); passed != want || what != above {
		s.w.t.Errorf("call %d of %d from %s: %d passed, then above %q; want %d, %q", call, subject, s.from, passed, what, want, above)
	}
}

func limited(mode Mode, limits limit.Config) func(*Config) {
	return func(c *Config) { c.Mode, c.Limits = mode, limits }
}

// TestLimitsOfAnAddress: without a token an address has its own buckets, for all users that it
// names; an IPv6 address counts by its 64 bits.
func TestLimitsOfAnAddress(t *testing.T) {
	w := newWorld(t, token.HS256, limited(Check, limit.Config{Registrations: 1, Logins: 2, Messages: 3}))
	one, two := spender{w: w, from: "192.0.2.1"}, spender{w: w, from: "192.0.2.2"}
	one.wants(Register, 0, 11, 10, "registrations")
	one.wants(Login, ann, 15, 15, "")
	one.wants(Login, ben, 15, 5, "logins")
	one.wants(Private, ann, 20, 20, "")
	one.wants(Group, ben, 20, 10, "messages")
	one.wants(Find, 0, 100, 100, "")
	two.wants(Register, 0, 11, 10, "registrations")
	two.wants(Login, ann, 21, 20, "logins")
	two.wants(Private, ann, 31, 30, "messages")
	six := spender{w: w, from: "2001:db8::1"}
	six.wants(Register, 0, 10, 10, "")
	six.from = "2001:db8::2"
	six.wants(Register, 0, 1, 0, "registrations")
}

// TestLimitsOfAUser: a caller with a user's token is limited as that user from any address, and not
// by the address. Requests in a user's name without a token take nothing from the user.
func TestLimitsOfAUser(t *testing.T) {
	w := newWorld(t, token.HS256, limited(Check, limit.Config{Registrations: 1, Logins: 1, UserLogins: 2, Messages: 1, UserMessages: 3}))
	stranger := spender{w: w, from: "192.0.2.1"}
	stranger.wants(Login, ann, 11, 10, "logins")
	stranger.wants(Private, ann, 11, 10, "messages")
	known := spender{w: w, from: "192.0.2.1", token: w.token(token.Claims{User: int64(ann)})}
	known.wants(Login, ann, 15, 15, "")
	known.wants(Private, ann, 20, 20, "")
	known.from = "192.0.2.9"
	known.wants(Login, ann, 15, 5, "user-logins")
	known.wants(Group, ann, 20, 10, "user-messages")
	known.wants(Register, 0, 11, 10, "registrations")
	service := spender{w: w, from: "192.0.2.1", token: w.token(token.Claims{Service: true})}
	service.wants(Login, ann, 100, 100, "")
	service.wants(Private, ann, 100, 100, "")
	service.wants(Register, 0, 100, 100, "")
}

// TestLimitsOfOneNamedUser: without tokens each address has a bucket for each
// user that it names.
func TestLimitsOfOneNamedUser(t *testing.T) {
	w := newWorld(t, token.HS256, limited(Off, limit.Config{UserLogins: 1, UserMessages: 2}))
	one, two := spender{w: w, from: "192.0.2.1"}, spender{w: w, from: "192.0.2.2"}
	one.wants(Login, ann, 11, 10, "user-logins")
	one.wants(Login, ben, 11, 10, "user-logins")
	one.wants(Private, ann, 21, 20, "user-messages")
	two.wants(Login, ann, 10, 10, "")
	two.wants(Private, ann, 20, 20, "")
}

// TestLimitsOfMessagesToEverybody count messages and bytes, of backends too. The
// longest message passes in time however small the rate is.
func TestLimitsOfMessagesToEverybody(t *testing.T) {
	w := newWorld(t, token.HS256, limited(Check, limit.Config{GroupMessages: 1, GroupBytes: 1000}))
	stranger := spender{w: w, from: "192.0.2.1"}
	stranger.wants(Group, ann, 11, 10, "group-messages")
	stranger.wants(Private, ann, 100, 100, "")
	service := spender{w: w, from: "192.0.2.1", token: w.token(token.Claims{Service: true})}
	if passed, above := service.passes(Group, ben, limit.MessageBytesMax, 2); passed != 1 || above != "group-bytes" {
		t.Errorf("%d of the longest messages passed, then above %q; want 1, group-bytes", passed, above)
	}
}

// TestBatchesCountTheirTexts: a batch takes as many as it has texts, and the
// largest passes when the bucket is full.
func TestBatchesCountTheirTexts(t *testing.T) {
	w := newWorld(t, token.HS256, limited(Off, limit.Config{UserMessages: 1, GroupMessages: 2}))
	caller, _ := w.gate.Identify(Credential{From: netip.MustParseAddr("192.0.2.1")}, noon)
	for i, c := range []struct {
		call    Call
		subject proto.UserID
		texts   int
		above   string
	}{
		{Private, ann, 6, ""},
		{Private, ann, 5, "user-messages"},
		{Private, ann, 4, ""},
		{Private, ann, 1, "user-messages"},
		{Private, ben, 1000, ""},
		{Private, ben, 1, "user-messages"},
	} {
		got := caller.Spend(c.call, c.subject, c.texts, 0, noon)
		if (got == nil) != (c.above == "") || got != nil && got.What != c.above {
			t.Errorf("number %d: %+v, want %q", i, got, c.above)
		}
	}
}

// TestLimitsRefill: a bucket refills with time.
func TestLimitsRefill(t *testing.T) {
	w := newWorld(t, token.HS256, limited(Off, limit.Config{Registrations: 2}))
	one := spender{w: w, from: "192.0.2.1"}
	one.wants(Register, 0, 21, 20, "registrations")
	caller, _ := w.gate.Identify(Credential{From: netip.MustParseAddr(one.from)}, noon)
	later := noon.Add(time.Second)
	for i := range 3 {
		if got := caller.Spend(Register, 0, 1, 0, later); (got == nil) != (i < 2) {
			t.Errorf("number %d a second later: %+v", i, got)
		}
	}
}

// TestNamesPushNoBucketOut: a caller that names ever more users displaces no bucket of an address,
// or of a user with a token.
func TestNamesPushNoBucketOut(t *testing.T) {
	w := newWorld(t, token.HS256, limited(Check, limit.Config{Registrations: 1, UserLogins: 1}))
	stranger := spender{w: w, from: "192.0.2.1"}
	user := spender{w: w, from: "192.0.2.2", token: w.token(token.Claims{User: int64(ann)})}
	stranger.wants(Register, 0, 11, 10, "registrations")
	stranger.wants(Login, ann, 11, 10, "user-logins")
	user.wants(Login, ann, 11, 10, "user-logins")
	for i := range 2 * bucketsMax {
		stranger.passes(Login, proto.UserID(1000+i), 0, 1)
	}
	stranger.wants(Login, ann, 11, 10, "user-logins") // its bucket of before is forgotten
	stranger.wants(Register, 0, 1, 0, "registrations")
	user.wants(Login, ann, 1, 0, "user-logins")
}
