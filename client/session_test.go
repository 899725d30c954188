package client

import (
	"testing"
	"time"

	"cim/proto"
)

// TestMessages brings private, group and stored messages, in their order, one
// call for each text, and torn at every byte.
func TestMessages(t *testing.T) {
	f := newFake(t, ticketOne)
	config := f.config()
	got := make(chan Message, 100)
	config.OnMessage = func(m Message) { got <- m }
	_, p := f.logIn(config)
	bob := proto.User{ID: 9, Name: "bob"}
	live := proto.AppendBody(nil, proto.MessageFrom(proto.CommandMessage, bob, 0, []string{"one"}))
	stored := proto.AppendBody(nil, proto.MessageFrom(proto.CommandOffline, bob, 0, []string{"two", "three"}))
	stream := proto.AppendDelivery(nil, live, ann.ID)
	stream = append(stream, proto.Pong...)
	stream = proto.AppendDelivery(stream, stored, ann.ID)
	for i := range stream {
		p.write(stream[i : i+1])
	}
	for _, want := range []Message{{0, bob, "one", false}, {0, bob, "two", true}, {0, bob, "three", true}} {
		if m := await(t, got); m != want {
			t.Errorf("message %+v, want %+v", m, want)
		}
	}
}

// TestSilence leaves a server that does not answer pings any more, and pings
// before that.
func TestSilence(t *testing.T) {
	f := newFake(t, ticketOne)
	config := f.config()
	seen := states(&config)
	done := dial(config)
	p := f.takeLogin(proto.LoginAnswer{User: ann.ID, Heartbeat: 1})
	d := await(t, done)
	if d.err != nil {
		t.Fatal(d.err)
	}
	defer shut(t, d.client)
	began := time.Now()
	if ping := p.read(); ping.Command != proto.CommandPing {
		t.Errorf("an idle client sends %+v, want a ping", ping)
	}
	wantState(t, seen, StateReconnecting)
	if bore := time.Since(began); bore >= loginMax {
		t.Errorf("the client bore %v of silence, want its heartbeat of 1s", bore)
	}
}
