package route

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"cim/proto"
)

// TestRegister: an existing name gets its account, and a bad name is 3000.
func TestRegister(t *testing.T) {
	w := newWorld(t, 1)
	ann, ben := w.account("ann"), w.account("ben")
	if ann.ID <= 0 || ann.ID == ben.ID || ann.Name != "ann" {
		t.Errorf("accounts %+v and %+v", ann, ben)
	}
	if again := w.account("ann"); again != ann {
		t.Errorf("ann is %+v, then %+v", ann, again)
	}
	w.account(strings.Repeat("ü", proto.UserNameMax))
	for _, name := range []string{"", " ann", "a\u0001b", "login-status", "cim-x", strings.Repeat("ü", proto.UserNameMax+1)} {
		body, err := json.Marshal(map[string]string{"userName": name})
		if err != nil {
			t.Fatal(err)
		}
		a := w.want(proto.CodeInvalid, proto.PathRegister, string(body))
		if !strings.Contains(a.Message, "userName") {
			t.Errorf("name %q: message %q does not name the field", name, a.Message)
		}
	}
}

// TestFind: a name without an account is 9100, and gets none.
func TestFind(t *testing.T) {
	w := newWorld(t, 1)
	for range 2 {
		a := w.want(proto.CodeAccountMismatch, proto.PathRegister, `{"userName":"ann","find":1}`)
		if string(a.DataBody) != "null" {
			t.Errorf("dataBody %s", a.DataBody)
		}
	}
	ann := w.account("ann")
	a := w.want(proto.CodeSuccess, proto.PathRegister, `{"userName":"ann","find":"1"}`)
	if want := proto.Body(proto.UserBody{UserID: ann.ID, UserName: "ann"}); string(a.DataBody) != want {
		t.Errorf("dataBody %s, want %s", a.DataBody, want)
	}
	w.want(proto.CodeInvalid, proto.PathRegister, `{"userName":" ann","find":1}`)
	ben := w.account("ben")
	a = w.want(proto.CodeSuccess, proto.PathRegister, `{"userName":"ben","find":0}`)
	if want := proto.Body(proto.UserBody{UserID: ben.ID, UserName: "ben"}); string(a.DataBody) != want {
		t.Errorf("find 0 is as none: dataBody %s, want %s", a.DataBody, want)
	}
}

// TestOnlineUser lists connected sessions of live servers only, to GET and
// POST alike.
func TestOnlineUser(t *testing.T) {
	w := newWorld(t, 2)
	if got := w.onlineUsers(http.MethodGet); got != "" {
		t.Errorf("no user is online, got %q", got)
	}
	ann := w.online("ann", false)
	ben := w.account("ben")
	w.login(ben, "") // granted, not connected
	want := fmt.Sprintf("%d ann,", ann.ID)
	for _, method := range []string{http.MethodGet, http.MethodPost} {
		w.eventually("online by "+method, func() bool { return w.onlineUsers(method) == want })
	}
	w.deregister(w.serverOf(ann.ID).member.Epoch)
	w.eventually("her server is gone", func() bool { return w.onlineUsers(http.MethodGet) == "" })
}

func (w *world) onlineUsers(method string) string {
	w.t.Helper()
	status, a := w.request(method, proto.PathOnlineUser, "")
	if status != http.StatusOK || a.Code != proto.Number(proto.CodeSuccess) {
		w.t.Fatalf("onlineUser: HTTP %d, code %d", status, a.Code)
	}
	var users []proto.UserBody
	if err := json.Unmarshal(a.DataBody, &users); err != nil || users == nil {
		w.t.Fatalf("dataBody %s: %v", a.DataBody, err)
	}
	list := ""
	for _, u := range users {
		list += fmt.Sprintf("%d %s,", u.UserID, u.UserName)
	}
	return list
}

