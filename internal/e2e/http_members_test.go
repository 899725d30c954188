package e2e

import (
	"slices"
	"strconv"
	"strings"
	"testing"

	"cim/proto"
)

// TestHTTPTexts sends texts and batches at their bounds and one past.
func TestHTTPTexts(t *testing.T) {
	t.Parallel()
	sys := startSystem(t)
	bea := sys.old("bea")
	receivers := []*session{sys.old("olga").logIn(), sys.ours("ada").logIn()}
	long, half := strings.Repeat("x", textMax), strings.Repeat("y", batchBytesMax/2)
	cases := []struct {
		texts  []string
		member string // "": taken
	}{
		{[]string{long}, ""},
		{[]string{long + "x"}, "msg"},
		{slices.Repeat([]string{"z"}, batchMax), ""},
		{slices.Repeat([]string{"z"}, batchMax+1), "batchMsg"},
		{[]string{half, half}, ""},
		{[]string{half, half, "y"}, "batchMsg"},
		{[]string{long + "x", "y"}, "batchMsg"},
	}
	for i, c := range cases {
		private := members{"userId": bea.ID, "receiveUserId": receivers[0].user.ID}.texts(c.texts)
		group := members{"userId": bea.ID}.texts(c.texts)
		if c.member != "" {
			bea.wantInvalid(c.member, proto.PathPrivate, private)
			bea.wantInvalid(c.member, proto.PathGroup, group)
			continue
		}
		bea.want(proto.CodeSuccess, proto.PathPrivate, private)
		bea.want(proto.CodeSuccess, proto.PathGroup, group)
		if t.Failed() {
			t.Fatalf("case %d", i)
		}
		receivers[0].wantExactly(append(from(bea, c.texts...), from(bea, c.texts...)...)...)
		receivers[1].wantExactly(from(bea, c.texts...)...)
	}
	for _, s := range receivers {
		s.wantExactly()
	}
}

// wantInvalid demands code 3000 and a message that names the member.
func (u *user) wantInvalid(member, path string, request members) {
	u.system.t.Helper()
	if a := u.ask(path, request); a.code != proto.CodeInvalid || !names(a.message, member) {
		u.system.t.Errorf("%s with %.60v: code %s, %q, want 3000 about %s", path, request, a.code, a.message, member)
	}
}

// names reports whether an answer's message begins with the name of a member.
func names(message, member string) bool {
	first, _, _ := strings.Cut(message, " ")
	return strings.TrimSuffix(first, ":") == member
}

// TestHTTPMembers leaves out what a request needs, or gets it wrong.
func TestHTTPMembers(t *testing.T) {
	t.Parallel()
	sys := startSystem(t)
	u, other := sys.ours("ada"), sys.old("olga")
	for _, c := range []struct {
		path, member string
		request      members
	}{
		{proto.PathRegister, "userName", members{}},
		{proto.PathRegister, "userName", members{"userName": nil}},
		{proto.PathLogin, "userId", members{"userName": u.Name}},
		{proto.PathLogin, "userId", members{"userId": "one", "userName": u.Name}},
		{proto.PathLogin, "userId", members{"userId": -1, "userName": u.Name}},
		{proto.PathLogin, "userName", members{"userId": u.ID}},
		{proto.PathLogin, "client", members{"userId": u.ID, "userName": u.Name, "client": 2}},
		{proto.PathLogin, "ticket", members{"userId": u.ID, "userName": u.Name, "client": 1, "ticket": "abc"}},
		{proto.PathOffLine, "userId", members{"msg": "offLine"}},
		{proto.PathOffLine, "ticket", members{"userId": u.ID, "ticket": "abc"}},
		{proto.PathGroup, "userId", members{"msg": "hi"}},
		{proto.PathGroup, "msg", members{"userId": u.ID}},
		{proto.PathPrivate, "userId", members{"receiveUserId": other.ID, "msg": "hi"}},
		{proto.PathPrivate, "receiveUserId", members{"userId": u.ID, "msg": "hi"}},
		{proto.PathPrivate, "msg", members{"userId": u.ID, "receiveUserId": other.ID}},
		{proto.PathPrivate, "msg", members{"userId": u.ID, "receiveUserId": other.ID, "msg": nil, "batchMsg": []string{}}},
		{proto.PathFetchOffline, "receiveUserId", members{}},
	} {
		u.wantInvalid(c.member, c.path, c.request)
	}
	// Ids may come as strings of digits.
	asText := members{"userId": strconv.FormatInt(int64(u.ID), 10), "receiveUserId": strconv.FormatInt(int64(other.ID), 10), "msg": "hi"}
	u.want(proto.CodeOffline, proto.PathPrivate, asText)
}

// TestUserNames registers names at their bounds and one past.
func TestUserNames(t *testing.T) {
	t.Parallel()
	sys := startSystem(t)
	u := sys.old("asker")
	for _, name := range []string{
		"a", strings.Repeat("a", userNameMax), strings.Repeat("张", userNameMax), "two words",
		"cim", "login-status2", "offline", "x-cim-", "1234",
	} {
		first := u.want(proto.CodeSuccess, proto.PathRegister, members{"userName": name})
		again := u.want(proto.CodeSuccess, proto.PathRegister, members{"userName": name})
		if string(first.body) != string(again.body) {
			t.Errorf("%q is registered as %s, then as %s", name, first.body, again.body)
		}
	}
	for _, name := range []string{
		"", strings.Repeat("a", userNameMax+1), strings.Repeat("张", userNameMax+1), " a", "a ", "a\n",
		"a\x00b", "a\u0085b", "\u3000a", "login-status", "cim-", "cim-account:1", "{cim-route:1}", "offline:msg:1",
	} {
		u.wantInvalid("userName", proto.PathRegister, members{"userName": name})
	}
}
