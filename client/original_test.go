package client

import (
	"errors"
	"reflect"
	"testing"

	"cim/proto"
)

// TestOriginal logs in at a route and a server of the original: dialect v2,
// messages over HTTP, the stored ones fetched.
func TestOriginal(t *testing.T) {
	f := newFake(t, "")
	f.codes[proto.PathPrivate] = proto.CodeOffline
	config := f.config()
	got := make(chan Message, 10)
	config.OnMessage = func(m Message) { got <- m }
	c, p := f.logIn(config)

	result, err := c.SendGroup(t.Context(), "to all")
	if err != nil || result != (Result{Outcome: proto.OutcomeDelivered, Code: proto.CodeSuccess}) {
		t.Errorf("SendGroup: %+v, %v", result, err)
	}
	want := map[string]any{"userId": float64(ann.ID), "msg": "to all"}
	if a := f.expect(proto.PathGroup); !reflect.DeepEqual(a.body, want) {
		t.Errorf("group %v, want %v", a.body, want)
	}
	result, err = c.Send(t.Context(), 9, "to bob")
	if err != nil || result != (Result{Outcome: proto.OutcomeStored, Code: proto.CodeOffline}) {
		t.Errorf("Send: %+v, %v", result, err)
	}
	want = map[string]any{"userId": float64(ann.ID), "receiveUserId": float64(9), "msg": "to bob"}
	if a := f.expect(proto.PathPrivate); !reflect.DeepEqual(a.body, want) {
		t.Errorf("private %v, want %v", a.body, want)
	}

	body := proto.AppendBody(nil, proto.MessageFrom(proto.CommandOffline, ann, 0, []string{"kept"}))
	p.write(proto.AppendDelivery(nil, body, ann.ID))
	if m := await(t, got); m != (Message{Sender: ann, Text: "kept", Offline: true}) {
		t.Errorf("message %+v, want the stored one", m)
	}
}

// TestOriginalReconnect says goodbye before it logs in again, since the
// original's route believes the user to be online.
func TestOriginalReconnect(t *testing.T) {
	f := newFake(t, "")
	config := f.config()
	seen := states(&config)
	_, p := f.logIn(config)
	p.close()
	wantState(t, seen, StateReconnecting)
	bye := f.expect(proto.PathOffLine)
	want := map[string]any{"userId": float64(ann.ID), "msg": proto.GoodbyeMsg}
	if !reflect.DeepEqual(bye.body, want) {
		t.Errorf("goodbye %v, want %v", bye.body, want)
	}
	f.takeLogin(proto.LoginAnswer{})
	f.expect(proto.PathLogin)
	wantState(t, seen, StateReady)
}

// TestSendHTTPTwice asks the next route only if the message cannot have
// arrived: a route that takes the request and says nothing ends it.
func TestSendHTTPTwice(t *testing.T) {
	mute, f := newMute(t), newFake(t, "")
	r := newRoutes([]string{"http://" + unused(t), f.http.URL}, nil)
	defer r.rest()
	text := "hi"
	request := proto.GroupRequest{UserID: 7, Msg: &text}
	if code, err := r.send(t.Context(), proto.PathGroup, request); err != nil || code != proto.CodeSuccess {
		t.Errorf("send past a route that is down: %s, %v", code, err)
	}
	f.expect(proto.PathGroup)
	r = newRoutes([]string{mute, f.http.URL}, nil)
	defer r.rest()
	if _, err := r.send(t.Context(), proto.PathGroup, request); !errors.Is(err, ErrUnknown) {
		t.Errorf("send to a mute route: %v, want ErrUnknown", err)
	}
	if len(f.asked) != 0 {
		t.Error("the message was sent a second time")
	}
}

// TestOriginalRefused ends for good when its login is refused as a repeated one
// while it reconnects.
func TestOriginalRefused(t *testing.T) {
	f := newFake(t, "")
	config := f.config()
	config.Backoff = &steps{}
	seen := states(&config)
	c, p := f.logIn(config)
	f.now(func() { f.codes[proto.PathLogin] = proto.CodeRepeatLogin })
	p.close()
	wantState(t, seen, StateReconnecting)
	wantState(t, seen, StateClosed)
	await(t, c.Done())
	if !errors.Is(c.Err(), ErrRepeatLogin) {
		t.Errorf("Err: %v, want ErrRepeatLogin", c.Err())
	}
	f.expect(proto.PathOffLine)
	f.expect(proto.PathLogin)
	if len(f.asked) != 0 {
		t.Error("the route was asked again")
	}
}