// TestStoreFails: each request says so, and none says more than that.
func TestStoreFails(t *testing.T) {
	broken := errors.New("disk on fire")
	for _, c := range []struct{ call, path, body string }{
		{"Register", proto.PathRegister, `{"userName":"new"}`},
		{"Find", proto.PathRegister, `{"userName":"new","find":1}`},
		{"Account", proto.PathLogin, `{"userId":1,"userName":"ann"}`},
		{"Account", proto.PathPrivate, `{"userId":1,"receiveUserId":2,"msg":"x"}`},
		{"Account", proto.PathGroup, `{"userId":1,"msg":"x"}`},
		{"Lookup fresh", proto.PathOffLine, `{"userId":1}`},
		{"Lookup fresh", proto.PathFetchOffline, `{"receiveUserId":1}`},
		{"Connected", proto.PathOnlineUser, ``},
	} {
		hooked := &hookedStore{before: func(call string) error {
			if call == c.call {
				return broken
			}
			return nil
		}}
		w := newWorldWith(t, 1, testConfig(), hooked)
		a := w.want(proto.CodeFailure, c.path, c.body)
		if strings.Contains(a.Message, "fire") || !strings.Contains(a.Message, "store") {
			t.Errorf("%s: message %q", c.path, a.Message)
		}
		w.stop()
		if !strings.Contains(w.log.String(), "disk on fire") {
			t.Errorf("%s: the log does not say why", c.path)
		}
	}
}

// TestNamesThatLookLikeOthers: each spelling of a name finds its one account,
// registers none of its own, and logs in; a name with what does not show is
// refused in words.
func TestNamesThatLookLikeOthers(t *testing.T) {
	const composed, decomposed = "ren\u00e9", "rene\u0301"
	w := newWorld(t, 1)
	rene := w.account(decomposed)
	if rene.Name != composed {
		t.Errorf("registered as %+q", rene.Name)
	}
	for _, name := range []string{composed, decomposed} {
		if again := w.account(name); again != rene {
			t.Errorf("%+q is %+v, want %+v", name, again, rene)
		}
		a := w.want(proto.CodeSuccess, proto.PathRegister, fmt.Sprintf(`{"userName":"%s","find":1}`, name))
		if want := proto.Body(proto.UserBody{UserID: rene.ID, UserName: composed}); string(a.DataBody) != want {
			t.Errorf("%+q found %s, want %s", name, a.DataBody, want)
		}
		w.want(proto.CodeSuccess, proto.PathLogin, fmt.Sprintf(`{"userId":%d,"userName":"%s","client":1}`, rene.ID, name))
	}
	w.want(proto.CodeAccountMismatch, proto.PathLogin, fmt.Sprintf(`{"userId":%d,"userName":"rene"}`, rene.ID))
	w.account("ann")
	for _, name := range []string{"ann\u200b", "\u202eann", "ann\ufeff", "\u3164", "a\u00a0b", "\u0301"} {
		a := w.want(proto.CodeInvalid, proto.PathRegister, fmt.Sprintf(`{"userName":"%s"}`, name))
		if !strings.Contains(a.Message, "userName") || !strings.Contains(a.Message, "U+") {
			t.Errorf("%+q: %q does not say what is wrong with it", name, a.Message)
		}
		w.want(proto.CodeAccountMismatch, proto.PathRegister, fmt.Sprintf(`{"userName":"%s","find":1}`, name))
	}
}

// TestNamesOfOlderReleases: an account whose name would be refused today can log in, and is found.
// If the name is not in NFC it stays so, and no second account is made.
func TestNamesOfOlderReleases(t *testing.T) {
	const hidden, decomposed, composed = "ann\u200b", "e\u0301", "\u00e9"
	w := newWorld(t, 1)
	for _, name := range []string{hidden, decomposed} {
		old, err := w.store.Register(t.Context(), name)
		if err != nil {
			t.Fatal(err)
		}
		if again := w.account(name); again != old {
			t.Errorf("%+q is %+v, want %+v", name, again, old)
		}
		w.connect(old, true)
		w.want(proto.CodeSuccess, proto.PathPrivate, fmt.Sprintf(`{"userId":%d,"receiveUserId":%d,"msg":"x"}`, old.ID, old.ID))
	}
	if old := w.account(composed); old.Name != decomposed {
		t.Errorf("%+q got the account %+v", composed, old)
	}
}
