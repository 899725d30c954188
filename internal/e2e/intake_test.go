package e2e

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"cim/proto"
)

// push sends one message to a server's own API, as a route of the original
// does.
func (u *user) push(at place, body []byte) answer {
	u.system.t.Helper()
	a, err := roundTrip(u.system.client, http.MethodPost, at.http, proto.PathSendMsg, body)
	if err != nil {
		u.system.t.Fatal(err)
	}
	return a
}

// pushed are the members of such a message from sender.
func pushed(sender, receiver *user, cmd string, texts ...string) members {
	return members{
		"userId": receiver.ID, "cmd": cmd,
		"properties": members{
			"sendUserId": fmt.Sprint(sender.ID), "sendUserName": sender.Name, "receiveUserId": fmt.Sprint(receiver.ID),
		},
	}.texts(texts)
}

// TestIntake pushes messages to old clients and ours as a route of the
// original does, up to the bounds of its body and its properties.
func TestIntake(t *testing.T) {
	t.Parallel()
	sys := startSystem(t)
	bea, away := sys.old("bea"), sys.old("away")
	for _, u := range []*user{sys.old("olga"), sys.ours("ada")} {
		at := u.wantLogin(proto.CodeSuccess, "")
		s := u.join(at)
		want := func(status int, code proto.Code, body []byte) {
			t.Helper()
			if a := u.push(at, body); a.status != status || a.code != code {
				t.Errorf("sendMsg %.80s: HTTP %d, code %s (%s), want HTTP %d, %s", body, a.status, a.code, a.message, status, code)
			}
		}
		if a := u.push(at, pushed(bea, u, "MESSAGE", "one").json(t)); a.code != proto.CodeSuccess || string(a.body) != `{"msg":"OK"}` {
			t.Errorf("sendMsg: code %s, dataBody %s", a.code, a.body)
		}
		want(200, proto.CodeSuccess, pushed(bea, u, "MESSAGE", "two", "three").json(t))
		want(200, proto.CodeSuccess, pushed(bea, u, "OFFLINE", "four").json(t))
		want(200, proto.CodeSuccess, padded(t, pushed(bea, u, "MESSAGE", "five"), intakeBodyMax))
		announced := fmt.Sprintf("POST /sendMsg HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n\r\n", intakeBodyMax+1)
		if a, err := raw(at.http, announced); err != nil || a.status != http.StatusRequestEntityTooLarge || a.code != proto.CodeInvalid {
			t.Errorf("sendMsg past the bound: HTTP %d, code %s, %v, want 413 and 3000", a.status, a.code, err)
		}
		want(200, proto.CodeInvalid, pushed(bea, u, "PING", "seven").json(t))
		want(200, proto.CodeInvalid, pushed(bea, u, "MESSAGE", strings.Repeat("x", textMax+1)).json(t))
		want(200, proto.CodeSuccess, pushed(bea, away, "MESSAGE", "no receiver").json(t)) // a route stores it
		want(400, proto.CodeInvalid, []byte("no JSON"))
		for count, code := range map[int]proto.Code{propertiesMax: proto.CodeSuccess, propertiesMax + 1: proto.CodeInvalid} {
			m := pushed(bea, u, "MESSAGE", "many properties")
			for i := range count - 3 {
				m["properties"].(members)[fmt.Sprint("key", i)] = "value"
			}
			want(200, code, m.json(t))
		}
		deliveries := from(bea, "one", "two", "three")
		deliveries = append(deliveries, stored(bea, "four")...)
		s.wantExactly(append(deliveries, from(bea, "five", "many properties")...)...)
	}
	away.logIn().wantExactly(stored(bea, "no receiver", "no receiver")...)
}
