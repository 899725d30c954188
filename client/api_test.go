package client

import (
	"errors"
	"strings"
	"testing"

	"cim/proto"
)

func newAPI(t *testing.T, urls ...string) *API {
	t.Helper()
	api, err := NewAPI(urls, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(api.Close)
	return api
}

// TestAPISend sends one text and several, to a user and to all.
func TestAPISend(t *testing.T) {
	f := newFake(t, "")
	api := newAPI(t, f.http.URL)
	for _, c := range []struct {
		receiver proto.UserID
		texts    []string
		path     string
	}{
		{8, []string{""}, proto.PathPrivate},
		{8, []string{"a", "b"}, proto.PathPrivate},
		{0, []string{"a"}, proto.PathGroup},
		{0, []string{"a", ""}, proto.PathGroup},
	} {
		result, err := api.Send(t.Context(), 7, c.receiver, c.texts...)
		if err != nil || result.Outcome != proto.OutcomeDelivered || result.ID != 0 {
			t.Errorf("%q to %d: %+v, %v", c.texts, c.receiver, result, err)
		}
		asked := <-f.asked
		msg, one := asked.body["msg"]
		batch, several := asked.body["batchMsg"].([]any)
		if asked.path != c.path || one == several || one && msg != c.texts[0] || several && len(batch) != len(c.texts) {
			t.Errorf("%q to %d: asked %+v", c.texts, c.receiver, asked)
		}
	}
}

// TestAPISendOutcomes: messages that were refused, whose outcome is unknown, and that were not
// sent.
func TestAPISendOutcomes(t *testing.T) {
	f := newFake(t, "")
	f.now(func() { f.codes[proto.PathPrivate], f.codes[proto.PathGroup] = proto.CodeOfflineStore, 0 })
	api := newAPI(t, f.http.URL)
	result, err := api.Send(t.Context(), 7, 8, "a")
	if err != nil || result.Outcome != proto.OutcomeFailed || result.Code != proto.CodeOfflineStore {
		t.Errorf("refused: %+v, %v", result, err)
	}
	if _, err := api.Send(t.Context(), 7, 0, "a"); !errors.Is(err, ErrUnknown) {
		t.Errorf("no answer: %v, want it unknown", err)
	}
	long := strings.Repeat(`"`, proto.TextMax)
	for name, send := range map[string]func(*API) error{
		"no route":  func(*API) error { return sendTo(t, newAPI(t, "http://127.0.0.1:1"), "a") },
		"no text":   func(a *API) error { return sendTo(t, a) },
		"no UTF-8":  func(a *API) error { return sendTo(t, a, "\xff") },
		"too long":  func(a *API) error { return sendTo(t, a, strings.Repeat("x", proto.TextMax+1)) },
		"long JSON": func(a *API) error { return sendTo(t, a, long) },
	} {
		if err := send(api); err == nil || errors.Is(err, ErrUnknown) {
			t.Errorf("%s: %v, want that nothing was sent", name, err)
		}
	}
	if _, err := NewAPI([]string{"nowhere"}, nil); err == nil {
		t.Error("a route that is no URL is taken")
	}
}

func sendTo(t *testing.T, api *API, texts ...string) error {
	_, err := api.Send(t.Context(), 7, 8, texts...)
	return err
}

// TestSentID reads the id in an answer, and minds none that it cannot read.
func TestSentID(t *testing.T) {
	for body, want := range map[string]proto.TextID{
		`{"textId":"18446744073709551615"}`: 1<<64 - 1, `{"textId":"1"}`: 1,
		`null`: 0, `{}`: 0, ``: 0, `{"textId":"-1"}`: 0, `{"textId":7}`: 0, `[]`: 0,
	} {
		if got := sentBody(proto.Answer{DataBody: []byte(body)}); got != (Result{ID: want}) {
			t.Errorf("%s: %+v, want %d", body, got, want)
		}
	}
	for body, want := range map[string]proto.Receivers{
		`{"textId":"1","receivers":3}`: proto.ReceiversOf(3), `{"textId":"1","receivers":0}`: proto.ReceiversOf(0),
		`{"textId":"1","receivers":-1}`: 0, `{"textId":"1","receivers":null}`: 0,
	} {
		if got := sentBody(proto.Answer{DataBody: []byte(body)}); got != (Result{ID: 1, Receivers: want}) {
			t.Errorf("%s: %+v, want %d", body, got, want)
		}
	}
	for body, want := range map[string]proto.Outcome{
		`{"textId":"1","outcome":"received"}`: proto.OutcomeReceived, `{"textId":"1","outcome":"unknown"}`: proto.OutcomeUnknown,
		`{"textId":"1","outcome":"delivered"}`: proto.OutcomeDelivered, `{"textId":"1","outcome":"stored"}`: proto.OutcomeStored,
		`{"textId":"1","outcome":"later"}`: 0, `{"textId":"1"}`: 0,
	} {
		if got := sentBody(proto.Answer{DataBody: []byte(body)}); got != (Result{ID: 1, Outcome: want}) {
			t.Errorf("%s: %+v, want outcome %v", body, got, want)
		}
	}
}

// TestAPISendWith asks with each want and with an id, and takes the outcome that
// the answer names; an older route names none.
func TestAPISendWith(t *testing.T) {
	f := newFake(t, "")
	api := newAPI(t, f.http.URL)
	for want, onWire := range map[Want]any{WantReceived: 1.0, WantTaken: nil, WantStored: 2.0} {
		if _, err := api.SendWith(t.Context(), 7, 8, SendOptions{ID: 5, Want: want}, "a"); err != nil {
			t.Error(err)
		}
		if asked := <-f.asked; asked.body["want"] != onWire || asked.body["textId"] != "5" {
			t.Errorf("%v: asked %v", want, asked.body)
		}
		if _, err := api.SendWith(t.Context(), 7, 0, SendOptions{Want: want}, "a"); err != nil {
			t.Error(err)
		}
		if asked := <-f.asked; asked.body["want"] != nil || asked.body["textId"] != nil {
			t.Errorf("%v to all: asked %v", want, asked.body)
		}
	}
	for body, want := range map[string]proto.Outcome{
		`{"textId":"5","outcome":"received"}`: proto.OutcomeReceived, `{"textId":"5"}`: proto.OutcomeDelivered,
		`{"textId":"5","outcome":"unknown"}`: proto.OutcomeUnknown,
	} {
		f.now(func() { f.sent = body })
		result, err := api.Send(t.Context(), 7, 8, "a")
		if result.Outcome != want || result.ID != 5 || errors.Is(err, ErrUnknown) != (want == proto.OutcomeUnknown) {
			t.Errorf("%s: %+v, %v", body, result, err)
		}
	}
}

// TestAPIAccounts finds and registers a name, and lists the connected users.
func TestAPIAccounts(t *testing.T) {
	f := newFake(t, "")
	api := newAPI(t, f.http.URL)
	if user, err := api.Register(t.Context(), ann.Name); err != nil || user != ann {
		t.Errorf("register: %v, %v", user, err)
	}
	if asked := <-f.asked; asked.path != proto.PathRegister || asked.body["find"] != nil {
		t.Errorf("register asks %+v", asked)
	}
	f.now(func() { f.codes[proto.PathRegister] = proto.CodeAccountMismatch })
	if _, err := api.Find(t.Context(), "nobody"); !errors.Is(err, ErrNoSuchUser) {
		t.Errorf("find: %v", err)
	}
	if asked := <-f.asked; asked.body["find"] != 1.0 {
		t.Errorf("find asks %+v", asked)
	}
	if _, err := api.Find(t.Context(), " "); err == nil {
		t.Error("an impossible name is asked for")
	}
	if _, err := api.Online(t.Context()); err != nil {
		t.Errorf("online: %v", err)
	}
	if asked := <-f.asked; asked.path != proto.PathOnlineUser {
		t.Errorf("online asks %+v", asked)
	}
}
