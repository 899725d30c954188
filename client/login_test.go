package client

import (
	"errors"
	"fmt"
	"reflect"
	"testing"

	"cim/proto"
)

// TestLogin reads what a client of ours says to a route and a server of ours,
// from its registration to its goodbye.
func TestLogin(t *testing.T) {
	f := newFake(t, ticketOne)
	done := dial(f.config())
	if a := f.expect(proto.PathRegister); a.body["userName"] != ann.Name {
		t.Errorf("register %v, want ann's name", a.body)
	}
	a := f.expect(proto.PathLogin)
	want := map[string]any{"userId": float64(ann.ID), "userName": ann.Name, "client": float64(1), "ack": float64(1)}
	if !reflect.DeepEqual(a.body, want) {
		t.Errorf("login %v, want %v", a.body, want)
	}
	p := f.takeLogin(proto.LoginAnswer{User: ann.ID, Heartbeat: 30})
	if got := fmt.Sprintf("%x", p.view.Ticket); got != ticketOne {
		t.Errorf("login frame shows the ticket %s, want the route's", got)
	}
	if string(p.view.Text) != ann.Name {
		t.Errorf("login frame names %q, want %q", p.view.Text, ann.Name)
	}
	d := await(t, done)
	if d.err != nil {
		t.Fatal(d.err)
	}
	if d.client.User() != ann {
		t.Errorf("User() = %v, want %v", d.client.User(), ann)
	}
	shut(t, d.client)
	p.ended()
	bye := f.expect(proto.PathOffLine)
	want = map[string]any{"userId": float64(ann.ID), "msg": proto.GoodbyeMsg, "ticket": ticketOne}
	if !reflect.DeepEqual(bye.body, want) {
		t.Errorf("goodbye %v, want %v", bye.body, want)
	}
	if _, err := d.client.SendGroup(t.Context(), "late"); !errors.Is(err, ErrClosed) {
		t.Errorf("SendGroup after Close: %v, want ErrClosed", err)
	}
}

// TestLoginRefused ends Dial with what the route or the server said.
func TestLoginRefused(t *testing.T) {
	t.Run("route", func(t *testing.T) {
		f := newFake(t, ticketOne)
		f.codes[proto.PathLogin] = proto.CodeRepeatLogin
		var refusal *Refusal
		if d := await(t, dial(f.config())); !errors.As(d.err, &refusal) || refusal.Code != proto.CodeRepeatLogin {
			t.Errorf("Dial: %v, want code 5000", d.err)
		}
	})
	t.Run("server", func(t *testing.T) {
		f := newFake(t, ticketOne)
		done := dial(f.config())
		f.takeLogin(proto.LoginAnswer{Reason: proto.ReasonFull}).ended()
		var ended *Ended
		if d := await(t, done); !errors.As(d.err, &ended) || ended.Reason != proto.ReasonFull {
			t.Errorf("Dial: %v, want the reason full", d.err)
		}
	})
}
